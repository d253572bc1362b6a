//! What the machine wants done.
//!
//! A command is a wish of the moment: the driver carries it out at once and in order. What asks for an
//! answer gets exactly one, through the `handle_*` named with it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::maps::State;

use crate::backend::BackendId;
use crate::drain::{Drill, DrillEnd};

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Probe a backend and report exactly once, with [`Outcome::Local`] when it cannot be done.
    ///
    /// A probe over the sentinel may still be under way when one over a connection of its own is wanted
    /// because of a doubt. The new one takes its place: the old one is dropped and not reported.
    ///
    /// [`Outcome::Local`]: crate::report::Outcome::Local
    Probe {
        /// The backend.
        id: BackendId,
        /// Its epoch, to be handed back with the report.
        epoch: u32,
        /// Its address.
        addr: SocketAddr,
        /// Index of its pool in the settings.
        pool: usize,
        /// How long the connect may take, when that is known better than by the settings.
        connect_timeout: Option<Duration>,
        /// Over which connection.
        via: Via,
    },
    /// Open a sentinel: the long-lived connection that tells of a backend's death. One that is there
    /// already is given up without a word: it no longer answers. Answered by
    /// [`SentinelFact::Up`], [`SentinelFact::Failed`] or [`SentinelFact::NoHttp2`].
    ///
    /// [`SentinelFact::Up`]: crate::report::SentinelFact::Up
    /// [`SentinelFact::Failed`]: crate::report::SentinelFact::Failed
    /// [`SentinelFact::NoHttp2`]: crate::report::SentinelFact::NoHttp2
    Open {
        /// The backend.
        id: BackendId,
        /// Its epoch, to be handed back with every fact.
        epoch: u32,
        /// Its address.
        addr: SocketAddr,
        /// Index of its pool in the settings.
        pool: usize,
        /// How long the connect may take, when that is known better than by the settings.
        connect_timeout: Option<Duration>,
    },
    /// Send an HTTP/2 ping over the sentinel. Answered by [`SentinelFact::Pong`] or by its end; until
    /// then there is no other.
    ///
    /// [`SentinelFact::Pong`]: crate::report::SentinelFact::Pong
    Ping {
        /// The backend.
        id: BackendId,
        /// Its epoch.
        epoch: u32,
    },
    /// Ask the kernel whether the peer acknowledged what was sent over the sentinel. Answered at once
    /// by [`SentinelFact::Tcp`].
    ///
    /// [`SentinelFact::Tcp`]: crate::report::SentinelFact::Tcp
    Inspect {
        /// The backend.
        id: BackendId,
        /// Its epoch.
        epoch: u32,
    },
    /// Ask something over the sentinel. Answered by [`Machine::handle_answer`]; no answer is no news.
    ///
    /// [`Machine::handle_answer`]: crate::Machine::handle_answer
    Ask {
        /// The backend.
        id: BackendId,
        /// Its epoch.
        epoch: u32,
        /// What.
        question: Question,
    },
    /// Close connections that were translated to this backend.
    Close {
        /// The backend.
        id: BackendId,
        /// Its epoch.
        epoch: u32,
        /// Its address.
        addr: SocketAddr,
        /// Which of them, why and how fast.
        order: CloseOrder,
    },
    /// [`Machine::table`] changed: bring the maps there.
    ///
    /// [`Machine::table`]: crate::Machine::table
    Apply,
    /// A backend is no longer in a drill; for the journal.
    DrillOver {
        /// Its address.
        addr: SocketAddr,
        /// What was rehearsed.
        how: Drill,
        /// Why it ended.
        end: DrillEnd,
        /// How long it lasted.
        lasted: Duration,
    },
    /// A backend changed its state; for logs and metrics.
    Transition {
        /// The backend.
        id: BackendId,
        /// Its address.
        addr: SocketAddr,
        /// Index of its pool in the settings.
        pool: usize,
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why.
        reason: String,
        /// Of a failure, when it was first noticed: the backend was in service and is not, by no
        /// operator's order.
        first_sign: Option<Instant>,
    },
}

/// Over which connection a probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// A connection of its own: it also tests what a new client would meet.
    Fresh,
    /// The sentinel: no handshake, so it costs a server next to nothing.
    Sentinel,
}

/// What can be asked over a sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The version of the API server.
    Version,
    /// How many nodes the cluster has; needs credentials.
    Nodes,
    /// The version of this node's kubelet; needs credentials.
    Kubelet,
}

/// Which connections to close, why and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseOrder {
    /// What sort of reason there is.
    pub cause: CloseCause,
    /// The reason in words, for the log.
    pub reason: String,
    /// How many; `None` for all.
    pub count: Option<u32>,
    /// The time over which they are spread; zero closes at once.
    pub spread: Duration,
}

/// Why connections are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CloseCause {
    /// The backend is dead, and others are known to be alive.
    Dead,
    /// It has been draining for longer than it may.
    Drained,
    /// A drill treats it as dead.
    Drill,
    /// It has more connections than its share.
    Rebalance,
    /// Connects, not established, whose next SYN is further away than [`LONGEST_PAUSE`]: a backend of the
    /// pool answers again after none did, and the caller does better to dial anew.
    Waiting,
}

/// How long a connect may go on to wait for its next SYN when there is somebody who would answer a new one.
/// TCP doubles the pause after each; after an outage of a minute the next is half a minute away.
pub const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl CloseCause {
    /// Every cause.
    pub const ALL: [Self; 5] =
        [Self::Dead, Self::Drained, Self::Drill, Self::Rebalance, Self::Waiting];

    /// The word for it in status, logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Drained => "drained",
            Self::Drill => "drill",
            Self::Rebalance => "rebalance",
            Self::Waiting => "waiting",
        }
    }
}
