//! The sentinel: one long-lived HTTP/2 connection to a backend, whose end is news at once.
//!
//! It judges nothing. It opens when told, pings when told, asks when told, and tells apart how it
//! ends: the server closed it (FIN), reset it, said goodbye first (GOAWAY), or TCP gave up. A backend
//! that crashes, drains or freezes shows one of these, or an unanswered ping, long before the next
//! probe would.
//!
//! h2 and not hyper's client, which hides pings and GOAWAY frames. One task per sentinel drives the
//! connection (`task.rs`), so that a pong is timed when it is read and not when the driver has time;
//! requests need no task of their own. Dropping the handle ends the task, which closes the connection.

mod exchange;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;
mod goodbye;
mod link;
mod observed;
mod questions;
mod task;
mod tcp;

use super::dial::{self, Seen};
use super::{Prober, Rules, outcome, unix_time};
use crate::health_check::{Get, HealthCheck, Kind};
use exchange::Exchange;
use h2::client::SendRequest;
use hyper::Uri;
use hyper::body::Bytes;
use link::Link;
use nllb_core::{Answer, CertificateFacts, Outcome, ProbeReport, Question, SentinelFact, TcpState};
use observed::Observed;
use socket2::SockRef;
use std::future::{self, Future};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use task::Task;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

/// How long TCP tries before it gives up. Far more than any blip that connections should survive; the
/// kernel's own limit of a quarter of an hour would keep a dead sentinel from being replaced.
const GIVE_UP: Duration = Duration::from_secs(10);
/// HTTP/2 is all we want, but a server that is offered nothing it knows ends the handshake.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A sentinel that is open, or has ended and not been dropped yet. Dropping it closes the connection.
#[derive(Debug)]
pub struct Sentinel {
    rules: Arc<Rules>,
    tls: Arc<super::credentials::Tls>,
    address: SocketAddr,
    link: Arc<Link>,
    requests: SendRequest<Bytes>,
    /// What a probe asks for.
    target: Uri,
    /// The connection's socket once more, to ask the kernel about.
    socket: OwnedFd,
    // Unbounded, but never more than a pong, which only `ping` brings about, and an end.
    facts: UnboundedReceiver<SentinelFact>,
    task: AbortHandle,
}

/// What opening a sentinel told.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Round-trip time of the TCP handshake.
    pub rtt: Duration,
    /// The certificate the backend showed.
    pub certificate: Option<Arc<CertificateFacts>>,
    /// When, in unix seconds of the wall clock.
    pub unix_time: i64,
}

/// Why there is no sentinel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A step on the way failed, as it may for a probe.
    #[error("{0}")]
    Failed(Outcome),
    /// The backend is there, but does not speak HTTP/2.
    #[error("the backend does not speak HTTP/2")]
    NoHttp2,
}

impl From<Outcome> for OpenError {
    fn from(outcome: Outcome) -> Self {
        Self::Failed(outcome)
    }
}

impl Prober {
    /// Opens a sentinel to the backend at `address`; it is open when a first ping was answered.
    /// `connect_timeout` and `exempt` are as for [`Prober::probe`].
    ///
    /// # Errors
    ///
    /// As a probe's outcome: [`Outcome::Slow`] when TLS is up but the first ping is not answered
    /// within the time of a probe.
    pub async fn open<F>(
        &self,
        address: SocketAddr,
        connect_timeout: Option<Duration>,
        exempt: F,
    ) -> Result<(Sentinel, Opened), OpenError>
    where
        F: FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    {
        let started = Instant::now();
        let HealthCheck { kind, timeout, credentials, .. } = &self.rules.check;
        // Nobody asks for one of another kind.
        let Kind::Https(Get { path, .. }) = kind else { return Err(OpenError::NoHttp2) };
        let keys = self.rules.keyring.current().map_err(|error| outcome::local(&error))?;
        let name = dial::server_name(credentials.server_name.as_deref(), address)?;
        let host = self.rules.host(address);
        let target = Uri::builder().scheme("https").authority(host).path_and_query(path.as_str());
        let target = target.build().map_err(|error| outcome::local(&error))?;

        let mut seen = Seen::default();
        let connect_by = self.rules.connect_by(started, connect_timeout);
        let stream = dial::tcp(address, connect_by, exempt, &mut seen).await?;
        let socket = prepare(&stream).map_err(|error| outcome::local(&error))?;
        let link = Arc::new(Link::default());
        let stream = Observed::new(stream, Arc::clone(&link));
        let until = started + *timeout;
        let stream = dial::tls(stream, &keys.tls, &PROTOCOLS, name, until, &mut seen)
            .await
            .map_err(|outcome| link.rather(outcome))?;
        if stream.get_ref().1.alpn_protocol() != Some(PROTOCOLS[0]) {
            return Err(OpenError::NoHttp2);
        }

        let (sender, mut facts) = unbounded_channel();
        let greeting = Task::greet(stream, Arc::clone(&link), sender, &mut facts);
        let (task, requests) =
            timeout_at(until.into(), greeting).await.unwrap_or(Err(Outcome::Slow))?;
        let opened = Opened {
            rtt: seen.rtt.unwrap_or_default(),
            certificate: seen.certificate(),
            unix_time: unix_time(),
        };
        let sentinel = Sentinel {
            rules: Arc::clone(&self.rules),
            tls: Arc::clone(&keys.tls),
            address,
            link,
            requests,
            target,
            socket,
            facts,
            task: tokio::spawn(task).abort_handle(),
        };
        Ok((sentinel, opened))
    }
}

impl Sentinel {
    /// Sends a ping, answered by [`SentinelFact::Pong`] or by an end. Does nothing while one is
    /// unanswered, or after the end.
    pub fn ping(&self) {
        self.link.want_ping();
    }

    /// Whether the backend's kernel has acknowledged all that was sent. It may take its time with
    /// that, 40 to 200 ms, when it has nothing to send back.
    #[must_use]
    pub fn tcp(&self) -> TcpState {
        tcp::state(&self.socket)
    }

    /// Whether a sentinel that `prober` opened now would be the same: by the same rules, and by the
    /// same certificates in the files, as a probe found them last. A new token needs no new connection.
    #[must_use]
    pub fn is_current(&self, prober: &Prober) -> bool {
        let same = |keys: Arc<super::Keys>| keys.tls.is_like(&self.tls);
        let seen_by = |rules: &Rules| rules.keyring.last().is_none_or(same);
        self.rules.check == prober.rules.check && seen_by(&self.rules) && seen_by(&prober.rules)
    }

    /// Asks what a probe asks, without a connection of its own. When the sentinel ended before it was
    /// asked, or is dropped meanwhile, the outcome is [`Outcome::Local`].
    pub fn probe(&self) -> impl Future<Output = ProbeReport> + Send + use<> {
        let rules = Arc::clone(&self.rules);
        let exchange = Exchange::new(self.requests.clone(), Arc::clone(&self.link));
        let (target, address) = (self.target.clone(), self.address);
        async move {
            let started = Instant::now();
            let until = started + rules.check.timeout;
            let outcome = match rules.keyring.current() {
                Err(error) => outcome::local(&error),
                Ok(keys) => match exchange.status(target, keys.token.as_ref(), until).await {
                    Ok(status) => {
                        let accepted = rules.check.kind.accepts(status);
                        keys.judge(outcome::of_status(status, keys.known(), accepted), address)
                    }
                    Err(failure) => failure,
                },
            };
            ProbeReport {
                outcome,
                rtt: None,
                latency: started.elapsed(),
                certificate: None,
                unix_time: unix_time(),
            }
        }
    }

    /// Asks a question; `None` when there is no answer, or none that makes sense. What needs credentials is not asked
    /// without, nor about a node whose name cannot be one, and nothing of what is no API server.
    pub fn ask(
        &self,
        question: Question,
        node_name: &str,
    ) -> impl Future<Output = Option<Answer>> + Send + use<> {
        let rules = Arc::clone(&self.rules);
        let exchange = Exchange::new(self.requests.clone(), Arc::clone(&self.link));
        let target = questions::target(question, &self.target, node_name);
        async move {
            let until = Instant::now() + rules.check.timeout;
            let keys = rules.keyring.current().ok()?;
            let allowed = rules.check.is_api && (keys.known() || question == Question::Version);
            let target = target.filter(|_| allowed)?;
            let body = exchange.body(target, keys.token.as_ref(), until).await?;
            questions::answer(question, &body)
        }
    }

    /// The next fact: [`SentinelFact::Pong`], or one of the ends, of which there is exactly one and
    /// after which nothing comes. Safe to cancel.
    pub async fn next(&mut self) -> SentinelFact {
        future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Sentinel::next`], for who watches many.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<SentinelFact> {
        match self.facts.poll_recv(cx) {
            Poll::Ready(Some(fact)) => Poll::Ready(fact),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.link.abandon();
        self.task.abort();
    }
}

/// Makes TCP fit for a connection that carries little and is to tell soon: while only a packet or two
/// are under way, retransmissions do not back off at first, so that a blip is over when it is over.
fn prepare(stream: &TcpStream) -> io::Result<OwnedFd> {
    let socket = SockRef::from(stream);
    socket.set_tcp_thin_linear_timeouts(true)?;
    socket.set_tcp_user_timeout(Some(GIVE_UP))?;
    stream.as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests;
