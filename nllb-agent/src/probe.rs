//! Active checks of the backends: probes, each on a fresh connection, and sentinels.
//!
//! A probe is one TCP connection, one TLS handshake, one GET and one outcome. It has a connection of
//! its own, because an old one says nothing about the accept queue and a resumed TLS session shows no
//! certificate. The steps and what their failure means:
//!
//! ```text
//! socket, exempt ── connect ──────── TLS handshake ───────── GET, answer ──────────────► outcome
//!      Local         Silent           Hung                    Slow                         Ready
//!                    Refused, Reset,  TlsFailed, Reset,       Closed, Reset, TlsFailed     NotReady
//!                    Unreachable      Closed                                               Unauthorized
//! ```
//!
//! The client closes first, so that the waiting state of a closed connection stays on this node and
//! thousands of nodes do not fill the API server's table.

mod certificate;
mod chain;
mod credentials;
mod dial;
mod http;
mod outcome;
mod sentinel;
mod verify;

pub use credentials::CredentialsError;
pub use sentinel::{OpenError, Opened, Sentinel};

use crate::health_check::HealthCheck;
use credentials::{Keyring, Keys};
use dial::Seen;
use nllb_core::{Outcome, ProbeReport};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::timeout_at;

/// Probes the backends of one pool and opens sentinels to them. Cheap to clone; holds the credentials
/// in memory.
#[derive(Clone, Debug)]
pub struct Prober {
    rules: Arc<Rules>,
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

    /// Probes the backend at `address`. `exempt` gets the socket before it connects and makes the
    /// kernel programs leave it alone; when it fails the outcome is [`Outcome::Local`].
    /// A `connect_timeout` shortens what the connect may take of the whole.
    pub async fn probe<F>(
        &self,
        address: SocketAddr,
        connect_timeout: Option<Duration>,
        exempt: F,
    ) -> ProbeReport
    where
        F: FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    {
        let started = Instant::now();
        let mut seen = Seen::default();
        let steps = self.steps(started, address, connect_timeout, exempt, &mut seen);
        let outcome = steps.await.unwrap_or_else(|failure| failure);
        ProbeReport {
            outcome,
            rtt: seen.rtt,
            latency: started.elapsed(),
            certificate: seen.certificate(),
            unix_time: unix_time(),
        }
    }

    /// The steps up to the answer; an error is the outcome of the step that failed.
    async fn steps<F>(
        &self,
        started: Instant,
        address: SocketAddr,
        connect_timeout: Option<Duration>,
        exempt: F,
        seen: &mut Seen,
    ) -> Result<Outcome, Outcome>
    where
        F: FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    {
        let HealthCheck { path, timeout, credentials } = &self.rules.check;
        let keys = self.rules.keyring.current().map_err(|error| outcome::local(&error))?;
        let Keys { tls, token, .. } = keys.as_ref();
        let name = dial::server_name(credentials.server_name.as_deref(), address)?;

        let connect_by = self.rules.connect_by(started, connect_timeout);
        let stream = dial::tcp(address, connect_by, exempt, seen).await?;
        let deadline = started + *timeout;
        let stream = dial::tls(stream, tls, &[b"http/1.1"], name, deadline, seen).await?;

        let host = self.rules.host(address);
        match timeout_at(deadline.into(), http::get(stream, &host, path, token.as_ref())).await {
            Err(_elapsed) => Err(Outcome::Slow),
            Ok(answer) => answer
                .map(|status| keys.judge(status, address))
                .map_err(|error| outcome::of_http(error.as_ref())),
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
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
