//! Active checks of the backends: probes, each on a fresh connection, and sentinels.
//!
//! A probe is one TCP connection, what its kind asks over it, and one outcome. It has a connection of
//! its own, because an old one says nothing about the accept queue and a resumed TLS session shows no
//! certificate. The steps of the kind `https` and what their failure means:
//!
//! ```text
//! socket, exempt ── connect ──────── TLS handshake ───────── GET, answer ──────────────► outcome
//!      Local         Silent           Hung                    Slow                         Ready
//!                    Refused, Reset,  TlsFailed, Reset,       Closed, Reset, TlsFailed     NotReady
//!                    Unreachable      Closed                                               Unauthorized
//! ```
//!
//! `tls` ends after the handshake and `tcp` after the connect. `http` and `grpc` without TLS go from the
//! connect to the question, and an answer that does not even begin is Hung: a kernel accepts for a process
//! that is frozen. `dns` sends a datagram and waits for the answer. Each kind has its own file; `attempt.rs` joins them.
//!
//! The client closes first, so that the waiting state of a closed connection stays on this node and
//! thousands of nodes do not fill the API server's table.

mod attempt;
mod certificate;
mod chain;
mod credentials;
mod dial;
mod dns;
mod examine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod get;
mod grpc;
mod http;
mod https;
mod outcome;
mod sentinel;
mod tcp_info;
mod tls;
mod verify;

pub use credentials::CredentialsError;
pub use sentinel::{OpenError, Opened, Sentinel};

use crate::health_check::HealthCheck;
use attempt::Attempt;
use credentials::{Keyring, Keys};
use dial::Seen;
use nllb_core::ProbeReport;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Probes the backends of one pool and opens sentinels to them. Cheap to clone; holds the credentials
/// in memory.
#[derive(Clone, Debug)]
pub struct Prober {
    rules: Arc<Rules>,
}

/// Which port of a backend's host a socket is to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The one that clients are sent to.
    Own,
    /// Another, whose handshakes say nothing of that one.
    Other,
}

/// What probes and sentinels of one pool follow.
#[derive(Debug)]
struct Rules {
    check: HealthCheck,
    keyring: Keyring,
}

impl Prober {
    /// A prober that follows `check`. Credentials are read at the first probe.
    #[must_use]
    pub fn new(check: HealthCheck) -> Self {
        let keyring = Keyring::new(check.credentials.clone());
        Self { rules: Arc::new(Rules { check, keyring }) }
    }

    /// The rules it follows.
    #[must_use]
    pub fn check(&self) -> &HealthCheck {
        &self.rules.check
    }

    /// Probes the backend at `address`. `exempt` gets each socket before it connects and makes the
    /// kernel programs leave it alone; when it fails the outcome is [`Outcome::Local`].
    /// A `connect_timeout` shortens what a connect may take of the whole.
    ///
    /// [`Outcome::Local`]: nllb_core::Outcome::Local
    pub async fn probe<F>(
        &self,
        address: SocketAddr,
        connect_timeout: Option<Duration>,
        exempt: F,
    ) -> ProbeReport
    where
        F: Fn(BorrowedFd<'_>, Port) -> io::Result<()>,
    {
        let started = Instant::now();
        let deadline = started + self.rules.check.timeout;
        let (rules, exempt) = (self.rules.as_ref(), &exempt);
        let attempt = Attempt { rules, address, connect_timeout, deadline, exempt };
        let mut seen = Seen::default();
        let outcome = attempt.outcome(&mut seen).await;
        ProbeReport {
            outcome,
            rtt: seen.rtt,
            latency: started.elapsed(),
            certificate: seen.certificate(),
            unix_time: unix_time(),
        }
    }
}

impl Rules {
    /// When a connect is silent: after half of the whole time, or earlier when that is known better.
    fn connect_by(&self, started: Instant, connect_timeout: Option<Duration>) -> Instant {
        let half = self.check.timeout / 2;
        started + connect_timeout.map_or(half, |limit| limit.min(half))
    }

    /// Whom requests are for.
    fn host(&self, address: SocketAddr) -> String {
        let name = self.check.credentials.server_name.as_deref();
        name.map_or_else(|| address.to_string(), |name| format!("{name}:{}", address.port()))
    }
}

/// Certificates are dated by the wall clock, for the driver too.
pub fn unix_time() -> i64 {
    unix_ms() / 1000
}

/// The same in milliseconds, as the journal has it.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
