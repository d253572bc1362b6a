//! The `controlPlane` section: who the control-plane hosts are. All that it names is heard together.

use super::address::{absolute, dns_name, host, server_name};
use super::error::{Fault, Problem};
use super::place::At;
use nllb_core::Sighting;
use nllb_core::membership::Ports;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The name on every API server's certificate that no address leads to.
const SERVER_NAME: &str = "kubernetes.default.svc";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawControlPlane {
    hosts: Option<Spanned<Vec<Spanned<String>>>>,
    files: Option<Spanned<Vec<Spanned<String>>>>,
    kubeconfigs: Option<Spanned<Vec<Spanned<String>>>>,
    names: Option<Spanned<Vec<Spanned<String>>>>,
    kubernetes: Option<Spanned<RawKubernetes>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct RawKubernetes {
    kubeconfig: Option<Spanned<String>>,
    server_name: Option<Spanned<String>>,
    events: Option<Spanned<bool>>,
}

/// Who the control-plane hosts are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPlane {
    /// Those that are given.
    pub hosts: Vec<Sighting>,
    /// Files with one host a line.
    pub files: Vec<PathBuf>,
    /// Kubeconfigs, every server of which is one.
    pub kubeconfigs: Vec<PathBuf>,
    /// DNS names, every address of which is one.
    pub names: Vec<Name>,
    /// How the cluster itself is asked.
    pub kubernetes: Option<Kubernetes>,
}

/// A DNS name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub name: String,
    /// The port of its API servers, when it is given.
    pub port: Option<u16>,
}

/// How the cluster itself is asked for its API servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// Whose credentials are shown; `None` for the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// The name that the certificate must carry.
    pub server_name: String,
    /// Whether failovers and the like are told to the cluster, as Events of the node.
    pub events: bool,
}

impl ControlPlane {
    pub(super) fn check(raw: At<RawControlPlane>) -> Result<Self, Fault> {
        let At { place, value } = raw;
        let RawControlPlane { hosts, files, kubeconfigs, names, kubernetes } = value;
        let path = absolute("/etc/kubernetes/kubelet.conf");
        let checked = Self {
            hosts: each(place.optional("hosts", hosts), host)?,
            files: each(place.optional("files", files), absolute("/etc/nllb/hosts"))?,
            kubeconfigs: each(place.optional("kubeconfigs", kubeconfigs), &path)?,
            names: each(place.optional("names", names), name)?,
            kubernetes: place
                .optional("kubernetes", kubernetes)
                .map(Kubernetes::check)
                .transpose()?,
        };
        if checked == Self::default() {
            return Err(place.fault(Problem::NoSource));
        }
        Ok(checked)
    }

    /// Whether the hosts come and go by themselves.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        let Self { hosts: _, files, kubeconfigs, names, kubernetes } = self;
        !(files.is_empty() && kubeconfigs.is_empty() && names.is_empty() && kubernetes.is_none())
    }

    /// The given hosts at these ports; none when they serve nobody there.
    pub(super) fn at(&self, ports: Option<Ports>) -> impl Iterator<Item = SocketAddr> {
        let address = |Ports { fixed, usual }: Ports, host: &Sighting| {
            SocketAddr::new(host.ip, fixed.or(host.port).unwrap_or(usual))
        };
        ports
            .into_iter()
            .flat_map(move |ports| self.hosts.iter().map(move |one| address(ports, one)))
    }

    /// The files that it is made of, and what each is.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let Self { hosts: _, files, kubeconfigs, names: _, kubernetes } = self;
        let own = kubernetes.iter().filter_map(|kubernetes| kubernetes.kubeconfig.as_ref());
        let kubeconfigs = kubeconfigs.iter().chain(own).map(|file| ("a kubeconfig", file));
        let files = files.iter().map(|file| ("a list of hosts", file));
        kubeconfigs.chain(files).map(|(what, file)| (what, file.as_path()))
    }
}

impl Kubernetes {
    fn check(raw: At<RawKubernetes>) -> Result<Self, Fault> {
        let At { place, value: RawKubernetes { kubeconfig, server_name: name, events } } = raw;
        let kubeconfig = place.optional("kubeconfig", kubeconfig);
        let path = absolute("/etc/kubernetes/kubelet.conf");
        Ok(Self {
            kubeconfig: kubeconfig.map(|raw| raw.check(path)).transpose()?.map(|at| at.value),
            server_name: match place.optional("serverName", name) {
                Some(raw) => raw.check(server_name)?.value,
                None => SERVER_NAME.to_owned(),
            },
            events: place.optional("events", events).is_some_and(|events| events.value),
        })
    }
}

fn name(found: String) -> Result<Name, Problem> {
    let (name, port) = match found.rsplit_once(':') {
        Some((name, port)) => match port.parse() {
            Ok(port @ 1..) => (name, Some(port)),
            Ok(0) | Err(_) => return Err(Problem::DnsName { found }),
        },
        None => (found.as_str(), None),
    };
    Ok(Name { name: dns_name(name).ok_or(Problem::DnsName { found: name.to_owned() })?, port })
}

/// Every item of a list, none of them twice.
fn each<T: PartialEq>(
    raw: Option<At<Vec<Spanned<String>>>>,
    check: impl Fn(String) -> Result<T, Problem>,
) -> Result<Vec<T>, Fault> {
    let mut found = Vec::new();
    for item in raw.map(At::items).unwrap_or_default() {
        let written = item.value.clone();
        let item = item.check(&check)?;
        if found.contains(&item.value) {
            return Err(item.fault(Problem::Twice { found: written }));
        }
        found.push(item.value);
    }
    Ok(found)
}
