//! What clients that run beside a fault are told, and what they tell.
//!
//! Every time is `CLOCK_MONOTONIC` in nanoseconds, so that what several processes saw can be laid
//! side by side.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Clients in one network namespace, until they are told to stop: they connect in loops, and they
/// hold connections.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Traffic {
    /// Where all of them connect to.
    pub frontend: SocketAddr,
    /// The authority to trust, PEM.
    pub authority: String,
    /// The name that the certificate must carry.
    pub server_name: String,
    /// The loops.
    pub loops: Vec<ConnectLoop>,
    /// The time between two requests on a connection that is kept for requests.
    pub request_interval: Duration,
}

/// Connects, asks for the server's name, and closes, again and again.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct ConnectLoop {
    /// The time between two connects.
    pub interval: Duration,
    /// How many connects may be under way. One: the next waits for the one before, as in a program
    /// that connects, does its work and connects again. Many: none ever waits for another.
    pub at_once: usize,
    /// How long it waits for an answer once it is connected; for the connect, as long as the kernel
    /// pleases.
    pub patience: Duration,
}

impl Traffic {
    /// Clients that neither connect in loops nor hold anything yet.
    #[must_use]
    pub fn to(frontend: SocketAddr, server_name: &str, authority: &str) -> Self {
        Self {
            frontend,
            authority: authority.to_owned(),
            server_name: server_name.to_owned(),
            loops: Vec::new(),
            request_interval: Duration::from_millis(5),
        }
    }
}

impl ConnectLoop {
    /// A thousand connects in a second, each of which waits for the one before.
    #[must_use]
    pub const fn in_turn() -> Self {
        let patience = Duration::from_millis(250);
        Self { interval: Duration::from_millis(1), at_once: 1, patience }
    }

    /// A thousand connects in a second, none of which waits for another.
    #[must_use]
    pub const fn on_time() -> Self {
        Self { at_once: 4_000, ..Self::in_turn() }
    }
}

/// What a held connection is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Purpose {
    /// A request and its answer, again and again.
    Requests,
    /// A watch on which nothing happens.
    Watch,
}

/// What happened between two marks.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TrafficReport {
    /// When the first mark was.
    pub from_ns: u64,
    /// When the second was.
    pub until_ns: u64,
    /// Every loop, in the order of [`Traffic::loops`].
    pub loops: Vec<LoopReport>,
    /// Every held connection there was, and those that ended before and had no successor then.
    pub held: Vec<Held>,
}

/// How the connects of a loop went that ended in a stretch of time.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LoopReport {
    /// Connects that ended.
    pub attempts: u64,
    /// Connects that failed, or got no answer.
    pub failed: u64,
    /// Of these, those that never were established.
    pub unconnected: u64,
    /// Those that failed, and those that took conspicuously long; the first ones.
    pub bad: Vec<Attempt>,
    /// The longest time between two successes, the one still going on included.
    pub longest_gap_ns: u64,
    /// The longest such time in which a connect failed or took conspicuously long; 0 when there was none.
    pub blackout_ns: u64,
    /// When the first success was complete.
    pub first_success_ns: Option<u64>,
    /// When the first success was complete of a connect that also began in this stretch of time.
    pub first_new_ns: Option<u64>,
    /// Successes by server.
    pub servers: BTreeMap<String, Seen>,
    /// Connects left out because too many were under way.
    pub skipped: u64,
}

/// A connect.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// When it began.
    pub started_ns: u64,
    /// When it was established.
    pub connected_ns: Option<u64>,
    /// When it ended, its answer included.
    pub ended_ns: u64,
    /// Who answered.
    pub server: Option<String>,
    /// Why it failed: the errno's name, or `no answer`.
    pub error: Option<String>,
}

/// Successes with one server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// How many.
    pub count: u64,
    /// When the first connect began.
    pub first_ns: u64,
    /// When the last one did.
    pub last_ns: u64,
}

/// A held connection.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Held {
    /// What it is for.
    pub purpose: Purpose,
    /// Who serves it.
    pub server: String,
    /// When it had its first answer.
    pub opened_ns: u64,
    /// When it ended, if it has.
    pub end: Option<End>,
    /// When a new one in its stead had its first answer.
    pub resumed_ns: Option<u64>,
    /// Requests answered.
    pub answers: u64,
    /// Requests that got no answer.
    pub unanswered: u64,
}

/// The end of a held connection.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct End {
    /// When the client knew.
    pub at_ns: u64,
    /// The errno's name, `EOF`, or `closed` when the client closed it as the server wished.
    pub how: String,
}

impl End {
    /// Whether this host ended it: the kernel aborts a socket that is destroyed, and gives up on
    /// one whose user timeout is over. A peer can cause neither.
    #[must_use]
    pub fn by_this_host(&self) -> bool {
        matches!(self.how.as_str(), "ECONNABORTED" | "ETIMEDOUT")
    }
}

impl Held {
    /// Whether this host ended it.
    #[must_use]
    pub fn closed_by_this_host(&self) -> bool {
        self.end.as_ref().is_some_and(End::by_this_host)
    }
}
