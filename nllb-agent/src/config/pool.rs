//! The `pools` section: who the backends are and how they are probed.

use super::address::{absolute, name, one_of, port, socket_address};
use super::control_plane::ControlPlane;
use super::datapath::CloseSockets;
use super::drain::{self, RawDrain};
use super::error::{Fault, Problem};
use super::place::{At, Place};
use super::probe::{Probe, RawProbe};
use super::profile::Profile;
use super::rebalance::{self, RawRebalance};
use super::state::State;
use super::{Discover, Discovered, Wanted, trust};
use crate::health_check::{ClientIdentity, Credentials, HealthCheck};
use nllb_common::maps::MAX_POOL_BACKENDS;
use nllb_core::membership::Ports;
use nllb_core::settings::{HealthSettings, RebalanceSettings};
use nllb_core::{SourceId, SourceKind};
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
    port: Option<Spanned<u64>>,
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
    /// Every endpoint that the configuration names: those given first, then those of the kubeconfig,
    /// then the hosts of the control plane.
    pub endpoints: Vec<SocketAddr>,
    /// Those of its own, with who named each.
    pub own: Vec<(SocketAddr, SourceId)>,
    /// At which ports the hosts of the control plane serve it; `None` when they do not.
    pub hosts: Option<Ports>,
    /// Whether others come and go while the agent runs.
    pub discovered: bool,
    /// Where more endpoints came from.
    pub kubeconfig: Option<PathBuf>,
    /// Whether its credentials are those of `controlPlane.kubernetes`.
    pub borrows: bool,
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
    /// Whether the hosts of the control plane are its API servers.
    #[must_use]
    pub fn has_api_servers(&self) -> bool {
        self.profile == Profile::Apiserver && self.hosts.is_some()
    }

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
    pub(super) control_plane: Option<&'a ControlPlane>,
    /// Where the last known backends are.
    pub(super) state: &'a State,
    pub(super) close_sockets: CloseSockets,
}

/// Checks a pool.
pub(super) fn check(raw: At<RawPool>, around: Around<'_>) -> Result<(At<String>, Pool), Fault> {
    let Around { discover, control_plane, state, close_sockets } = around;
    let At { place, value: raw } = raw;
    let RawPool {
        name: raw_name,
        profile,
        endpoints,
        kubeconfig,
        port: raw_port,
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
    let probe = Probe::check(probe, profile.into())?;
    let given = endpoints_given(place.optional("endpoints", endpoints))?;
    let kubeconfig = place
        .optional("kubeconfig", kubeconfig)
        .map(|raw| raw.check(absolute("/etc/kubernetes/admin.conf")))
        .transpose()?;
    let discovered = match &kubeconfig {
        Some(file) => {
            let (pool, known) = (&name.value, state.file.as_deref());
            discover(Wanted::Kubeconfig { file: &file.value, pool, known })
                .map_err(|reason| file.clone().fault(Problem::Kubeconfig { reason }))?
        }
        None => Discovered::default(),
    };
    let alone = given.is_empty() && kubeconfig.is_none();
    let hosts = hosts(&place, raw_port, control_plane, alone.then_some(profile))?;
    let of_kubeconfig = kubeconfig.iter().flat_map(|file| {
        let source = source(SourceKind::Kubeconfig, &file.value.display().to_string());
        discovered.endpoints.iter().map(move |address| (*address, source.clone()))
    });
    let given = given.into_iter().map(|address| (address, source(SourceKind::Static, "")));
    let own: Vec<(SocketAddr, SourceId)> = given.chain(of_kubeconfig).collect();
    let mut endpoints = Vec::new();
    let of_hosts = control_plane.iter().flat_map(|plane| plane.at(hosts));
    for address in own.iter().map(|(address, _)| *address).chain(of_hosts) {
        if !endpoints.contains(&address) {
            endpoints.push(address);
        }
    }
    let is_watched = control_plane.is_some_and(ControlPlane::is_watched);
    let is_discovered = hosts.is_some() && is_watched;
    if !(is_discovered && endpoints.is_empty()) {
        check_number(&place, endpoints.len())?;
    }
    let Probe { place: probe_place, health, check } = probe;
    let close_after = drain::check(place.optional("drain", drain))?;
    let close_after = closing(close_after, close_sockets)?;
    let rebalance = rebalance::check(place.optional("rebalance", rebalance))?;
    let rebalance = closing(rebalance, close_sockets)?;
    let plane = control_plane.filter(|_| hosts.is_some() && kubeconfig.is_none());
    let lent = trust::lent(plane, &check, &probe_place, discover)?;
    let borrows = lent.is_some();
    let check = trust::filled(check, lent.unwrap_or(discovered.credentials));
    let Credentials { authority, insecure_skip_verify, .. } = &check.credentials;
    if check.kind.uses_tls() && authority.is_none() && !insecure_skip_verify {
        return Err(probe_place.named("caFile").fault(Problem::NoAuthority));
    }
    let pool = Pool {
        name: name.value.clone(),
        profile,
        endpoints,
        own,
        hosts,
        discovered: is_discovered,
        kubeconfig: kubeconfig.map(|file| file.value),
        borrows,
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

/// At which ports the hosts of the control plane serve the pool: one that is told nobody else, and then has
/// a profile here, or one that is told a port.
fn hosts(
    place: &Place,
    raw: Option<Spanned<u64>>,
    control_plane: Option<&ControlPlane>,
    alone: Option<Profile>,
) -> Result<Option<Ports>, Fault> {
    match (place.optional("port", raw), control_plane, alone) {
        (Some(raw), None, _) => Err(raw.fault(Problem::Needs { other: "controlPlane" })),
        (Some(raw), Some(_), _) => {
            let port = raw.check(port)?.value;
            Ok(Some(Ports { fixed: Some(port), usual: port }))
        }
        (None, None, _) | (None, Some(_), None) => Ok(None),
        (None, Some(_), Some(profile)) => {
            let example = "a port, since profile: custom presets none";
            let usual = profile
                .default_port()
                .ok_or_else(|| place.named("port").fault(Problem::Missing { example }))?;
            // The ports that sources tell are those of API servers.
            let fixed = (profile != Profile::Apiserver).then_some(usual);
            Ok(Some(Ports { fixed, usual }))
        }
    }
}

fn source(kind: SourceKind, name: &str) -> SourceId {
    SourceId { kind, name: name.into() }
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
