//! The control-plane VIP at work: three members that each run an agent, and a client on the same network.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::apiserver::TLS_PORT;
use crate::wait::wait_until;
use crate::{Agent, Ask, Client, Configuration, Connect, Lab, netns};

/// The VIP, in the network of the lab.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 86, 0, 100);

/// Members with agents, and a client.
pub struct Stage {
    /// Its control-plane hosts are the members.
    pub lab: Lab,
    /// Those of the members.
    pub agents: Vec<Agent>,
    /// On the first node.
    pub client: Client,
}

impl Stage {
    /// Agents with this under `vip`, on every control-plane host; none where labs cannot be.
    #[must_use]
    pub fn set(vip: &str) -> Option<Self> {
        let lab = Lab::builder().build_or_skip()?;
        Some(Self::of(lab, vip).expect("members"))
    }

    /// The same in this lab.
    pub fn of(lab: Lab, vip: &str) -> Result<Self> {
        let mut agents = Vec::new();
        for (index, plane) in lab.control_planes().iter().enumerate() {
            // As docs/vip.md asks for.
            netns::sysctl(plane.netns(), &[("ipv4/conf/all/arp_announce", "2")])?;
            let agent = Agent::prepare_on_plane(&lab, index)?;
            let kubeconfig = agent.write_kubeconfig()?;
            agent.configure(&configuration(&lab, &kubeconfig, vip))?;
            agents.push(agent);
        }
        for agent in &mut agents {
            agent.restart()?;
        }
        let client = lab.client(0)?;
        Ok(Self { lab, agents, client })
    }

    /// Connects to the VIP, and gives the name of who served it.
    #[must_use]
    pub fn served_by(&self, limit: Duration) -> Option<String> {
        let connect = Connect { timeout: Some(limit), ..Connect::name_of(vip()) };
        let outcome = self.client.connect(&connect).expect("an outcome");
        outcome.server.filter(|_| outcome.ok)
    }

    /// A connection to the VIP that stays.
    #[must_use]
    pub fn hold(&self) -> u64 {
        let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to(vip()) };
        let outcome = self.client.connect(&connect).expect("an outcome");
        assert!(outcome.ok, "{outcome:?}");
        outcome.handle.expect("a handle")
    }

    /// Whether a connection that stayed still carries.
    #[must_use]
    pub fn carries(&self, handle: u64) -> bool {
        self.client.echo(handle, Duration::from_secs(3)).expect("asked")
    }

    /// Whose MAC address the client is given when it asks who has the VIP.
    #[must_use]
    pub fn answered_by(&self) -> Option<usize> {
        let node = self.lab.node(0).netns();
        // One that is cached would be believed.
        let _none_yet = netns::ip(Some(node), &[format!("neigh del {VIP} dev eth0")]);
        let _any = self.served_by(Duration::from_millis(500));
        let shown = said(node, "ip", &["neigh", "show", &VIP.to_string(), "dev", "eth0"]);
        let planes = self.lab.control_planes();
        planes.iter().position(|plane| {
            let link = said(plane.netns(), "ip", &["-br", "link", "show", "dev", "eth0"]);
            let mac = link.split_whitespace().nth(2).unwrap_or("no MAC address").to_owned();
            shown.contains(&mac)
        })
    }

    /// The member that owns the VIP, by its own word.
    #[must_use]
    pub fn owner(&self) -> Option<usize> {
        self.agents.iter().position(|agent| agent.id().is_some() && owns(agent))
    }

    /// Waits until a member owns the VIP that is none of these.
    #[must_use]
    pub fn await_owner(&self, but: &[usize]) -> usize {
        let owner = || {
            let others = self.agents.iter().enumerate().filter(|(index, _)| !but.contains(index));
            let mut others = others.filter(|(_, agent)| agent.id().is_some());
            Ok(others.find(|(_, agent)| owns(agent)).map(|(index, _)| index))
        };
        wait_until("an owner", owner).expect("an owner")
    }
}

fn owns(agent: &Agent) -> bool {
    let lease = agent.status().ok().and_then(|status| status.vip_ownership?.lease);
    lease.is_some_and(|lease| lease.owned_ms.is_some())
}

/// The VIP and its port.
#[must_use]
pub fn vip() -> SocketAddr {
    (VIP, TLS_PORT).into()
}

/// What a command says in a namespace.
#[must_use]
pub fn said(netns: &str, program: &str, arguments: &[&str]) -> String {
    let output = netns::run_in(netns, || Command::new(program).args(arguments).output());
    let output = output.expect("a namespace").expect("runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn configuration(lab: &Lab, kubeconfig: &Path, vip: &str) -> Configuration {
    // Members of both families where the VIP has both.
    let planes = lab.control_planes().iter();
    let v6 = planes.clone().filter(|_| vip.contains("::")).map(|plane| format!("'{}'", plane.v6()));
    let hosts: Vec<String> = planes.map(|plane| format!("'{}'", plane.v4())).chain(v6).collect();
    let plane = format!(
        "hosts: [{}], kubernetes: {{kubeconfig: {}}}",
        hosts.join(", "),
        kubeconfig.display()
    );
    let vip = format!("vip: {vip}");
    Configuration {
        endpoints: Vec::new(),
        control_plane: Some(plane),
        rest: vec![vip],
        ..Configuration::of(lab)
    }
}
