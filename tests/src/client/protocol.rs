//! What is said between the lab and a client process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a client waits for the answer to what it asks.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(
    missing_docs,
    reason = "each is documented at the method of Client that sends it"
)]
pub enum Op {
    Connect(Connect),
    Reconnect {
        handle: u64,
        unspec: bool,
        connect: Connect,
    },
    Ask {
        handle: u64,
        ask: Ask,
        timeout: Duration,
    },
    Echo {
        handle: u64,
        timeout: Duration,
    },
    NextEvent {
        handle: u64,
        timeout: Duration,
    },
    Inspect {
        handle: u64,
    },
    Close {
        handle: u64,
    },
    StormStart(Storm),
    StormReport {
        storm: u64,
    },
    StormStop {
        storm: u64,
    },
    StormWait {
        storm: u64,
    },
    Udp(Udp),
    ListenTcp {
        address: SocketAddr,
        name: String,
    },
    ListenUdp {
        address: SocketAddr,
        name: String,
    },
}

/// An answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Answer {
    /// The request was carried out; a refused connect is a result, not a failure.
    Done(serde_json::Value),
    /// It could not be carried out.
    Failed(String),
}

/// How to connect. `Connect::to(address)` with fields changed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Connect {
    /// Where to.
    pub address: SocketAddr,
    /// Use an IPv6 socket and the v4-mapped form of an IPv4 address.
    pub mapped: bool,
    /// Bind to this address first.
    pub bind: Option<SocketAddr>,
    /// Bind to this device first.
    pub device: Option<String>,
    /// Connect without blocking and poll.
    pub nonblocking: bool,
    /// `TCP_FASTOPEN_CONNECT`.
    pub fast_open: bool,
    /// A Multipath TCP socket.
    pub mptcp: bool,
    /// `IPV6_V6ONLY`.
    pub only_v6: bool,
    /// Close with RST, so that no port stays in TIME_WAIT.
    pub reset_on_close: bool,
    /// How long the connect may take. None: as long as the kernel pleases.
    pub timeout: Option<Duration>,
    /// How long to wait for the answer to `ask`.
    pub answer_timeout: Duration,
    /// What to ask once connected.
    pub ask: Ask,
    /// Keep the socket and give a handle to it.
    pub keep: bool,
}

impl Connect {
    /// A plain blocking connect that asks nothing.
    #[must_use]
    pub fn to(address: SocketAddr) -> Self {
        Self {
            address,
            mapped: false,
            bind: None,
            device: None,
            nonblocking: false,
            fast_open: false,
            mptcp: false,
            only_v6: false,
            reset_on_close: false,
            timeout: None,
            answer_timeout: ANSWER_TIMEOUT,
            ask: Ask::Nothing,
            keep: false,
        }
    }

    /// A connect that asks for the server's name, in plain text.
    #[must_use]
    pub fn name_of(address: SocketAddr) -> Self {
        Self {
            ask: Ask::Name,
            ..Self::to(address)
        }
    }

    /// A connect that sends an HTTP request.
    #[must_use]
    pub fn http(address: SocketAddr, request: Http) -> Self {
        Self {
            ask: Ask::Http(request),
            ..Self::to(address)
        }
    }
}

/// What to ask the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Ask {
    /// Nothing.
    Nothing,
    /// Read the greeting (plain port, fixtures).
    Greeting,
    /// Ask for the name in plain text (TLS port); the server then closes.
    Name,
    /// Ask for the name in plain text (TLS port); the server then echoes.
    Echo,
    /// An HTTP/1.1 request over TLS.
    Http(Http),
}

/// An HTTP request.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Http {
    /// The path. The answer to `/whoami` gives the server's name.
    pub path: String,
    /// The name or address that the certificate must carry.
    pub server_name: String,
    /// The authority to trust, PEM.
    pub authority: String,
    /// A bearer token.
    pub bearer: Option<String>,
    /// A client certificate and its key, PEM.
    pub identity: Option<(String, String)>,
}

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
}

/// Threads that connect in a loop.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Storm {
    /// How many at once.
    pub threads: usize,
    /// How many connects all threads together make; none: until stopped.
    pub connects: Option<u64>,
    /// How each connects.
    pub connect: Connect,
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

/// A datagram to send.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Udp {
    /// Where to.
    pub address: SocketAddr,
    /// Connect the socket first.
    pub connected: bool,
    /// How long to wait for an answer.
    pub timeout: Duration,
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
