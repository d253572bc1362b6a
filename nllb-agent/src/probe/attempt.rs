//! One probe: the question of its kind, and what two ports of a host say together.

use super::credentials::Keys;
use super::dial::{self, Seen};
use super::{Port, Rules, dns, grpc, http, https, outcome, tls};
use crate::health_check::{Accept, Get, HealthCheck, HealthPort, Kind};
use nllb_core::Outcome;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A probe that is made.
pub(super) struct Attempt<'a> {
    pub(super) rules: &'a Rules,
    /// The backend.
    pub(super) address: SocketAddr,
    /// A limit of each connect below the rules' own.
    pub(super) connect_timeout: Option<Duration>,
    /// When the whole must have ended.
    pub(super) deadline: Instant,
    /// Makes the kernel programs leave a socket alone.
    pub(super) exempt: &'a dyn Fn(BorrowedFd<'_>, Port) -> io::Result<()>,
}

impl Attempt<'_> {
    /// What came of it.
    pub(super) async fn outcome(&self, seen: &mut Seen) -> Outcome {
        let outcome = self.ask(seen).await.unwrap_or_else(|failure| failure);
        let silent = matches!(outcome, Outcome::Silent | Outcome::Unreachable);
        if silent && self.target() != self.address {
            self.behind_a_filter(outcome).await
        } else if outcome.is_success() {
            self.objection().await.unwrap_or(outcome)
        } else {
            outcome
        }
    }

    /// An error is the outcome of the step that failed.
    async fn ask(&self, seen: &mut Seen) -> Result<Outcome, Outcome> {
        match &self.rules.check.kind {
            Kind::Https(get) => https::ask(self, get, seen).await,
            Kind::Http(get) => http::ask(self, self.target(), get, seen).await,
            Kind::Tcp => self.dial(self.target(), seen).await.map(|_stream| Outcome::Ready),
            Kind::Tls => tls::ask(self, seen).await,
            Kind::Grpc { service, tls } => {
                // It is the largest of all, and the others would be as large.
                Box::pin(grpc::ask(self, service, *tls, seen)).await
            }
            Kind::Dns(dns) => Box::pin(dns::ask(self, dns, seen)).await,
        }
    }

    /// Another port that is silent is no dead host as long as the backend's own port accepts: perhaps
    /// somebody filters it. Then nobody is there who could say that the backend is well, and no more.
    async fn behind_a_filter(&self, outcome: Outcome) -> Outcome {
        match self.dial(self.address, &mut Seen::default()).await {
            Ok(_stream) => Outcome::Hung,
            Err(_) => outcome,
        }
    }

    /// What the health port has against a backend that looks well.
    async fn objection(&self) -> Option<Outcome> {
        let HealthPort { port, path } = self.rules.check.health_port.as_ref()?;
        let get = Get { path: path.clone(), accept: Accept::default() };
        let target = SocketAddr::new(self.address.ip(), *port);
        let answer = http::ask(self, target, &get, &mut Seen::default()).await;
        answer.ok().filter(|outcome| matches!(outcome, Outcome::NotReady { .. }))
    }

    /// Where the question of its kind goes.
    pub(super) fn target(&self) -> SocketAddr {
        self.rules.check.target(self.address)
    }

    /// Connects to a port of the backend's host.
    pub(super) async fn dial(
        &self,
        target: SocketAddr,
        seen: &mut Seen,
    ) -> Result<TcpStream, Outcome> {
        let port = if target == self.address { Port::Own } else { Port::Other };
        let until = self.rules.connect_by(Instant::now(), self.connect_timeout);
        let exempt = |socket: BorrowedFd<'_>| (self.exempt)(socket, port);
        dial::tcp(target, until.min(self.deadline), exempt, seen).await
    }

    /// Connects and agrees on TLS, with the credentials as they are now.
    pub(super) async fn dial_tls(
        &self,
        protocols: &[&[u8]],
        seen: &mut Seen,
    ) -> Result<(TlsStream<TcpStream>, Arc<Keys>), Outcome> {
        let Rules { check: HealthCheck { credentials, .. }, keyring } = self.rules;
        let keys = keyring.current().map_err(|error| outcome::local(&error))?;
        let name = dial::server_name(credentials.server_name.as_deref(), self.address)?;
        let stream = self.dial(self.target(), seen).await?;
        let stream = dial::tls(stream, &keys.tls, protocols, name, self.deadline, seen).await?;
        Ok((stream, keys))
    }
}
