//! What the outside reports: the result of a probe, a fact from a sentinel, and a hint from the kernel.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nllb_common::EventKind;

use crate::version::KubeVersion;

/// The result of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// What came of it.
    pub outcome: Outcome,
    /// Round-trip time of the TCP handshake, when there was one.
    pub rtt: Option<Duration>,
    /// Time the whole probe took.
    pub latency: Duration,
    /// The certificate the backend showed, when the TLS handshake got that far.
    pub certificate: Option<Arc<CertificateFacts>>,
    /// When the probe ended, in unix seconds of the wall clock: certificates are dated in those.
    pub unix_time: i64,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered that it is ready.
    Ready,
    /// Answered with a status that is neither accepted nor 401.
    NotReady {
        /// The HTTP status.
        status: u16,
    },
    /// Answered over gRPC, but not that it is serving.
    NotServing {
        /// What it said instead.
        reason: String,
    },
    /// Answered 401: alive, but it does not tell us more.
    Unauthorized,
    /// Answered 401 although credentials were sent: alive, but whether it is ready stays unknown.
    CredentialsRefused,
    /// The connect was refused.
    Refused,
    /// The connection was reset.
    Reset,
    /// No route, or an ICMP error.
    Unreachable,
    /// The connect timed out.
    Silent,
    /// No datagram came back.
    Unanswered,
    /// The TLS handshake failed.
    TlsFailed {
        /// Why, as the TLS library puts it.
        reason: String,
    },
    /// It answered something, TLS or the head of an answer, but no whole HTTP answer came in time.
    Slow,
    /// The connect was accepted, but nothing was answered in time: no TLS, or no HTTP without TLS.
    Hung,
    /// The connection was closed before the answer was complete.
    Closed,
    /// TCP acknowledges, but pings over the sentinel go unanswered: a frozen process.
    Unresponsive,
    /// The probe could not be made for a reason on this host; says nothing about the backend.
    Local {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Whether the backend answered what it was asked, whatever it said: its way works, and its process
    /// as far as the probe looks.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        self.is_success() || matches!(self, Self::NotReady { .. } | Self::NotServing { .. })
    }

    /// Whether it may get connections.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Ready | Self::Unauthorized | Self::CredentialsRefused)
    }

    /// The word for it in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady { .. } | Self::NotServing { .. } => "not_ready",
            Self::Unauthorized => "unauthorized",
            Self::CredentialsRefused => "credentials_refused",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Silent | Self::Unanswered => "silent",
            Self::TlsFailed { .. } => "tls_failed",
            Self::Slow => "slow",
            Self::Hung => "hung",
            Self::Closed => "closed",
            Self::Unresponsive => "unresponsive",
            Self::Local { .. } => "local",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::NotReady { status } => write!(f, "not ready, HTTP status {status}"),
            Self::NotServing { reason } => write!(f, "not ready, {reason}"),
            Self::Unauthorized => f.write_str("alive, HTTP status 401"),
            Self::CredentialsRefused => {
                f.write_str("alive, but it refuses our credentials, HTTP status 401")
            }
            Self::Refused => f.write_str("connect refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Silent => f.write_str("no answer to the connect"),
            Self::Unanswered => f.write_str("no answer"),
            Self::TlsFailed { reason } => write!(f, "TLS failed: {reason}"),
            Self::Slow => f.write_str("no HTTP answer in time"),
            Self::Hung => f.write_str("connect accepted, but no answer in time"),
            Self::Closed => f.write_str("closed before the answer was complete"),
            Self::Unresponsive => f.write_str("TCP acknowledges, but pings go unanswered"),
            Self::Local { reason } => write!(f, "no probe possible on this host: {reason}"),
        }
    }
}

/// What became of a sentinel, or was heard over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentinelFact {
    /// It is open: TCP, TLS and the settings of HTTP/2 were exchanged.
    Up {
        /// Round-trip time of the TCP handshake.
        rtt: Duration,
        /// The certificate the backend showed.
        certificate: Option<Arc<CertificateFacts>>,
        /// When, in unix seconds of the wall clock.
        unix_time: i64,
    },
    /// It could not be opened.
    Failed {
        /// Why.
        outcome: Outcome,
    },
    /// The server does not speak HTTP/2.
    NoHttp2,
    /// The answer to the outstanding ping.
    Pong {
        /// How long it took.
        rtt: Duration,
    },
    /// How TCP is doing.
    Tcp(TcpState),
    /// The server wants no more requests on it. It has ended.
    GoAway,
    /// The server closed it. It has ended.
    Closed,
    /// It was reset. It has ended.
    Reset,
    /// TCP gave up on it. It has ended.
    Lost,
}

/// What TCP knows of what was sent over a sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// The peer's kernel acknowledged all of it.
    Acknowledged,
    /// Something is not acknowledged.
    Silent,
}

/// The answer to a [`Question`](crate::command::Question).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The version of the API server.
    Version(KubeVersion),
    /// How many nodes the cluster has.
    Nodes(u64),
    /// The version of this node's kubelet.
    KubeletVersion(KubeVersion),
}

/// What matters of a backend's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFacts {
    /// The subject alternative names.
    pub names: Vec<SubjectName>,
    /// First second of its validity, unix time.
    pub not_before: i64,
    /// Last second of its validity, unix time.
    pub not_after: i64,
    /// The earliest last second of what it depends on: the authorities it was shown with, and the one
    /// at the root when that is known. `None` when nothing is known of them.
    pub chain_not_after: Option<i64>,
    /// Who issued it.
    pub issuer: String,
    /// Whom it names as its subject; shown only, never compared.
    pub subject: String,
}

impl CertificateFacts {
    /// What is left of a certificate that was seen once: its names.
    pub(crate) const fn remembered(names: Vec<SubjectName>) -> Self {
        Self {
            names,
            not_before: i64::MIN,
            not_after: i64::MAX,
            chain_not_after: None,
            issuer: String::new(),
            subject: String::new(),
        }
    }
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectName {
    /// A DNS name, perhaps with a wildcard as its first label.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// A hint from the kernel that connections to a backend go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceFact {
    /// Id of the backend.
    pub backend: u32,
    /// Epoch of that id when the connection was translated.
    pub epoch: u32,
    /// What was seen.
    pub kind: EventKind,
}
