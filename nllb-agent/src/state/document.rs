//! The table as JSON. Types of its own, so that the file's format changes only on purpose.

mod services;

use super::{Reason, VERSION};
use crate::units::{micros, millis};
use nllb_common::maps::State;
use nllb_core::{KubeVersion, Recollection, Remembered, SubjectName};
use serde::{Deserialize, Serialize};
use services::RawService;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

/// A certificate with more names is kept without any: a part of them would mislead.
const MOST_NAMES: usize = 64;

/// The content of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) generation: u64,
    pub(super) written_at: SystemTime,
    pub(super) known: Recollection,
}

/// Bytes that are enough to tell a table.
pub(super) const HEAD: u64 = 128;

/// Whether a file with this beginning is a table, of any format and however damaged behind it. Each
/// format begins with its version and the generation, and keeps doing so.
pub(super) fn is_table(head: &[u8]) -> bool {
    let text: Vec<u8> = head.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let version = text.strip_prefix(br#"{"version":"#);
    version.is_some_and(|rest| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits > 0 && rest[digits..].starts_with(br#","generation":"#)
    })
}

#[derive(Deserialize)]
struct Format {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    // These two come first: `is_table` looks for them.
    version: u64,
    generation: u64,
    /// Seconds of unix time.
    written_at: u64,
    backends: Vec<RawBackend>,
    /// Files of agents before it lack it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vips: Vec<SocketAddr>,
    /// Files of agents before it lack it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    services: Vec<RawService>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBackend {
    pool: String,
    address: SocketAddr,
    state: String,
    drained: bool,
    /// Files of agents before it lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    close_after_ms: Option<u64>,
    rtt_us: Option<u64>,
    names: Vec<RawName>,
    version: Option<String>,
}

/// A name says what it is, since a certificate may carry "10.0.0.1" as a DNS name.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawName {
    Dns(String),
    Ip(IpAddr),
}

/// Reads the text of a file.
pub(super) fn parse(text: &[u8]) -> Result<Document, Reason> {
    let damaged = |error: serde_json::Error| Reason::Damaged(error.to_string());
    let Format { version } = serde_json::from_slice(text).map_err(damaged)?;
    if version != VERSION {
        return Err(Reason::Format { found: version });
    }
    let raw: RawDocument = serde_json::from_slice(text).map_err(damaged)?;
    let RawDocument { version: _, generation, written_at, backends, vips, services } = raw;
    let written_at = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(written_at))
        .ok_or_else(|| Reason::Damaged("its time is none".to_owned()))?;
    let backends = backends.into_iter().map(Remembered::try_from).collect::<Result<_, _>>()?;
    let vips = vips.into_iter().map(somebodys).collect::<Result<_, _>>()?;
    let services = services.into_iter().map(RawService::listing).collect::<Result<_, _>>()?;
    Ok(Document { generation, written_at, known: Recollection { backends, vips, services } })
}

/// The text of a file.
pub(super) fn render(generation: u64, known: &Recollection, now: SystemTime) -> String {
    let Recollection { backends, vips, services } = known;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let document = RawDocument {
        version: VERSION,
        generation,
        written_at: since.as_secs(),
        backends: backends.iter().map(RawBackend::from).collect(),
        vips: vips.clone(),
        services: services.iter().map(RawService::from).collect(),
    };
    // Nothing in it can fail: no maps, no numbers that JSON lacks.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

impl From<&Remembered> for RawBackend {
    fn from(backend: &Remembered) -> Self {
        let Remembered { pool, addr, state, drained, close_after, rtt, names, version } = backend;
        let names = if names.len() > MOST_NAMES { &[] } else { names.as_slice() };
        Self {
            pool: pool.clone(),
            address: *addr,
            state: state.label().to_owned(),
            drained: *drained,
            close_after_ms: close_after.map(millis),
            rtt_us: rtt.map(micros),
            names: names.iter().map(RawName::from).collect(),
            version: version.as_ref().map(ToString::to_string),
        }
    }
}

impl TryFrom<RawBackend> for Remembered {
    type Error = Reason;

    fn try_from(raw: RawBackend) -> Result<Self, Reason> {
        let RawBackend { pool, address, state, drained, close_after_ms, rtt_us, names, version } =
            raw;
        let known = State::from_label(&state);
        Ok(Self {
            pool,
            addr: somebodys(address)?,
            state: known.ok_or_else(|| Reason::Damaged(format!("no state is {state:?}")))?,
            drained,
            close_after: close_after_ms.map(Duration::from_millis),
            rtt: rtt_us.map(Duration::from_micros),
            names: names.into_iter().map(SubjectName::from).collect(),
            version: version.map(|text| version_of(&text)).transpose()?,
        })
    }
}

fn somebodys(address: SocketAddr) -> Result<SocketAddr, Reason> {
    let ip = address.ip().to_canonical();
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
        return Err(Reason::Damaged(format!("{address} is nobody's address")));
    }
    Ok(SocketAddr::new(ip, address.port()))
}

fn version_of(text: &str) -> Result<KubeVersion, Reason> {
    text.parse().map_err(|error: nllb_core::VersionError| Reason::Damaged(error.to_string()))
}

impl From<&SubjectName> for RawName {
    fn from(name: &SubjectName) -> Self {
        match name {
            SubjectName::Dns(name) => Self::Dns(name.clone()),
            SubjectName::Ip(ip) => Self::Ip(*ip),
        }
    }
}

impl From<RawName> for SubjectName {
    fn from(name: RawName) -> Self {
        match name {
            RawName::Dns(name) => Self::Dns(name),
            RawName::Ip(ip) => Self::Ip(ip),
        }
    }
}
