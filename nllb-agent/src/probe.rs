//! One probe: a fresh TCP connection, a TLS handshake, one GET, one outcome.
//!
//! A connection of its own each time, because an old one says nothing about the accept queue and a
//! resumed TLS session shows no certificate. The steps and what their failure means:
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
mod credentials;
mod http;
mod outcome;
mod verify;

pub use credentials::CredentialsError;

use crate::health_check::HealthCheck;
use credentials::{Keyring, Keys};
use nllb_core::{Outcome, ProbeReport};
use rustls_pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use verify::Recorder;

/// Probes the backends of one pool. Cheap to share; holds the credentials in memory.
#[derive(Debug)]
pub struct Prober {
    check: HealthCheck,
    keyring: Keyring,
}

/// What a probe learned on its way, however it ended.
#[derive(Default)]
struct Seen {
    rtt: Option<Duration>,
    recorder: Option<Arc<Recorder>>,
}

impl Prober {
    /// A prober that follows `check`. Credentials are read at the first probe.
    #[must_use]
    pub fn new(check: HealthCheck) -> Self {
        let keyring = Keyring::new(check.credentials.clone());
        Self { check, keyring }
    }

    /// The rules it follows.
    #[must_use]
    pub const fn check(&self) -> &HealthCheck {
        &self.check
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
        let outcome = match self.steps(started, address, connect_timeout, exempt, &mut seen).await {
            Ok(status) => outcome::of_status(status),
            Err(outcome) => outcome,
        };
        let Seen { rtt, recorder } = seen;
        let shown = recorder.and_then(|recorder| recorder.certificate());
        ProbeReport {
            outcome,
            rtt,
            latency: started.elapsed(),
            certificate: shown.and_then(|der| certificate::facts(&der)).map(Arc::new),
            unix_time: unix_time(),
        }
    }

    /// The steps up to the status of the answer; an error is the outcome.
    async fn steps<F>(
        &self,
        started: Instant,
        address: SocketAddr,
        connect_timeout: Option<Duration>,
        exempt: F,
        seen: &mut Seen,
    ) -> Result<u16, Outcome>
    where
        F: FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    {
        let HealthCheck { path, timeout, credentials } = &self.check;
        let keys = self.keyring.current().map_err(|error| outcome::local(&error))?;
        let Keys { tls, verifier, token } = keys.as_ref();
        let name = server_name(credentials.server_name.as_deref(), address)?;

        let socket = open(address, exempt).map_err(|error| outcome::local(&error))?;
        let half = *timeout / 2;
        let connect_limit = connect_timeout.map_or(half, |limit| limit.min(half));
        let dialled = Instant::now();
        let connect = timeout_at((started + connect_limit).into(), socket.connect(address)).await;
        let stream = match connect {
            Err(_elapsed) => return Err(Outcome::Silent),
            Ok(connected) => connected.map_err(|error| outcome::of_connect(&error))?,
        };
        seen.rtt = Some(dialled.elapsed());

        let deadline = (started + *timeout).into();
        let recorder = Arc::new(Recorder::new(Arc::clone(verifier)));
        seen.recorder = Some(Arc::clone(&recorder));
        let mut tls = tls.clone();
        tls.dangerous().set_certificate_verifier(recorder);
        let handshake = TlsConnector::from(Arc::new(tls)).connect(name.clone(), stream);
        let stream = match timeout_at(deadline, handshake).await {
            Err(_elapsed) => return Err(Outcome::Hung),
            Ok(done) => done.map_err(|error| outcome::of_stream(&error))?,
        };

        let host = credentials
            .server_name
            .as_deref()
            .map_or_else(|| address.to_string(), |name| format!("{name}:{}", address.port()));
        match timeout_at(deadline, http::get(stream, &host, path, token.as_ref())).await {
            Err(_elapsed) => Err(Outcome::Slow),
            Ok(answer) => answer.map_err(|error| outcome::of_http(error.as_ref())),
        }
    }
}

/// The name that the certificate must carry.
fn server_name(given: Option<&str>, address: SocketAddr) -> Result<ServerName<'static>, Outcome> {
    match given {
        Some(name) => ServerName::try_from(name.to_owned()).map_err(|error| outcome::local(&error)),
        None => Ok(ServerName::from(address.ip())),
    }
}

/// A socket that the kernel programs leave alone.
fn open<F>(address: SocketAddr, exempt: F) -> io::Result<Dialer>
where
    F: FnOnce(BorrowedFd<'_>) -> io::Result<()>,
{
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    exempt(socket.as_fd())?;
    Ok(Dialer(StdStream::from(socket)))
}

/// A socket that has not dialled yet.
struct Dialer(StdStream);

impl Dialer {
    async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpSocket::from_std_stream(self.0).connect(address).await
    }
}

/// Certificates are dated by the wall clock.
fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
