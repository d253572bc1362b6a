//! What a probe asks, and over what.

use std::fmt;
use std::ops::RangeInclusive;

/// What a probe asks, and over what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A GET over TLS.
    Https(Get),
    /// A GET without TLS. No credentials are sent.
    Http(Get),
    /// Nothing: a connect that is accepted is enough.
    Tcp,
    /// Nothing but a TLS handshake.
    Tls,
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service that is asked about; empty for the whole server.
        service: String,
        /// Whether over TLS. Without it no credentials are sent.
        tls: bool,
    },
    /// A question to a name server.
    Dns(Dns),
}

impl Kind {
    /// Whether the backend shows a certificate.
    #[must_use]
    pub const fn uses_tls(&self) -> bool {
        match self {
            Self::Https(_) | Self::Tls => true,
            Self::Grpc { tls, .. } => *tls,
            Self::Http(_) | Self::Tcp | Self::Dns(_) => false,
        }
    }

    /// Whether a status of HTTP is that of a ready backend.
    #[must_use]
    pub fn accepts(&self, status: u16) -> bool {
        match self {
            Self::Https(get) | Self::Http(get) => get.accept.holds(status),
            Self::Tcp | Self::Tls | Self::Grpc { .. } | Self::Dns(_) => false,
        }
    }

    /// The word for it in configuration.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Https(_) => "https",
            Self::Http(_) => "http",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Grpc { .. } => "grpc",
            Self::Dns(_) => "dns",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        match self {
            Self::Https(get) | Self::Http(get) => write!(f, " {}", get.path),
            Self::Tcp | Self::Tls => Ok(()),
            Self::Dns(Dns { query, accept: _, tcp }) => {
                write!(f, " {query}{}", if *tcp { " over TCP" } else { "" })
            }
            Self::Grpc { service, tls } => {
                f.write_str(if service.is_empty() { "" } else { " " })?;
                f.write_str(service)?;
                f.write_str(if *tls { "" } else { " without TLS" })
            }
        }
    }
}

/// A GET and the answers that are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Path that is asked for, with the leading slash.
    pub path: String,
    /// The statuses of a ready backend.
    pub accept: Accept,
}

/// Statuses of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept(pub Vec<RangeInclusive<u16>>);

impl Accept {
    /// Whether a status is among them.
    #[must_use]
    pub fn holds(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Default for Accept {
    fn default() -> Self {
        Self(vec![200..=200])
    }
}

/// A port that speaks plain HTTP. It is heard only when it answers: a status other than 200 takes the
/// backend out, and anything else, silence included, says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPort {
    /// The port, on the backend's host.
    pub port: u16,
    /// Path that is asked for, with the leading slash.
    pub path: String,
}

/// A question to a name server and the answers that are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The name whose IPv4 addresses are asked for.
    pub query: String,
    /// The codes of a good answer.
    pub accept: Vec<Rcode>,
    /// Whether over TCP, because the backends serve nothing else.
    pub tcp: bool,
}

impl Default for Dns {
    /// The name is the cluster's own, so that a server answers by itself whom it serves. A cluster of
    /// another domain makes it ask its forwarders, who do not know the name, and that is as good.
    fn default() -> Self {
        Self {
            query: "kubernetes.default.svc.cluster.local".to_owned(),
            accept: vec![Rcode::NOERROR, Rcode::NXDOMAIN],
            tcp: false,
        }
    }
}

/// The code of a DNS answer (RFC 1035, 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rcode(pub u8);

impl Rcode {
    /// All is well.
    pub const NOERROR: Self = Self(0);
    /// There is no such name.
    pub const NXDOMAIN: Self = Self(3);
    /// The words for those that have one.
    pub const NAMES: [&'static str; 6] =
        ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        u8::try_from(at).ok().map(Self)
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}
