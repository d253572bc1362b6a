//! What becomes of a request, and when: known when it is sent, since the plane's times are.

use super::node::Node;
use super::timeline::{MS, Phase, Plane, S, Time};

/// Limit of a whole probe and of its connect, as configured by default.
const PROBE_TIMEOUT: Time = 2 * S;
/// How long TCP tries on a sentinel before it gives up, see `nllb-agent/src/probe/sentinel.rs`.
const GIVE_UP: Time = 10 * S;
/// The first retransmission of TCP in a LAN; each further one waits twice as long.
const RETRANSMIT: Time = 200 * MS;
/// When the kernel program cuts a SYN that is not answered.
const SYN_CUT: Time = 160 * MS;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// An answer to `/readyz`.
    Status(u16),
    /// The connection was refused.
    Refused,
    /// Nothing came of the connect.
    Silent,
    /// No answer in time.
    Slow,
    /// The connection ended.
    Closed,
}

/// What came of a request, when it met the server and when the node knew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) came: Came,
    /// Whether a server process got it.
    pub(super) served: bool,
    pub(super) arrived: Time,
    pub(super) at: Time,
    /// The round trip of the handshake, if there was one.
    pub(super) rtt: Option<Time>,
}

/// What came of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ping {
    /// It was answered.
    Pong,
    /// The server's host knows no such connection.
    Reset,
    /// TCP gave up.
    Lost,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) plane: &'a Plane,
    pub(super) node: usize,
    pub(super) server: usize,
}

impl Way<'_> {
    fn seen(&self, time: Time) -> Phase {
        self.plane.seen(self.node, self.server, time)
    }

    pub(super) fn process(&self, time: Time) -> usize {
        self.plane.servers[self.server].process(time)
    }

    /// A connection of its own: handshakes of TCP and TLS, then `/readyz`.
    pub(super) fn fresh(&self, node: &mut Node, sent: Time, connect: Option<Time>) -> Reply {
        let rtt = node.round_trip(self.server);
        let arrived = sent + rtt / 2;
        let reply = |came, served, at, rtt| Reply { came, served, arrived, at, rtt };
        // Three round trips, and what a real server takes for TLS and the answer.
        let answered = sent + 3 * rtt + node.rng.u64(MS..3 * MS);
        match self.seen(arrived) {
            Phase::Ready => reply(Came::Status(200), true, answered, Some(rtt)),
            Phase::NotReady(status) => reply(Came::Status(status), true, answered, Some(rtt)),
            Phase::Stuck => reply(Came::Slow, true, sent + PROBE_TIMEOUT, Some(rtt)),
            Phase::Leaving | Phase::Down => reply(Came::Refused, false, sent + rtt, None),
            Phase::Silent => {
                let limit = connect.unwrap_or(PROBE_TIMEOUT / 2).min(PROBE_TIMEOUT / 2);
                reply(Came::Silent, false, sent + limit, None)
            }
        }
    }

    /// `/readyz` over a sentinel to this process.
    pub(super) fn kept(&self, node: &mut Node, sent: Time, process: usize) -> Reply {
        let rtt = node.round_trip(self.server);
        let limit = sent + PROBE_TIMEOUT;
        let reply = |came, served, arrived, at| Reply { came, served, arrived, at, rtt: None };
        let Some(arrived) = self.delivered(sent, rtt).filter(|at| *at < limit) else {
            return reply(Came::Slow, false, limit, limit);
        };
        let answered = arrived + rtt / 2 + node.rng.u64(MS / 2..3 * MS / 2);
        match self.seen(arrived) {
            _ if self.process(arrived) != process => {
                reply(Came::Closed, false, arrived, arrived + rtt / 2)
            }
            Phase::Ready => reply(Came::Status(200), true, arrived, answered),
            Phase::NotReady(status) => reply(Came::Status(status), true, arrived, answered),
            Phase::Leaving => reply(Came::Status(500), true, arrived, answered),
            Phase::Stuck => reply(Came::Slow, true, arrived, limit),
            Phase::Down | Phase::Silent => reply(Came::Closed, false, arrived, arrived + rtt / 2),
        }
    }

    /// A ping over a sentinel to this process; when the node knows what came of it.
    pub(super) fn ping(&self, node: &mut Node, sent: Time, process: usize) -> (Ping, Time) {
        let rtt = node.round_trip(self.server);
        let Some(arrived) = self.delivered(sent, rtt) else {
            return (Ping::Lost, sent + GIVE_UP);
        };
        let back = arrived + rtt / 2;
        if self.process(arrived) == process && self.seen(arrived) != Phase::Down {
            (Ping::Pong, back)
        } else {
            (Ping::Reset, back)
        }
    }

    /// When something sent over a connection arrives, by TCP's own attempts.
    fn delivered(&self, sent: Time, rtt: Time) -> Option<Time> {
        let mut wait = RETRANSMIT;
        let mut at = sent;
        while at < sent + GIVE_UP {
            let arrived = at + rtt / 2;
            if self.seen(arrived) != Phase::Silent {
                return Some(arrived);
            }
            at += wait;
            wait *= 2;
        }
        None
    }

    /// A client's connect, through the kernel program.
    pub(super) fn connect(&self, node: &mut Node, sent: Time) -> Reply {
        let rtt = node.round_trip(self.server);
        let arrived = sent + rtt / 2;
        let phase = self.seen(arrived);
        let (came, at) = match phase {
            Phase::Ready | Phase::NotReady(_) | Phase::Stuck => (Came::Status(200), sent + rtt),
            Phase::Leaving | Phase::Down => (Came::Refused, sent + rtt),
            Phase::Silent => (Came::Silent, sent + SYN_CUT),
        };
        Reply { came, served: phase.accepts(), arrived, at, rtt: Some(rtt) }
    }
}
