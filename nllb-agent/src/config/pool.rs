//! The `pools` section: who the backends are and how they are probed.

use super::address::{absolute, name, one_of, socket_address};
use super::datapath::CloseSockets;
use super::drain::{self, RawDrain};
use super::error::{Fault, Problem};
use super::place::{At, Place};
use super::probe::{Probe, RawProbe};
use super::profile::Profile;
use super::rebalance::{self, RawRebalance};
use super::state::State;
use super::{Discover, Discovered, Wanted};
use crate::health_check::{ClientIdentity, Credentials, HealthCheck};
use nllb_common::maps::MAX_POOL_BACKENDS;
use nllb_core::settings::{HealthSettings, RebalanceSettings};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawPool {
    name: Option<Spanned<String>>,
    profile: Option<Spanned<String>>,
    endpoints: Option<Spanned<Vec<Spanned<String>>>>,
    kubeconfig: Option<Spanned<String>>,
    probe: Option<Spanned<RawProbe>>,
    drain: Option<Spanned<RawDrain>>,
    rebalance: Option<Spanned<RawRebalance>>,
    latency_bands: Option<Spanned<bool>>,
}

/// The API servers of a cluster and how to probe them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Name that frontends use.
    pub name: String,
    /// What its backends are.
    pub profile: Profile,
    /// Every endpoint, those given first, then those of the kubeconfig.
    pub endpoints: Vec<SocketAddr>,
    /// Where more endpoints came from.
    pub kubeconfig: Option<PathBuf>,
    /// What the health machine needs.
    pub health: HealthSettings,
    /// What the probe needs.
    pub check: HealthCheck,
    /// Whether nearer backends are preferred.
    pub latency_bands: bool,
    /// How established connections find back to a backend that returned.
    pub rebalance: Option<RebalanceSettings>,
    /// As in [`Discovered::unresolved`].
    pub unresolved: Vec<String>,
}

impl Pool {
    /// The files that it is made of, and what each is.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let Credentials { authority, client, token, .. } = &self.check.credentials;
        let client = client.iter().flat_map(|ClientIdentity { certificate, key }| {
            [("a client certificate", certificate), ("a client key", key)]
        });
        let authority = authority.iter().map(|authority| ("a CA", authority));
        let token = token.iter().map(|token| ("a bearer token", token));
        let materials = authority.chain(client).chain(token);
        let credentials = materials.filter_map(|(what, material)| Some((what, material.path()?)));
        let kubeconfig = self.kubeconfig.iter().map(|file| ("a kubeconfig", file.as_path()));
        credentials.chain(kubeconfig)
    }
}

/// What a pool is checked with besides its own section.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// Finds what a kubeconfig holds.
    pub(super) discover: Discover<'a>,
    /// Where the last known backends are.
    pub(super) state: &'a State,
    pub(super) close_sockets: CloseSockets,
}

/// Checks a pool.
pub(super) fn check(raw: At<RawPool>, around: Around<'_>) -> Result<(At<String>, Pool), Fault> {
    let Around { discover, state, close_sockets } = around;
    let At { place, value: raw } = raw;
    let RawPool {
        name: raw_name,
        profile,
        endpoints,
        kubeconfig,
        probe,
        drain,
        rebalance,
        latency_bands,
    } = raw;
    let name = place.required("name", "a name like apiserver", raw_name)?.check(name)?;
    let profile = match place.optional("profile", profile) {
        Some(raw) => one_of(raw, &Profile::ALL, Profile::label)?.value,
        None => Profile::default(),
    };
    let probe = place.optional("probe", probe);
    let probe =
        probe.unwrap_or_else(|| At { place: place.named("probe"), value: RawProbe::default() });
    let probe = Probe::check(probe, profile)?;
    let mut found = endpoints_given(place.optional("endpoints", endpoints))?;
    let kubeconfig = place
        .optional("kubeconfig", kubeconfig)
        .map(|raw| raw.check(absolute("/etc/kubernetes/admin.conf")))
        .transpose()?;
    let discovered = match &kubeconfig {
        Some(file) => {
            let wanted =
                Wanted { kubeconfig: &file.value, pool: &name.value, known: state.file.as_deref() };
            discover(wanted).map_err(|reason| file.clone().fault(Problem::Kubeconfig { reason }))?
        }
        None => Discovered::default(),
    };
    for address in &discovered.endpoints {
        if !found.contains(address) {
            found.push(*address);
        }
    }
    check_number(&place, found.len())?;
    let Probe { place: probe_place, health, check } = probe;
    let close_after = drain::check(place.optional("drain", drain))?;
    let close_after = closing(close_after, close_sockets)?;
    let rebalance = rebalance::check(place.optional("rebalance", rebalance))?;
    let rebalance = closing(rebalance, close_sockets)?;
    let check = with_discovered(check, discovered.credentials);
    let Credentials { authority, insecure_skip_verify, .. } = &check.credentials;
    if check.kind.uses_tls() && authority.is_none() && !insecure_skip_verify {
        return Err(probe_place.named("caFile").fault(Problem::NoAuthority));
    }
    let pool = Pool {
        name: name.value.clone(),
        profile,
        endpoints: found,
        kubeconfig: kubeconfig.map(|file| file.value),
        health: HealthSettings { drain_close_after: close_after, ..health },
        check,
        latency_bands: latency_bands.is_none_or(|bands| bands.value),
        rebalance,
        unresolved: discovered.unresolved,
    };
    Ok((name, pool))
}

/// A setting that closes connections, unless nothing is allowed to.
fn closing<T>(setting: Option<At<T>>, close_sockets: CloseSockets) -> Result<Option<T>, Fault> {
    match (setting, close_sockets) {
        (Some(setting), CloseSockets::Timeouts | CloseSockets::Off) => {
            Err(setting.fault(Problem::NothingCloses { mode: close_sockets.label() }))
        }
        (setting, _) => Ok(setting.map(|setting| setting.value)),
    }
}

fn endpoints_given(raw: Option<At<Vec<Spanned<String>>>>) -> Result<Vec<SocketAddr>, Fault> {
    let mut found = Vec::new();
    for item in raw.map(At::items).unwrap_or_default() {
        let item = item.check(socket_address)?;
        if found.contains(&item.value) {
            let address = item.value;
            return Err(item.fault(Problem::DuplicateEndpoint { address }));
        }
        found.push(item.value);
    }
    Ok(found)
}

fn check_number(place: &Place, count: usize) -> Result<(), Fault> {
    let problem = match count {
        0 => Problem::NoEndpoints,
        1..=MAX_POOL_BACKENDS => return Ok(()),
        _ => Problem::TooManyEndpoints { count, max: MAX_POOL_BACKENDS },
    };
    Err(place.named("endpoints").fault(problem))
}

/// Fills what the probe section left open. A probe that skips verification keeps skipping it, and
/// a client identity or token given there stands alone: two identities at once would be a riddle. One
/// without TLS needs nothing and would give everything away.
fn with_discovered(check: HealthCheck, found: Credentials) -> HealthCheck {
    if !check.kind.uses_tls() {
        return check;
    }
    let Credentials { authority, server_name, client, token, insecure_skip_verify } =
        check.credentials;
    let anonymous = client.is_none() && token.is_none();
    let trusting = insecure_skip_verify || (authority.is_none() && found.insecure_skip_verify);
    let credentials = Credentials {
        authority: if trusting { None } else { authority.or(found.authority) },
        server_name: server_name.or(found.server_name),
        client: if anonymous { found.client } else { client },
        token: if anonymous { found.token } else { token },
        insecure_skip_verify: trusting,
    };
    HealthCheck { credentials, ..check }
}
