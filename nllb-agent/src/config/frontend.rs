//! The `frontends` section, as far as it can be checked without knowing the pools.

use super::address::{name, one_of, server_name, socket_address, version};
use super::error::{Fault, Problem};
use super::place::{At, Place};
use nllb_common::maps::{Policy, Protocol};
use nllb_core::settings::{
    Coverage, FrontendKind, FrontendSettings, OnEmpty, ScopeSetting, VersionSkew,
};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::net::SocketAddr;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawFrontend {
    name: Option<Spanned<String>>,
    kind: Option<Spanned<String>>,
    protocol: Option<Spanned<String>>,
    addresses: Option<Spanned<Vec<Spanned<String>>>>,
    pool: Option<Spanned<String>>,
    scope: Option<Spanned<String>>,
    on_empty: Option<Spanned<String>>,
    server_name: Option<Spanned<String>>,
    trust_any_certificate: Option<Spanned<bool>>,
    policy: Option<Spanned<String>>,
    version_skew: Option<Spanned<String>>,
    min_version: Option<Spanned<String>>,
}

/// A frontend whose pool is still to be found.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) place: Place,
    pub(super) name: At<String>,
    pub(super) addresses: Vec<At<SocketAddr>>,
    pub(super) pool: Option<At<String>>,
    pub(super) policy: Option<At<Policy>>,
    pub(super) coverage: At<Coverage>,
    /// Without pool, addresses, policy and coverage.
    pub(super) settings: FrontendSettings,
}

impl Draft {
    /// `service` says whether somebody will tell which addresses the Service has.
    pub(super) fn check(raw: At<RawFrontend>, service: bool) -> Result<Self, Fault> {
        let At { place, value: raw } = raw;
        let RawFrontend {
            name: raw_name,
            kind,
            protocol,
            addresses,
            pool,
            scope,
            on_empty,
            server_name,
            trust_any_certificate,
            policy,
            version_skew,
            min_version,
        } = raw;
        let name = place.required("name", "a name like kubernetes", raw_name)?.check(name)?;
        let kind = frontend_kind(place.required("kind", "vip, loopback or node-address", kind)?)?;
        let protocol = frontend_protocol(place.optional("protocol", protocol), kind)?;
        // What a Service's own addresses are for is TCP.
        let service = service && protocol == Protocol::Tcp;
        let addresses = frontend_addresses(&place, (kind, service), addresses)?;
        let scope = match place.optional("scope", scope) {
            Some(raw) => {
                one_of(raw, &[ScopeSetting::Host, ScopeSetting::All], ScopeSetting::label)?.value
            }
            None if kind == FrontendKind::Loopback => ScopeSetting::Host,
            None => ScopeSetting::All,
        };
        let on_empty = match place.optional("onEmpty", on_empty) {
            Some(raw) => one_of(raw, &[OnEmpty::PassThrough, OnEmpty::Fail], OnEmpty::label)?.value,
            None => OnEmpty::PassThrough,
        };
        let coverage = coverage(
            &place,
            place.optional("serverName", server_name),
            place.optional("trustAnyCertificate", trust_any_certificate),
        )?;
        let policy = place.optional("policy", policy);
        let policy = policy.map(|raw| one_of(raw, &Policy::ALL, Policy::label)).transpose()?;
        let version_skew = match place.optional("versionSkew", version_skew) {
            Some(raw) => {
                let known = [VersionSkew::Off, VersionSkew::PreferNewest, VersionSkew::Kubelet];
                one_of(raw, &known, VersionSkew::label)?.value
            }
            None => VersionSkew::Off,
        };
        let min_version = match place.optional("minVersion", min_version) {
            Some(raw) => Some(raw.check(version)?.value),
            None => None,
        };
        let pool = place.optional("pool", pool);
        let settings = FrontendSettings {
            name: name.value.clone(),
            kind,
            protocol,
            addresses: Vec::new(),
            pool: String::new(),
            scope,
            on_empty,
            coverage: Coverage::Address,
            policy: Policy::default(),
            version_skew,
            min_version,
        };
        Ok(Self { place, name, addresses, pool, policy, coverage, settings })
    }
}

fn frontend_kind(raw: At<String>) -> Result<FrontendKind, Fault> {
    let known = [FrontendKind::Vip, FrontendKind::Loopback, FrontendKind::NodeAddress];
    Ok(one_of(raw, &known, FrontendKind::label)?.value)
}

/// No socket that is bound to loopback can be translated, and no listener stands in for datagrams; a
/// client of a host's own address means that host. So datagrams are for VIPs.
fn frontend_protocol(raw: Option<At<String>>, kind: FrontendKind) -> Result<Protocol, Fault> {
    let Some(raw) = raw else {
        return Ok(Protocol::Tcp);
    };
    let protocol = one_of(raw, &Protocol::ALL, Protocol::label)?;
    let other = match kind {
        FrontendKind::Loopback => "kind: loopback",
        FrontendKind::NodeAddress => "kind: node-address",
        FrontendKind::Vip => return Ok(protocol.value),
    };
    if protocol.value == Protocol::Udp {
        return Err(protocol.fault(Problem::Excludes { other }));
    }
    Ok(protocol.value)
}

/// The addresses; none for a node-address frontend means every endpoint of its pool, and for a VIP
/// those of the Service.
fn frontend_addresses(
    place: &Place,
    (kind, service): (FrontendKind, bool),
    raw: Option<Spanned<Vec<Spanned<String>>>>,
) -> Result<Vec<At<SocketAddr>>, Fault> {
    let may_lack = match kind {
        FrontendKind::NodeAddress => true,
        FrontendKind::Vip => service,
        FrontendKind::Loopback => false,
    };
    if raw.is_none() && may_lack {
        return Ok(Vec::new());
    }
    let list = place.required("addresses", "a list like [\"10.96.0.1:443\"]", raw)?;
    if list.value.is_empty() {
        return Err(list.fault(Problem::Empty { what: "address, like 10.96.0.1:443" }));
    }
    let fits_kind = |address: SocketAddr| match (kind, address.ip().is_loopback()) {
        (FrontendKind::Loopback, true) | (FrontendKind::Vip | FrontendKind::NodeAddress, false) => {
            Ok(address)
        }
        (FrontendKind::Loopback, false) => Err(Problem::NotLoopback { address }),
        (FrontendKind::Vip | FrontendKind::NodeAddress, true) => {
            Err(Problem::IsLoopback { address })
        }
    };
    list.items().into_iter().map(|item| item.check(socket_address)?.check(fits_kind)).collect()
}

fn coverage(
    place: &Place,
    name: Option<At<String>>,
    trust: Option<At<bool>>,
) -> Result<At<Coverage>, Fault> {
    match (name, trust) {
        (Some(_), Some(trust)) if trust.value => {
            Err(trust.fault(Problem::Excludes { other: "serverName" }))
        }
        (Some(name), _) => name.check(|name| Ok(Coverage::ServerName(server_name(name)?))),
        (None, Some(trust)) if trust.value => trust.check(|_| Ok(Coverage::Trusted)),
        (None, _) => Ok(At { place: place.named("serverName"), value: Coverage::Address }),
    }
}
