//! An entry of the journal: a line of JSON on disk, and the same on the admin socket.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Longer than any reason that the agent gives itself; others' words may be.
const LONGEST_REASON: usize = 300;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its number: one more than the entry before, also over restarts. A gap is what could not be kept.
    pub seq: u64,
    /// When, in unix milliseconds of this host's clock.
    pub time_ms: i64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened, why, and how long it took or lasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum What {
    /// A backend changed its state.
    Transition {
        /// Its pool.
        pool: String,
        /// Its address.
        backend: SocketAddr,
        /// The state before.
        from: String,
        /// The state now.
        to: String,
        /// Why.
        reason: String,
        /// How long it had the state before, when that is known.
        duration_ms: Option<u64>,
    },
    /// A pool's connections go elsewhere, because a backend went out of service.
    Failover {
        /// The pool.
        pool: String,
        /// Who left.
        backend: SocketAddr,
        /// Why.
        reason: String,
        /// How many are left.
        remaining: u64,
        /// From the first sign (doubt) to the verdict; `None` when an operator drained it.
        duration_ms: Option<u64>,
    },
    /// A backend is in service again.
    Recovered {
        /// Its pool.
        pool: String,
        /// Who.
        backend: SocketAddr,
        /// Why.
        reason: String,
        /// How long it was out of service, when that is known.
        duration_ms: Option<u64>,
    },
    /// The agent ended connections.
    Closed {
        /// To whom.
        backend: SocketAddr,
        /// `dead`, `drained`, `drill`, `rebalance` or `waiting`.
        cause: String,
        /// Why.
        reason: String,
        /// How many.
        sockets: u64,
        /// From the order to the last of them.
        duration_ms: u64,
    },
    /// The data path is no longer proven to be attached, or is again.
    Attach {
        /// Which of the two.
        state: AttachState,
        /// What is wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How long it was not, when that is known.
        duration_ms: Option<u64>,
    },
    /// Another configuration is in force, or was refused.
    Config {
        /// Which of the two.
        outcome: ConfigOutcome,
        /// Why it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An operator drained a backend.
    Drain {
        /// Which.
        backend: SocketAddr,
        /// When its connections are closed; `None` when they stay.
        close_after_ms: Option<u64>,
        /// Whether it was to be done even to the last eligible one.
        forced: bool,
    },
    /// An operator took that back.
    Undrain {
        /// Which backend.
        backend: SocketAddr,
    },
    /// A drill took a backend out of service.
    Drill {
        /// Which backend.
        backend: SocketAddr,
        /// `simulate` or `blackhole`.
        mode: String,
        /// How long it lasts unless it is renewed.
        lease_ms: u64,
    },
    /// It ended.
    DrillOver {
        /// Which backend.
        backend: SocketAddr,
        /// `simulate` or `blackhole`.
        mode: String,
        /// Who or what ended it.
        reason: String,
        /// How long it lasted.
        duration_ms: u64,
    },
    /// No backend of a pool is in service: connects go to who may still answer.
    PanicEntered {
        /// The pool.
        pool: String,
        /// Who was the last one, and why.
        reason: String,
    },
    /// One is again.
    PanicLeft {
        /// The pool.
        pool: String,
        /// Who.
        backend: SocketAddr,
        /// How long there was none, when that is known.
        duration_ms: Option<u64>,
    },
    /// The lease was renewed too late: until then the kernel went by evidence alone.
    Lease {
        /// For how long.
        duration_ms: u64,
    },
    /// This node owns the control-plane VIP, or does not any more.
    Vip {
        /// Its addresses.
        vip: String,
        /// Which of the two, and how.
        change: VipChange,
        /// Why.
        reason: String,
    },
    /// An agent started.
    Started {
        /// Its version.
        version: String,
        /// Whether it took over what an earlier one left in the kernel.
        adopted: bool,
        /// Its process id.
        pid: u32,
    },
    /// It ended, in good order.
    Stopped {
        /// Why.
        reason: String,
        /// How long it ran.
        duration_ms: u64,
    },
    /// Backends joined or left a pool.
    Members {
        /// The pool.
        pool: String,
        /// Who joined.
        joined: Vec<SocketAddr>,
        /// Who left.
        left: Vec<SocketAddr>,
        /// Who says so.
        reason: String,
    },
}

/// How the attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachState {
    /// Not proven.
    Lost,
    /// Proven again.
    Repaired,
}

/// What became of the control-plane VIP on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VipChange {
    /// This node answers for it.
    Taken,
    /// It does not any more, and did not want that.
    Lost,
    /// It gave it away.
    Released,
}

impl VipChange {
    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Lost => "lost",
            Self::Released => "released",
        }
    }
}

/// What became of a configuration that was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigOutcome {
    /// It is in force.
    Applied,
    /// The one before stays.
    Refused,
}

impl Entry {
    /// It as a line, without its end. A value of these types is always JSON.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl What {
    /// Whether it is about such a backend.
    #[must_use]
    pub fn is_about(&self, is_meant: impl Fn(SocketAddr) -> bool) -> bool {
        match self {
            Self::Transition { backend: of, .. }
            | Self::Failover { backend: of, .. }
            | Self::Recovered { backend: of, .. }
            | Self::Closed { backend: of, .. }
            | Self::Drain { backend: of, .. }
            | Self::Undrain { backend: of }
            | Self::Drill { backend: of, .. }
            | Self::DrillOver { backend: of, .. }
            | Self::PanicLeft { backend: of, .. } => is_meant(*of),
            Self::Members { joined, left, .. } => joined.iter().chain(left).copied().any(is_meant),
            Self::Attach { .. }
            | Self::Config { .. }
            | Self::PanicEntered { .. }
            | Self::Lease { .. }
            | Self::Vip { .. }
            | Self::Started { .. }
            | Self::Stopped { .. } => false,
        }
    }
}

/// A reason as an entry has it: one line of bounded length, since parts of it may be others' words.
#[must_use]
pub fn short(reason: &str) -> String {
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    let mut line: String = reason.chars().take(LONGEST_REASON).map(plain).collect();
    if reason.chars().nth(LONGEST_REASON).is_some() {
        line.push('…');
    }
    line
}
