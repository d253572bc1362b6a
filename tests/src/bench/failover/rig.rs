//! The lab, the agent or a peer, and the clients that all runs share.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nllb_agent::status::Backend;
use nllb_common::Counter;

use super::fault::Fault;
use crate::agent::{Agent, backend};
use crate::bench::peers::{Balancer, Peer, Programs};
use crate::client::Client;
use crate::client::protocol::{ConnectLoop, Traffic, TrafficReport};
use crate::lab::{ControlPlane, Lab};
use crate::pins;
use crate::wait::wait_until;

/// Long enough for sentinels to be open and to have answered a few pings.
const CALM: Duration = Duration::from_millis(1_800);
/// The moment of a fault is spread over more than the longest of the agent's intervals.
const SPREAD: u32 = 1_100;

/// How often clients connect and ask where all peers are struck at the same time, each in a lab of its own.
const PACE_BESIDE_PEERS: Duration = Duration::from_millis(10);
/// How long they wait for an answer there: longer than a peer takes to try the next server, and than other labs
/// on the same machine hold them up.
const PATIENCE_BESIDE_PEERS: Duration = Duration::from_secs(2);

pub(in crate::bench) struct Rig {
    // In the order in which they must go.
    clients: Vec<Running>,
    balancer: Option<Balancer>,
    peer: Peer,
    programs: Programs,
    /// Whether this is one of several that are compared.
    beside_peers: bool,
    pub(super) lab: Lab,
}

struct Running {
    client: Client,
    traffic: Option<u64>,
}

impl Rig {
    /// A control plane of three, a node with two pods, an agent as it is by default.
    pub(super) fn build() -> Result<Self> {
        let mut rig = Self::of(Peer::Nllb, &Programs::find(), 2)?;
        rig.clients.push(Running { client: rig.lab.pod_client(0, 0)?, traffic: None });
        rig.clients.push(Running { client: rig.lab.pod_client(0, 1)?, traffic: None });
        Ok(rig)
    }

    /// The same with a peer in the agent's place, and clients on the node alone: a proxy that listens on a
    /// loopback address has no others.
    pub(in crate::bench) fn beside_peers(peer: Peer, programs: &Programs) -> Result<Self> {
        Ok(Self { beside_peers: true, ..Self::of(peer, programs, 0)? })
    }

    fn of(peer: Peer, programs: &Programs, pods: usize) -> Result<Self> {
        let lab = Lab::builder().pods(pods).build().context("cannot build the lab")?;
        let balancer = Some(Balancer::start(&lab, 0, peer, programs)?);
        let clients = vec![Running { client: lab.client(0)?, traffic: None }];
        let programs = programs.clone();
        Ok(Self { clients, balancer, peer, programs, beside_peers: false, lab })
    }

    /// The agent, unless a peer is in its place.
    pub(super) fn agent(&self) -> Option<&Agent> {
        self.balancer.as_ref()?.agent()
    }

    fn agent_mut(&mut self) -> Result<&mut Agent> {
        let agent = self.balancer.as_mut().and_then(Balancer::agent_mut);
        agent.context("there is no agent, but a peer")
    }

    /// How long to look on after a fault.
    pub(super) fn window(&self, fault: Fault) -> Duration {
        if self.peer == Peer::Nllb { fault.window() } else { fault.window_of_peers() }
    }

    /// Whether it is waited for until a server is used again.
    pub(super) fn waits_for_readmission(&self) -> bool {
        !self.beside_peers
    }

    /// Takes servers out of the Service, as the control plane does. Only who follows the Service notices.
    pub(super) fn remove_endpoints(&self, gone: &[&ControlPlane]) -> Result<()> {
        let left = self
            .servers()
            .iter()
            .filter(|server| gone.iter().all(|gone| gone.name() != server.name()));
        let left: Vec<_> = left.map(ControlPlane::tls).collect();
        self.balancer.as_ref().map_or(Ok(()), |balancer| balancer.set_endpoints(&left))
    }

    /// Whether it follows the Service.
    pub(super) fn follows_service(&self) -> bool {
        self.peer == Peer::Nftables
    }

    pub(super) fn servers(&self) -> &[ControlPlane] {
        self.lab.control_planes()
    }

    /// The ids of servers in the maps.
    pub(super) fn ids(&self, servers: &[usize]) -> Result<Vec<u32>> {
        let Some(agent) = self.agent() else { return Ok(Vec::new()) };
        let status = agent.status()?;
        let id = |server: &usize| {
            let server = &self.servers()[*server];
            let found = backend(&status, server.tls()).map(|backend| backend.id);
            found.with_context(|| format!("status has no {}", server.name()))
        };
        servers.iter().map(id).collect()
    }

    /// A fresh agent that finds every server healthy and has its sentinels open, or a fresh peer: nothing of the
    /// run before counts any more, as its flapping would. A peer that would be slow to notice anything while it
    /// is fresh goes on, with every server in use again.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.peer != Peer::Nllb {
            if let Some(balancer) = &self.balancer
                && balancer.await_checks(self.servers().len())?
            {
                return Ok(());
            }
            // First the one before: it listens on the same address.
            self.balancer = None;
            let fresh = Balancer::start(&self.lab, 0, self.peer, &self.programs)?;
            self.balancer = Some(fresh);
            return Ok(());
        }
        let agent = self.agent_mut()?;
        if agent.id().is_some() {
            agent.terminate()?;
        }
        agent.restart()?;
        agent.await_status("every server healthy", |status| {
            let settled = |b: &Backend| b.state == "healthy" && b.sentinel.state == "up";
            status.backends().all(|(_, backend)| settled(backend))
        })?;
        Ok(())
    }

    /// Starts the clients, each with a connection of each purpose to each server.
    pub(super) fn start_clients(&mut self, fault: Fault) -> Result<()> {
        let servers: Vec<_> = self.servers().iter().map(|s| s.name().to_owned()).collect();
        let plan = self.plan();
        let beside_peers = self.beside_peers;
        for (index, running) in self.clients.iter_mut().enumerate() {
            let mut loops = match (fault.has_connects(), index) {
                (false, _) => Vec::new(),
                (true, 0) => vec![ConnectLoop::in_turn(), ConnectLoop::on_time()],
                (true, _) => vec![ConnectLoop::in_turn()],
            };
            for plan in &mut loops {
                plan.interval = fault.interval();
                if beside_peers {
                    (plan.interval, plan.patience) = (PACE_BESIDE_PEERS, PATIENCE_BESIDE_PEERS);
                }
            }
            let traffic = running.client.traffic(&Traffic { loops, ..plan.clone() })?;
            running.traffic = Some(traffic);
            running.client.traffic_hold(traffic, &servers)?;
        }
        Ok(())
    }

    /// Whom the clients dial, and how often those ask that keep a connection.
    fn plan(&self) -> Traffic {
        let plan = self.lab.traffic();
        if !self.beside_peers {
            return plan;
        }
        let frontend = self.peer.targets(&self.lab)[0];
        let (server_name, request_interval) = (frontend.ip().to_string(), PACE_BESIDE_PEERS);
        Traffic { frontend, server_name, request_interval, ..plan }
    }

    /// What every client saw since the last mark.
    pub(super) fn mark(&self) -> Result<Vec<TrafficReport>> {
        let mark =
            |running: &Running| running.client.traffic_mark(running.traffic.context("no traffic")?);
        self.clients.iter().map(mark).collect()
    }

    pub(super) fn stop_clients(&mut self) -> Result<()> {
        for running in &mut self.clients {
            if let Some(traffic) = running.traffic.take() {
                running.client.traffic_stop(traffic)?;
            }
        }
        Ok(())
    }

    /// Kills the agent and waits until connects believe its verdicts no longer.
    pub(super) fn kill_agent(&mut self) -> Result<()> {
        let agent = self.agent_mut()?;
        let pins = agent.pins();
        let lapsed = || pins::counter(&pins, Counter::LeaseLapsed);
        let before = lapsed()?;
        agent.kill()?;
        wait_until("the end of the lease", || Ok((lapsed()? > before).then_some(())))
    }
}

/// Waits for a while in which nothing happens; the moment of its end is another in each run.
pub(super) fn calm(number: u64) {
    let draw = nllb_common::mix(0x9e37_79b9 ^ u32::try_from(number).unwrap_or(0)) % SPREAD;
    // reason: the agent shall know what is usual, and the fault come at any moment of its rhythm.
    sleep(CALM + Duration::from_millis(draw.into()));
}
