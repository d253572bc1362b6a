//! The lab, the agent and the clients that all runs share.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nllb_agent::status::Backend;
use nllb_common::Counter;

use super::fault::Fault;
use crate::agent::{Agent, Configuration, backend};
use crate::client::Client;
use crate::client::protocol::{ConnectLoop, Traffic, TrafficReport};
use crate::lab::{ControlPlane, Lab};
use crate::pins;
use crate::wait::wait_until;

/// Long enough for sentinels to be open and to have answered a few pings.
const CALM: Duration = Duration::from_millis(1_800);
/// The moment of a fault is spread over more than the longest of the agent's intervals.
const SPREAD: u32 = 1_100;

pub(super) struct Rig {
    // In the order in which they must go.
    clients: Vec<Running>,
    pub(super) agent: Agent,
    pub(super) lab: Lab,
}

struct Running {
    client: Client,
    traffic: Option<u64>,
}

impl Rig {
    /// A control plane of three, a node with two pods, an agent as it is by default.
    pub(super) fn build() -> Result<Self> {
        let lab = Lab::builder().pods(2).build().context("cannot build the lab")?;
        let mut agent = Agent::prepare(&lab, 0)?;
        agent.run_shipped()?;
        agent.configure(&Configuration::of(&lab).by_default())?;
        agent.restart().context("cannot start the agent")?;
        let clients = [lab.client(0)?, lab.pod_client(0, 0)?, lab.pod_client(0, 1)?];
        let clients = clients.map(|client| Running { client, traffic: None }).into();
        Ok(Self { clients, agent, lab })
    }

    pub(super) fn servers(&self) -> &[ControlPlane] {
        self.lab.control_planes()
    }

    /// The ids of servers in the maps.
    pub(super) fn ids(&self, servers: &[usize]) -> Result<Vec<u32>> {
        let status = self.agent.status()?;
        let id = |server: &usize| {
            let server = &self.servers()[*server];
            let found = backend(&status, server.tls()).map(|backend| backend.id);
            found.with_context(|| format!("status has no {}", server.name()))
        };
        servers.iter().map(id).collect()
    }

    /// A fresh agent that finds every server healthy and has its sentinels open: nothing of the run before counts any more, as
    /// its flapping would.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.agent.id().is_some() {
            self.agent.terminate()?;
        }
        self.agent.restart()?;
        self.agent.await_status("every server healthy", |status| {
            let settled = |b: &Backend| b.state == "healthy" && b.sentinel.state == "up";
            status.backends().all(|(_, backend)| settled(backend))
        })?;
        Ok(())
    }

    /// Starts the clients, each with a connection of each purpose to each server.
    pub(super) fn start_clients(&mut self, fault: Fault) -> Result<()> {
        let servers: Vec<_> = self.servers().iter().map(|s| s.name().to_owned()).collect();
        let plan = self.lab.traffic();
        for (index, running) in self.clients.iter_mut().enumerate() {
            let mut loops = match (fault.has_connects(), index) {
                (false, _) => Vec::new(),
                (true, 0) => vec![ConnectLoop::in_turn(), ConnectLoop::on_time()],
                (true, _) => vec![ConnectLoop::in_turn()],
            };
            loops.iter_mut().for_each(|plan| plan.interval = fault.interval());
            let traffic = running.client.traffic(&Traffic { loops, ..plan.clone() })?;
            running.traffic = Some(traffic);
            running.client.traffic_hold(traffic, &servers)?;
        }
        Ok(())
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
        let pins = self.agent.pins();
        let lapsed = || pins::counter(&pins, Counter::LeaseLapsed);
        let before = lapsed()?;
        self.agent.kill()?;
        wait_until("the end of the lease", || Ok((lapsed()? > before).then_some(())))
    }
}

/// Waits for a while in which nothing happens; the moment of its end is another in each run.
pub(super) fn calm(number: u64) {
    let draw = nllb_common::mix(0x9e37_79b9 ^ u32::try_from(number).unwrap_or(0)) % SPREAD;
    // reason: the agent shall know what is usual, and the fault come at any moment of its rhythm.
    sleep(CALM + Duration::from_millis(draw.into()));
}
