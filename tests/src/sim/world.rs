//! One run: events in the order of virtual time, until the script ends.
//!
//! The nodes' machines are the product's own and know nothing of it: they are told what happened at
//! which [`Instant`], as by the driver, and their commands are carried out against the model.

mod clients;
mod commands;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use nllb_core::{Answer, BackendId, Outcome, ProbeReport, SentinelFact};

use super::measure::{Counts, Kind};
use super::network::{Came, Way};
use super::node::{Link, Node, duration, settings};
use super::scenario::Script;
use super::timeline::{MS, Phase, S, Time};

/// The nodes start within this time, as after a restart of the agent's daemon set.
const START: Time = 20 * S;
/// How often an agent reads the kernel's counts.
const COUNTS_EVERY: Time = 10 * S;
/// How often a node's short-lived clients connect, on average.
const SHORT_EVERY: Time = 10 * S;

/// Something that happens to a node, or to all.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A node starts.
    Start,
    /// A machine wanted to be woken.
    Wake,
    /// A probe ended.
    Probed { server: u8, serial: u32, came: Came, rtt: Option<Time>, took: Time },
    /// A sentinel has news.
    Heard { server: u8, serial: u32, news: News },
    /// The agent reads the kernel's counts.
    Counts,
    /// A client connects.
    Connect { client: Option<u8>, attempt: u8 },
    /// A client's connection ends.
    End { client: u8, serial: u32, why: Why },
    /// Clients give up what has been silent for long.
    Silent { server: u8 },
    /// A server enters a phase.
    Phase { server: u8, phase: Phase },
    /// A second has passed.
    Second,
}

/// News from a sentinel.
#[derive(Clone, Copy, Debug)]
enum News {
    Up { rtt: Time },
    Refused,
    Silent,
    Pong { rtt: Time },
    Reset,
    Lost,
    GoAway,
    Nodes,
}

/// Why a client's connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The server, or TCP.
    Gone,
    /// The machine wanted it closed, because the backend is dead or has drained for long.
    Dead,
    /// The machine wanted it closed, because others have fewer.
    Rebalance,
}

/// A run.
pub(super) struct World {
    script: Script,
    nodes: Vec<Option<Node>>,
    settings: nllb_core::Settings,
    queue: BinaryHeap<Reverse<(Time, u64, u32, Packed)>>,
    events: u64,
    now: Time,
    origin: Instant,
    rng: Rng,
    counts: Counts,
    active: Vec<u64>,
}

/// An event in the queue takes no part in its order.
#[derive(Clone, Copy, Debug)]
struct Packed(Event);

impl PartialEq for Packed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Packed {}
impl PartialOrd for Packed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Packed {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// Runs a script with so many nodes; gives what was counted and how many events there were.
pub(super) fn run(script: &Script, nodes: usize, seed: u64) -> Result<(Counts, u64)> {
    let backends = script.plane.servers.len();
    let mut world = World {
        settings: settings(backends, script.rebalance),
        nodes: (0..nodes).map(|_| None).collect(),
        queue: BinaryHeap::new(),
        events: 0,
        now: 0,
        origin: Instant::now(),
        rng: Rng::with_seed(seed),
        counts: Counts::new(backends, script.end),
        active: vec![0; backends],
        script: script.clone(),
    };
    world.prepare();
    world.run()?;
    Ok((world.counts, world.events))
}

impl World {
    fn prepare(&mut self) {
        for node in 0..self.nodes.len() {
            let at = self.rng.u64(0..START);
            self.push(at, node, Event::Start);
        }
        let servers = self.script.plane.servers.clone();
        for (server, timeline) in (0u8..).zip(&servers) {
            for (at, phase) in timeline.changes() {
                self.push(at, 0, Event::Phase { server, phase });
            }
        }
        self.push(0, 0, Event::Second);
        self.prepare_cuts();
    }

    fn push(&mut self, at: Time, node: usize, event: Event) {
        self.events += 1;
        let node = u32::try_from(node).unwrap_or(u32::MAX);
        self.queue.push(Reverse((at, self.events, node, Packed(event))));
    }

    fn at(&self) -> Instant {
        self.origin + duration(self.now)
    }

    fn run(&mut self) -> Result<()> {
        while let Some(Reverse((at, _, node, Packed(event)))) = self.queue.pop() {
            if at > self.script.end {
                return Ok(());
            }
            self.now = at;
            self.happen(node as usize, event)?;
        }
        Ok(())
    }

    fn happen(&mut self, node: usize, event: Event) -> Result<()> {
        match event {
            Event::Second => {
                self.counts.active.push(self.active.clone());
                self.push(self.now + S, 0, Event::Second);
            }
            Event::Silent { server } => self.drop_clients(node, usize::from(server), self.now),
            Event::Phase { server, phase } => self.enter(usize::from(server), phase),
            Event::Start => self.start(node)?,
            Event::Wake => self.wake(node),
            Event::Probed { server, serial, came, rtt, took } => {
                self.probed(node, usize::from(server), serial, came, rtt, took);
            }
            Event::Heard { server, serial, news } => {
                self.heard(node, usize::from(server), serial, news);
            }
            Event::Counts => {
                let at = self.at();
                self.with(node, |node| node.report_connections(at));
                self.push(self.now + COUNTS_EVERY, node, Event::Counts);
            }
            Event::Connect { client, attempt } => self.connect(node, client, attempt),
            Event::End { client, serial, why } => self.end_client(node, client, serial, why),
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<()> {
        let rng = self.rng.fork();
        let node = Node::new(self.settings.clone(), rng, self.at()).context("no table")?;
        let clients = u8::try_from(node.clients.len()).unwrap_or(u8::MAX);
        self.nodes[index] = Some(node);
        self.pump(index);
        for client in 0..clients {
            let at = self.now + self.rng.u64(S..5 * S);
            self.push(at, index, Event::Connect { client: Some(client), attempt: 0 });
        }
        let at = self.now + self.rng.u64(S..COUNTS_EVERY);
        if self.script.rebalance {
            self.push(at, index, Event::Counts);
        }
        self.push(at, index, Event::Connect { client: None, attempt: 0 });
        Ok(())
    }

    /// Does something to a node, then carries out what its machine wants.
    fn with(&mut self, index: usize, act: impl FnOnce(&mut Node)) {
        if let Some(node) = &mut self.nodes[index] {
            act(node);
            self.pump(index);
        }
    }

    fn wake(&mut self, index: usize) {
        let (now, at) = (self.now, self.at());
        self.with(index, |node| {
            if node.wake == Some(now) {
                node.wake = None;
                node.machine.handle_timeout(at);
            }
        });
    }

    fn probed(
        &mut self,
        index: usize,
        server: usize,
        serial: u32,
        came: Came,
        rtt: Option<Time>,
        took: Time,
    ) {
        let at = self.at();
        self.with(index, |node| {
            if node.links[server].probe != serial {
                return;
            }
            let report = ProbeReport {
                outcome: outcome(came),
                rtt: rtt.map(duration),
                latency: duration(took),
                certificate: None,
                unix_time: 0,
            };
            if matches!(came, Came::Status(_)) {
                node.trust(server);
            }
            let (id, epoch) = address(node, server);
            node.machine.handle_probe(id, epoch, report, at);
        });
    }

    fn heard(&mut self, index: usize, server: usize, serial: u32, news: News) {
        let at = self.at();
        let process = self.way(index, server).process(self.now);
        let nodes = u64::try_from(self.nodes.len()).unwrap_or(u64::MAX);
        self.with(index, |node| {
            let link = &mut node.links[server];
            if link.sentinel != serial {
                return;
            }
            let fact = match news {
                News::Up { rtt } => {
                    link.open = Some(process);
                    SentinelFact::Up { rtt: duration(rtt), certificate: None, unix_time: 0 }
                }
                News::Refused => SentinelFact::Failed { outcome: Outcome::Refused },
                News::Silent => SentinelFact::Failed { outcome: Outcome::Silent },
                News::Pong { rtt } => SentinelFact::Pong { rtt: duration(rtt) },
                News::Reset => SentinelFact::Reset,
                News::Lost => SentinelFact::Lost,
                News::GoAway => SentinelFact::GoAway,
                News::Nodes => {
                    let (id, epoch) = address(node, server);
                    return node.machine.handle_answer(id, epoch, Answer::Nodes(nodes), at);
                }
            };
            if matches!(news, News::Reset | News::Lost | News::GoAway) {
                // What is still under way on it is void.
                link.open = None;
                link.sentinel += 1;
            }
            let (id, epoch) = address(node, server);
            node.machine.handle_sentinel(id, epoch, fact, at);
        });
    }

    /// A server enters a phase: who has a connection to it may hear of that.
    fn enter(&mut self, server: usize, phase: Phase) {
        let news = match phase {
            Phase::Leaving => News::GoAway,
            Phase::Down => News::Reset,
            Phase::Ready | Phase::NotReady(_) | Phase::Stuck | Phase::Silent => return,
        };
        for index in 0..self.nodes.len() {
            if self.way(index, server).plane.seen(index, server, self.now) == Phase::Silent {
                continue;
            }
            let Some(node) = &mut self.nodes[index] else { continue };
            // A server writes to all of its connections one after the other.
            let at = self.now + node.round_trip(server) / 2 + node.rng.u64(..20 * MS);
            let Link { sentinel: serial, open, .. } = node.links[server];
            if open.is_some() {
                let server = u8::try_from(server).unwrap_or(u8::MAX);
                self.push(at, index, Event::Heard { server, serial, news });
            }
            if phase == Phase::Down {
                self.drop_clients(index, server, at);
            }
        }
    }

    fn way(&self, node: usize, server: usize) -> Way<'_> {
        Way { plane: &self.script.plane, node, server }
    }

    fn count(&mut self, kind: Kind, server: usize, at: Time) {
        self.counts.add(kind, server, at);
    }
}

fn address(node: &Node, server: usize) -> (BackendId, u32) {
    let id = u32::try_from(server).unwrap_or(u32::MAX);
    (BackendId(id), node.epoch(id))
}

fn outcome(came: Came) -> Outcome {
    match came {
        Came::Status(200) => Outcome::Ready,
        Came::Status(status) => Outcome::NotReady { status },
        Came::Refused => Outcome::Refused,
        Came::Silent => Outcome::Silent,
        Came::Slow => Outcome::Slow,
        Came::Closed => Outcome::Closed,
    }
}
