//! What a client tells of what it did.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far a connect got.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// Creating, setting up or binding the socket.
    Socket,
    /// `connect()`.
    Connect,
    /// The question and its answer.
    Ask,
}

/// What became of a connect.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Outcome {
    /// Connected, and got the answer.
    pub ok: bool,
    /// Where it failed.
    pub stage: Option<Stage>,
    /// The errno's name (`ECONNREFUSED`), or what else went wrong.
    pub error: Option<String>,
    /// The client gave up, not the kernel.
    pub timed_out: bool,
    /// How long `connect()` took.
    pub connect_us: u64,
    /// How long all of it took.
    pub total_us: u64,
    /// The local address.
    pub local: Option<SocketAddr>,
    /// The peer's address, as `getpeername` tells it.
    pub peer: Option<SocketAddr>,
    /// The server's name, as it told it.
    pub server: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The HTTP body.
    pub body: Option<String>,
    /// The socket that was kept.
    pub handle: Option<u64>,
}

/// A socket as the kernel sees it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Inspection {
    /// `getsockname`.
    pub local: Option<SocketAddr>,
    /// `getpeername`.
    pub peer: Option<SocketAddr>,
    /// `SO_ERROR`, by name.
    pub error: Option<String>,
    /// `TCP_USER_TIMEOUT`; none: the kernel's own.
    pub user_timeout: Option<Duration>,
}

/// How a storm went.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StormReport {
    /// Connects tried.
    pub attempts: u64,
    /// Of which successful.
    pub ok: u64,
    /// Failures by error.
    pub errors: BTreeMap<String, u64>,
    /// Successes by the server that answered.
    pub servers: BTreeMap<String, u64>,
    /// Median of the time of successful connects.
    pub p50_us: u64,
    /// 99th percentile of it.
    pub p99_us: u64,
    /// The longest successful connect.
    pub max_us: u64,
    /// The longest attempt, failed ones included, question included.
    pub longest_attempt_us: u64,
    /// The longest time in which no thread had a success.
    pub longest_gap_us: u64,
    /// How long the storm has lasted.
    pub elapsed_us: u64,
}

impl StormReport {
    /// Connects that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.attempts - self.ok
    }
}

/// What became of a datagram.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct UdpOutcome {
    /// The answer.
    pub reply: Option<String>,
    /// Who sent it.
    pub from: Option<SocketAddr>,
    /// The errno's name.
    pub error: Option<String>,
}
