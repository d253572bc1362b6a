//! What is said between the lab and a client process.

mod attribution;
mod outcome;
mod traffic;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use attribution::{Attribution, AttributionReport, Target};
pub use outcome::{Inspection, Outcome, Stage, StormReport, UdpOutcome};
pub use traffic::{
    Attempt, ConnectLoop, End, Held, LoopReport, Purpose, Seen, Traffic, TrafficReport,
};

/// How long a client waits for the answer to what it asks.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "each is documented at the method of Client that sends it")]
pub enum Op {
    Connect(Connect),
    Reconnect { handle: u64, unspec: bool, connect: Connect },
    Ask { handle: u64, ask: Ask, timeout: Duration },
    Echo { handle: u64, timeout: Duration },
    NextEvent { handle: u64, timeout: Duration },
    Inspect { handle: u64 },
    Close { handle: u64 },
    StormStart(Storm),
    StormReport { storm: u64 },
    StormStop { storm: u64 },
    StormWait { storm: u64 },
    TrafficStart(Traffic),
    TrafficHold { traffic: u64, servers: Vec<String> },
    TrafficMark { traffic: u64 },
    TrafficStop { traffic: u64 },
    Attribution(Attribution),
    Udp(Udp),
    DatagramOpen(DatagramSocket),
    Datagram { handle: u64, op: DatagramOp },
    ListenTcp { address: SocketAddr, name: String },
    ListenUdp { address: SocketAddr, name: String },
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
    /// Create the socket in this network namespace, in which no process of the client is.
    pub netns: Option<String>,
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
    /// `TCP_USER_TIMEOUT`; none: the kernel's own.
    pub user_timeout: Option<Duration>,
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
            netns: None,
            mapped: false,
            bind: None,
            device: None,
            nonblocking: false,
            fast_open: false,
            mptcp: false,
            only_v6: false,
            reset_on_close: false,
            user_timeout: None,
            timeout: None,
            answer_timeout: ANSWER_TIMEOUT,
            ask: Ask::Nothing,
            keep: false,
        }
    }

    /// A connect that asks for the server's name, in plain text.
    #[must_use]
    pub fn name_of(address: SocketAddr) -> Self {
        Self { ask: Ask::Name, ..Self::to(address) }
    }

    /// A connect that sends an HTTP request.
    #[must_use]
    pub fn http(address: SocketAddr, request: Http) -> Self {
        Self { ask: Ask::Http(request), ..Self::to(address) }
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

/// A datagram socket to keep.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct DatagramSocket {
    /// An IPv6 socket, which reaches IPv4 addresses in their v4-mapped form.
    pub v6: bool,
    /// Bind it to this address.
    pub bind: Option<SocketAddr>,
}

/// What to do with a datagram socket that was kept.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub enum DatagramOp {
    /// Connect it.
    Connect {
        /// Where to.
        to: SocketAddr,
    },
    /// Send a datagram.
    Send {
        /// Where to; none: where it is connected to.
        to: Option<SocketAddr>,
    },
    /// Wait for a datagram.
    Receive {
        /// How long.
        timeout: Duration,
    },
    /// Ask whom it is connected to.
    Peer,
    /// Open so many others, one after another, each connected there.
    Flood {
        /// Where to.
        to: SocketAddr,
        /// How many.
        sockets: u32,
    },
}
