//! The `datapath` section: where the maps are pinned and the programs attached.

use super::address::{absolute, one_of};
use super::error::Fault;
use super::place::{At, Place};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::path::PathBuf;

/// Where pins are when nothing else is said.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/nllb";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawDatapath {
    bpffs: Option<Spanned<String>>,
    cgroup: Option<Spanned<String>>,
    log_level: Option<Spanned<String>>,
    close_sockets: Option<Spanned<String>>,
}

/// Where the data path lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datapath {
    /// Directory for pins; one directory per ABI version is made in it.
    pub bpffs: PathBuf,
    /// What to attach to.
    pub cgroup: Cgroup,
    /// What the kernel programs log.
    pub log_level: LogLevel,
    /// How connections to a dead backend are ended.
    pub close_sockets: CloseSockets,
}

/// The cgroup that the programs are attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// The root of the host's cgroup2, found at run time.
    Auto,
    /// This one.
    Path(PathBuf),
}

/// What the kernel programs log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing, at no cost.
    Off,
    /// Errors.
    Error,
    /// Also warnings.
    Warn,
    /// Also what a user notices.
    Info,
    /// Also branches.
    Debug,
    /// Also every connection.
    Trace,
}

/// How connections to a dead backend are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseSockets {
    /// At once, or by timeouts where the kernel cannot close another's socket.
    Auto,
    /// By timeouts that each translated connection gets.
    Timeouts,
    /// Not by the agent, nor by timeouts.
    Off,
}

impl LogLevel {
    const ALL: [Self; 6] =
        [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl CloseSockets {
    const ALL: [Self; 3] = [Self::Auto, Self::Timeouts, Self::Off];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Timeouts => "timeouts",
            Self::Off => "off",
        }
    }
}

impl Datapath {
    pub(super) fn check(document: &Place, raw: Option<At<RawDatapath>>) -> Result<Self, Fault> {
        let (place, raw) = match raw {
            Some(At { place, value }) => (place, value),
            None => (document.named("datapath"), RawDatapath::default()),
        };
        let RawDatapath { bpffs, cgroup, log_level, close_sockets } = raw;
        let bpffs = match place.optional("bpffs", bpffs) {
            Some(raw) => raw.check(absolute(DEFAULT_BPFFS))?.value,
            None => PathBuf::from(DEFAULT_BPFFS),
        };
        let cgroup = match place.optional("cgroup", cgroup) {
            Some(raw) if raw.value != "auto" => {
                Cgroup::Path(raw.check(absolute("/sys/fs/cgroup, or auto"))?.value)
            }
            Some(_) | None => Cgroup::Auto,
        };
        let log_level = match place.optional("logLevel", log_level) {
            Some(raw) => one_of(raw, &LogLevel::ALL, LogLevel::label)?.value,
            None => LogLevel::Off,
        };
        let close_sockets = match place.optional("closeSockets", close_sockets) {
            Some(raw) => one_of(raw, &CloseSockets::ALL, CloseSockets::label)?.value,
            None => CloseSockets::Auto,
        };
        Ok(Self { bpffs, cgroup, log_level, close_sockets })
    }
}
