//! The configuration of an agent in a lab, as the YAML that a user would write.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::lab::{Lab, VIP_V4, VIP_V6};

/// Which servers' own addresses are frontends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAddresses {
    /// None.
    Off,
    /// Every endpoint.
    On,
    /// Every endpoint, whatever the certificates say.
    Trusted,
}

/// What an agent of a lab is told. [`Configuration::of`] with fields changed.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The servers; none: those of the control plane.
    pub endpoints: Vec<SocketAddr>,
    /// What stands under `controlPlane`, such as `files: [/hosts]`.
    pub control_plane: Option<String>,
    /// The addresses of the VIP frontend; none: those of the Service.
    pub vip: Vec<SocketAddr>,
    /// How the VIP frontend chooses.
    pub policy: &'static str,
    /// The addresses of the loopback frontend; none: no such frontend.
    pub loopback: Vec<SocketAddr>,
    /// `host` or `all`.
    pub loopback_scope: &'static str,
    /// The frontends of kind node-address.
    pub node_addresses: NodeAddresses,
    /// Time between two probes.
    pub interval: Duration,
    /// Time between two probes while a change is being confirmed.
    pub confirm_interval: Duration,
    /// Longest time between two probes of a dead server.
    pub max_backoff: Duration,
    /// Limit of a probe.
    pub timeout: Duration,
    /// How long verdicts hold without the agent.
    pub lease: Duration,
    /// Time between two proofs of attachment.
    pub self_test_interval: Duration,
    /// More frontends, each a mapping such as `{ name: x, kind: vip, … }`.
    pub frontends: Vec<String>,
    /// More pools, likewise. `$AGENT` stands for the agent's directory, where `ca.pem` is.
    pub pools: Vec<String>,
    /// More lines of the pool, such as `drain: { closeAfter: 1s }`.
    pub pool: Vec<String>,
    /// More lines of its probe, such as `sentinel: false`.
    pub probe: Vec<String>,
    /// More lines of the file, such as `node: { name: worker-1 }`.
    pub rest: Vec<String>,
    /// How sockets are closed: `auto`, `timeouts` or `off`.
    pub close_sockets: &'static str,
}

/// Where the files are that a configuration names.
pub(super) struct Files<'a> {
    pub(super) authority: &'a Path,
    pub(super) token: &'a Path,
    pub(super) socket: &'a Path,
    pub(super) bpffs: &'a Path,
    pub(super) cgroup: &'a Path,
    pub(super) table: &'a Path,
}

impl Configuration {
    /// Every server by IPv4 behind the VIP and the loopback addresses, with the timing that an
    /// agent has by default, but for the backoff: a test does not wait 30 s for a server.
    #[must_use]
    pub fn of(lab: &Lab) -> Self {
        let planes = lab.control_planes().iter();
        Self {
            endpoints: planes.map(crate::lab::ControlPlane::tls).collect(),
            control_plane: None,
            vip: vec![(VIP_V4, 443).into(), (VIP_V6, 443).into()],
            policy: "random",
            loopback: vec![(Ipv4Addr::LOCALHOST, 7443).into(), (Ipv6Addr::LOCALHOST, 7443).into()],
            loopback_scope: "host",
            node_addresses: NodeAddresses::Off,
            interval: Duration::from_secs(1),
            confirm_interval: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            lease: Duration::from_secs(3),
            self_test_interval: Duration::from_secs(5),
            frontends: Vec::new(),
            pools: Vec::new(),
            pool: Vec::new(),
            probe: Vec::new(),
            rest: Vec::new(),
            close_sockets: "auto",
        }
    }

    /// The same with the backoff, too, that an agent has by default.
    #[must_use]
    pub fn by_default(self) -> Self {
        Self { max_backoff: Duration::from_secs(30), ..self }
    }

    /// The same with probes in quick succession, for tests that wait for verdicts.
    #[must_use]
    pub fn quick(self) -> Self {
        Self {
            interval: Duration::from_millis(200),
            confirm_interval: Duration::from_millis(50),
            max_backoff: Duration::from_millis(400),
            timeout: Duration::from_secs(1),
            ..self
        }
    }

    /// The text of the file.
    pub(super) fn text(&self, files: &Files<'_>) -> String {
        let plane = self.control_plane.iter().map(|text| format!("controlPlane: {{{text}}}\n"));
        let plane: String = plane.collect();
        let addresses = match self.vip.as_slice() {
            [] => String::new(),
            some => format!("addresses: {}, ", list(some)),
        };
        let mut text = format!(
            "apiVersion: nllb.dev/v1alpha1\n\
             kind: AgentConfiguration\n\
             {plane}\
             frontends:\n\
             - {{ name: kubernetes, kind: vip, pool: apiserver, {addresses}policy: {} }}\n",
            self.policy
        );
        if !self.loopback.is_empty() {
            let (addresses, scope) = (list(&self.loopback), self.loopback_scope);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "- {{ name: local, kind: loopback, pool: apiserver, addresses: {addresses}, scope: {scope} }}"
            );
        }
        text += match self.node_addresses {
            NodeAddresses::Off => "",
            NodeAddresses::On => "- { name: nodes, kind: node-address, pool: apiserver }\n",
            NodeAddresses::Trusted => {
                "- { name: nodes, kind: node-address, pool: apiserver, trustAnyCertificate: true }\n"
            }
        };
        text += &items(&self.frontends);
        text + &self.pools_and_rest(files)
    }

    fn pools_and_rest(&self, files: &Files<'_>) -> String {
        let Files { authority, token, socket, bpffs, cgroup, table } = files;
        let lines = |lines: &[String], indent| {
            lines.iter().map(|line| format!("{indent}{line}\n")).collect::<String>()
        };
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        format!(
            "pools:\n\
             - name: apiserver\n  \
               endpoints: {endpoints}\n  \
               probe:\n    \
                 caFile: {authority}\n    \
                 bearerTokenFile: {token}\n    \
                 interval: {interval}\n    \
                 confirmInterval: {confirm}\n    \
                 maxBackoff: {backoff}\n    \
                 timeout: {timeout}\n\
             {probe}{pool}{pools}\
             datapath: {{ bpffs: {bpffs}, cgroup: {cgroup}, closeSockets: {close} }}\n\
             admin: {{ socket: {socket} }}\n\
             state: {{ file: {table} }}\n\
             lease: {lease}\n\
             selfTestInterval: {self_test}\n\
             {rest}",
            endpoints = list(&self.endpoints),
            authority = authority.display(),
            token = token.display(),
            interval = ms(self.interval),
            confirm = ms(self.confirm_interval),
            backoff = ms(self.max_backoff),
            timeout = ms(self.timeout),
            bpffs = bpffs.display(),
            cgroup = cgroup.display(),
            socket = socket.display(),
            table = table.display(),
            close = self.close_sockets,
            probe = lines(&self.probe, "    "),
            pool = lines(&self.pool, "  "),
            pools = items(&self.pools),
            rest = lines(&self.rest, ""),
            lease = ms(self.lease),
            self_test = ms(self.self_test_interval),
        )
    }
}

/// Items of a YAML list, a line each.
fn items(items: &[String]) -> String {
    items.iter().map(|item| format!("- {item}\n")).collect()
}

/// A YAML list; quoted, because `[` of an IPv6 address means something in YAML.
fn list(addresses: &[SocketAddr]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|a| format!("\"{a}\"")).collect();
    format!("[{}]", quoted.join(", "))
}
