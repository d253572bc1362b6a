//! The cluster's DNS: three name servers behind a VIP that the lab's API servers tell of, and a node whose agent
//! serves it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nllb_agent::status::Status;

use crate::apiserver::{Endpoint, Objects, Offer, Replica};
use crate::lab::VIP_V4;
use crate::name_server::{self, command, who_answers};
use crate::process::Program;
use crate::wait::wait_until;
use crate::{Agent, Configuration, Lab, netns};

/// The Service's address.
pub const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
/// The pool of its port.
pub const POOL: &str = "kube-system/kube-dns:53";
const NODE: &str = "worker-1";
const PORTS: [(&str, u16, &str); 2] = [("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")];

/// Conditions of an endpoint: ready, serving, terminating.
pub type Conditions = [bool; 3];
/// Of one that is ready.
pub const READY: Conditions = [true, true, false];
/// Of one that ends, but still answers.
pub const ENDING: Conditions = [false, true, true];

/// All of it.
pub struct ClusterDns {
    /// The zone that the cluster says the agent's node is in.
    pub zone: Option<&'static str>,
    // In the order in which they must go.
    /// The name servers, one on each control-plane host.
    pub servers: Vec<Program>,
    /// The agent, on `worker-1`.
    pub agent: Agent,
    /// What they are in.
    pub lab: Lab,
}

impl ClusterDns {
    /// Starts name servers (the program) in a lab, and an agent that is told of them by the cluster; `topology` and the
    /// keys of `probe` are as in a configuration.
    pub fn start(lab: Lab, program: &Path, topology: &str, probe: &str) -> Result<Self> {
        let start = |host| name_server::start(program, host, lab.directory());
        let servers = lab.control_planes().iter().map(start).collect::<Result<_>>()?;
        let agent = Agent::prepare(&lab, 0)?;
        let kubeconfig = agent.write_kubeconfig()?;
        let hosts: Vec<_> = lab.control_planes().iter().map(|one| one.v4().to_string()).collect();
        let sources = format!(
            "hosts: ['{}'], kubernetes: {{kubeconfig: {}}}",
            hosts.join("', '"),
            kubeconfig.display()
        );
        let service = format!(
            "- {{ name: kube-system/kube-dns, topology: {topology}, probe: {{ {probe} }} }}"
        );
        let configuration = Configuration {
            endpoints: Vec::new(),
            control_plane: Some(sources),
            rest: vec![format!("node: {{ name: {NODE} }}"), "services:".to_owned(), service],
            ..Configuration::of(&lab).quick()
        };
        agent.configure(&configuration)?;
        let mut dns = Self { zone: None, servers, agent, lab };
        dns.offer(&[READY, READY, READY])?;
        dns.agent.restart()?;
        Ok(dns)
    }

    /// The cluster says that the name servers stand like this, the second one on this very node.
    pub fn offer(&self, conditions: &[Conditions]) -> Result<()> {
        let planes = self.lab.control_planes();
        let places = [("worker-2", "a"), (NODE, "a"), ("worker-3", "b")];
        let replicas = planes.iter().zip(places).zip(conditions);
        let replicas: Vec<_> = replicas
            .map(|((plane, place), conditions)| Replica {
                address: plane.v4().into(),
                place,
                conditions: *conditions,
            })
            .collect();
        let offer = Offer { namespace: "kube-system", name: "kube-dns", vip: VIP, ports: &PORTS };
        self.lab.set_objects(self.api().with(&offer, &replicas))
    }

    /// The cluster does not have the Service any more.
    pub fn withdraw(&self) -> Result<()> {
        self.lab.set_objects(self.api())
    }

    fn api(&self) -> Objects {
        let planes = self.lab.control_planes().iter();
        let endpoints: Vec<_> = planes.map(|plane| Endpoint::ready(plane.tls())).collect();
        let zones = self.zone.iter().map(|zone| (NODE.to_owned(), (*zone).to_owned())).collect();
        Objects { zones, ..Objects::kubernetes(&endpoints, &[VIP_V4.into()]) }
    }

    /// Waits until the agent finds the servers, in their order, in these states.
    pub fn await_states(&mut self, states: &[&str]) -> Result<Status> {
        let at = |server: usize| self.lab.control_plane(server).at(53);
        let wanted: Vec<(SocketAddr, String)> =
            (0..).zip(states).map(|(one, state)| (at(one), (*state).to_owned())).collect();
        let stand = |status: &Status| {
            let pool = status.pools.iter().find(|pool| pool.name == POOL)?;
            let backends = pool.backends.iter();
            Some(backends.map(|one| (one.address, one.state.clone())).collect::<Vec<_>>())
        };
        let good = |status: &Status| stand(status).is_some_and(|found| found == wanted);
        self.agent.await_status(&format!("{POOL} {states:?}"), good)
    }

    /// Which servers answer so many of dig's questions from the node; `how` has more words for dig.
    pub fn answers(&self, how: &[&str], questions: usize) -> Result<BTreeSet<String>> {
        let place = self.lab.node(0).place();
        (0..questions).map(|_| who_answers(&place, VIP, how)).collect()
    }

    /// Asks until just these answer.
    pub fn await_answers(&self, how: &[&str], servers: &[&str]) -> Result<()> {
        let wanted: BTreeSet<String> = servers.iter().map(|name| (*name).to_owned()).collect();
        let same = || self.answers(how, 8).is_ok_and(|answers| answers == wanted);
        wait_until(&format!("answers of {servers:?}"), || Ok(same().then_some(())))
    }

    /// Ends nllb and puts rules of nftables in its place: a random draw, as kube-proxy makes it.
    pub fn replace_by_random_dnat(&mut self) -> Result<()> {
        self.agent.terminate()?;
        self.agent.uninstall()?;
        let node = self.lab.node(0);
        netns::ip(Some(node.netns()), &["route add 10.96.0.0/24 dev eth0".to_owned()])?;
        let servers: Vec<String> =
            (0..3).map(|one| format!("{one} : {}", self.lab.control_plane(one).v4())).collect();
        let rules = format!(
            "add table ip lab; add chain ip lab out {{ type nat hook output priority -100; }}; \
             add rule ip lab out ip daddr {VIP} udp dport 53 dnat to numgen random mod 3 map {{ {} }}",
            servers.join(", ")
        );
        let done = command(&node.place(), &["nft", &rules])?.status().context("no nft")?;
        ensure!(done.success(), "nft: {done}");
        Ok(())
    }
}
