//! Carries out what a machine wants, against the model.

use nllb_core::{
    BackendId, CloseCause, CloseOrder, Command, Question, SentinelFact, TcpState, Via,
};

use super::{Event, News, Why, World};
use crate::sim::measure::Kind;
use crate::sim::network::{Came, Ping, Reply};
use crate::sim::node::Node;
use crate::sim::timeline::{Phase, Time};

impl World {
    /// Carries out all that a node's machine wants, and plans when to wake it.
    pub(super) fn pump(&mut self, index: usize) {
        let Some(mut node) = self.nodes[index].take() else { return };
        while let Some(command) = node.machine.next_command() {
            self.perform(index, &mut node, command);
        }
        if let Some(due) = node.machine.poll_timeout() {
            let due = due.saturating_duration_since(self.origin).as_nanos();
            let due = Time::try_from(due).unwrap_or(Time::MAX).max(self.now);
            if node.wake.is_none_or(|wake| due < wake) {
                node.wake = Some(due);
                self.push(due, index, Event::Wake);
            }
        }
        self.nodes[index] = Some(node);
    }

    fn perform(&mut self, index: usize, node: &mut Node, command: Command) {
        match command {
            Command::Apply | Command::DrillOver { .. } => {}
            Command::Transition { .. } => self.counts.transitions += 1,
            Command::Probe { id, connect_timeout, via, .. } => {
                let limit = connect_timeout
                    .map(|limit| Time::try_from(limit.as_nanos()).unwrap_or(Time::MAX));
                self.probe(index, node, id, limit, via);
            }
            Command::Open { id, .. } => self.open(index, node, id),
            Command::Ping { id, .. } => self.ping(index, node, id),
            Command::Inspect { id, epoch } => {
                let server = id.0 as usize;
                let silent = self.script.plane.seen(index, server, self.now) == Phase::Silent;
                let state = if silent { TcpState::Silent } else { TcpState::Acknowledged };
                let fact = SentinelFact::Tcp(state);
                node.machine.handle_sentinel(id, epoch, fact, self.at());
            }
            Command::Ask { id, question, .. } => {
                if question == Question::Nodes {
                    self.news(index, node, id, News::Nodes, Kind::Kept);
                }
            }
            Command::Close { id, order, .. } => self.close(index, node, id, &order),
        }
    }

    fn probe(
        &mut self,
        index: usize,
        node: &mut Node,
        id: BackendId,
        limit: Option<Time>,
        via: Via,
    ) {
        let server = id.0 as usize;
        let way = self.way(index, server);
        let (reply, kind) = match (via, node.links[server].open) {
            (Via::Fresh, _) => (way.fresh(node, self.now, limit), Kind::Fresh),
            (Via::Sentinel, Some(process)) => (way.kept(node, self.now, process), Kind::Kept),
            (Via::Sentinel, None) => {
                let (arrived, at) = (self.now, self.now);
                let reply = Reply { came: Came::Closed, served: false, arrived, at, rtt: None };
                (reply, Kind::Kept)
            }
        };
        let Reply { came, served, arrived, at, rtt } = reply;
        self.count(if served { kind } else { Kind::Lost }, server, arrived);
        node.links[server].probe += 1;
        let serial = node.links[server].probe;
        let took = at - self.now;
        self.push(at, index, Event::Probed { server: small(server), serial, came, rtt, took });
    }

    fn open(&mut self, index: usize, node: &mut Node, id: BackendId) {
        let server = id.0 as usize;
        let Reply { came, served, arrived, at, rtt } =
            self.way(index, server).fresh(node, self.now, None);
        let news = match (came, rtt) {
            (Came::Status(_) | Came::Slow | Came::Closed, Some(rtt)) => News::Up { rtt },
            (Came::Silent, _) => News::Silent,
            (Came::Status(_) | Came::Slow | Came::Closed | Came::Refused, _) => News::Refused,
        };
        self.count(if served { Kind::Opens } else { Kind::Lost }, server, arrived);
        let link = &mut node.links[server];
        link.sentinel += 1;
        link.open = None;
        // Handshakes do not wait for etcd.
        let at = if came == Came::Slow { arrived + 5 * rtt.unwrap_or(0) } else { at };
        self.push(at, index, Event::Heard { server: small(server), serial: link.sentinel, news });
    }

    fn ping(&mut self, index: usize, node: &mut Node, id: BackendId) {
        let server = id.0 as usize;
        let link = node.links[server];
        let Some(process) = link.open else { return };
        let (came, at) = self.way(index, server).ping(node, self.now, process);
        let news = match came {
            Ping::Pong => News::Pong { rtt: at - self.now },
            Ping::Reset => News::Reset,
            Ping::Lost => News::Lost,
        };
        self.count(Kind::Pings, server, self.now + link.rtt / 2);
        self.push(at, index, Event::Heard { server: small(server), serial: link.sentinel, news });
    }

    /// The answer to a question: it comes like one to a probe.
    fn news(&mut self, index: usize, node: &mut Node, id: BackendId, news: News, kind: Kind) {
        let server = id.0 as usize;
        let Some(process) = node.links[server].open else { return };
        let Reply { came, at, arrived, .. } = self.way(index, server).kept(node, self.now, process);
        if matches!(came, Came::Status(_)) {
            let serial = node.links[server].sentinel;
            self.count(kind, server, arrived);
            self.push(at, index, Event::Heard { server: small(server), serial, news });
        }
    }

    fn close(&mut self, index: usize, node: &mut Node, id: BackendId, order: &CloseOrder) {
        let why = match order.cause {
            CloseCause::Dead | CloseCause::Drained => Why::Dead,
            CloseCause::Rebalance => Why::Rebalance,
            // A simulated connect is answered at once or fails.
            CloseCause::Drill | CloseCause::Waiting => return,
        };
        let mut of: Vec<(u8, u32)> = (0..)
            .zip(&node.clients)
            .filter(|(_, client)| u32::from(client.backend) == id.0)
            .map(|(index, client)| (index, client.serial))
            .collect();
        node.rng.shuffle(&mut of);
        let count = order.count.map_or(of.len(), |count| count as usize);
        let spread = Time::try_from(order.spread.as_nanos()).unwrap_or(Time::MAX);
        for (client, serial) in of.into_iter().take(count) {
            let at = self.now + node.rng.u64(..=spread);
            self.push(at, index, Event::End { client, serial, why });
        }
    }
}

pub(super) fn small(server: usize) -> u8 {
    u8::try_from(server).unwrap_or(u8::MAX)
}
