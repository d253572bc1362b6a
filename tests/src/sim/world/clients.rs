//! The clients of a node: some keep a connection for ever, others come and go.

use super::commands::small;
use super::{Event, SHORT_EVERY, Why, World};
use crate::sim::measure::Kind;
use crate::sim::network::{Came, Reply};
use crate::sim::node::NOBODY;
use crate::sim::timeline::{MS, S, Time};

/// A client whose connection ended needs a moment to notice and to dial.
const RECONNECT: Time = S;
/// When client-go gives up a connection that has gone silent: 30 s and a ping of 15 s, as it was seen.
const SILENT_END: Time = 42 * S;
/// The first wait of a client whose second connect failed, too; it doubles up to five seconds.
const BACKOFF: Time = 200 * MS;

impl World {
    /// A client dials the VIP, and the kernel chooses.
    pub(super) fn connect(&mut self, index: usize, client: Option<u8>, attempt: u8) {
        let (now, at) = (self.now, self.at());
        let Some(mut node) = self.nodes[index].take() else { return };
        let server = node.pick(now);
        let reply = server.map(|server| (server, self.way(index, server).connect(&mut node, now)));
        let mut retry = None;
        match reply {
            Some((server, Reply { served: true, arrived, .. })) => {
                node.trust(server);
                self.count(Kind::Connects, server, arrived);
                if let Some(client) = client {
                    node.clients[usize::from(client)].backend = small(server);
                    node.active[server] += 1;
                    self.active[server] += 1;
                }
            }
            Some((server, Reply { came, arrived, at: known, .. })) => {
                self.count(Kind::Failures, server, arrived);
                node.suspect(server, came == Came::Silent, known, at);
                let wait = if attempt == 0 { MS } else { BACKOFF << attempt.min(5) };
                retry = Some(known + node.rng.u64(wait / 2..=wait));
            }
            None => retry = Some(now + S),
        }
        if client.is_none() && attempt == 0 {
            // Exponential gaps: nobody knows of anybody else.
            let gap = -(1.0 - node.rng.f64()).ln();
            let next = now + nanos(gap.min(10.0), SHORT_EVERY);
            self.push(next, index, Event::Connect { client, attempt: 0 });
        }
        self.nodes[index] = Some(node);
        if let Some(at) = retry {
            let attempt = attempt.saturating_add(1);
            self.push(at, index, Event::Connect { client, attempt });
            self.pump(index);
        }
    }

    /// A client's connection ends, unless it is another one by now.
    pub(super) fn end_client(&mut self, index: usize, client: u8, serial: u32, why: Why) {
        let Some(node) = &mut self.nodes[index] else { return };
        let of = &mut node.clients[usize::from(client)];
        if of.serial != serial || of.backend == NOBODY {
            return;
        }
        let server = usize::from(std::mem::replace(&mut of.backend, NOBODY));
        of.serial += 1;
        node.active[server] -= 1;
        self.active[server] -= 1;
        let at = self.now + node.rng.u64(..RECONNECT);
        self.count(Kind::Closed, server, self.now);
        match why {
            Why::Gone => {}
            Why::Dead => self.counts.closed_dead += 1,
            Why::Rebalance => self.counts.closed_rebalance += 1,
        }
        self.push(at, index, Event::Connect { client: Some(client), attempt: 0 });
    }

    /// The connections of a node to a server end at `at`.
    pub(super) fn drop_clients(&mut self, index: usize, server: usize, at: Time) {
        let Some(node) = &self.nodes[index] else { return };
        let of: Vec<_> = (0u8..)
            .zip(&node.clients)
            .filter(|(_, client)| usize::from(client.backend) == server)
            .map(|(index, client)| (index, client.serial))
            .collect();
        for (client, serial) in of {
            self.push(at, index, Event::End { client, serial, why: Why::Gone });
        }
    }

    /// Connections across a cut end at last by the clients' own means, if nobody closes them before.
    pub(super) fn prepare_cuts(&mut self) {
        for cut in self.script.plane.cuts.clone() {
            for node in cut.nodes {
                let at = cut.span.start + SILENT_END;
                if at < cut.span.end {
                    self.push(at, node, Event::Silent { server: small(cut.server) });
                }
            }
        }
    }
}

/// A share of a time.
fn nanos(share: f64, of: Time) -> Time {
    let span = std::time::Duration::from_nanos(of).mul_f64(share);
    Time::try_from(span.as_nanos()).unwrap_or(Time::MAX)
}
