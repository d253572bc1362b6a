//! For fuzz targets: a sentinel over any stream, from the end of the TLS handshake on.

use super::exchange::Exchange;
use super::link::Link;
use super::observed::Observed;
use super::questions;
use super::task::Task;
use h2::client::SendRequest;
use hyper::Uri;
use hyper::body::Bytes;
use nllb_core::{Answer, Outcome, Question, SentinelFact};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

/// A sentinel without TLS and without rules.
#[derive(Debug)]
pub struct Bare {
    link: Arc<Link>,
    requests: SendRequest<Bytes>,
    facts: UnboundedReceiver<SentinelFact>,
    task: AbortHandle,
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.link.abandon();
        self.task.abort();
    }
}

impl Bare {
    /// Opens it: settings, and a ping that is answered.
    ///
    /// # Errors
    /// As [`super::Prober::open`], from the same step on.
    pub async fn open<S>(stream: S, until: Instant) -> Result<Self, Outcome>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let link = Arc::new(Link::default());
        let stream = Observed::new(stream, Arc::clone(&link));
        let (sender, mut facts) = unbounded_channel();
        let greeting = Task::greet(stream, Arc::clone(&link), sender, &mut facts);
        let (task, requests) =
            timeout_at(until.into(), greeting).await.unwrap_or(Err(Outcome::Slow))?;
        Ok(Self { link, requests, facts, task: tokio::spawn(task).abort_handle() })
    }

    /// Sends a ping, unless one is unanswered.
    pub fn ping(&self) {
        self.link.want_ping();
    }

    /// Asks for readiness: the status, or what came instead.
    ///
    /// # Errors
    /// The outcome of a probe that got no whole answer.
    pub async fn status(&self, until: Instant) -> Result<u16, Outcome> {
        self.exchange().status(target(), None, until).await
    }

    /// The body of a successful answer.
    pub async fn body(&self, until: Instant) -> Option<Vec<u8>> {
        self.exchange().body(target(), None, until).await
    }

    /// The next fact.
    pub async fn next(&mut self) -> Option<SentinelFact> {
        self.facts.recv().await
    }

    fn exchange(&self) -> Exchange {
        Exchange::new(self.requests.clone(), Arc::clone(&self.link))
    }
}

/// What a body says.
pub fn answer(question: Question, body: &[u8]) -> Option<Answer> {
    questions::answer(question, body)
}

fn target() -> Uri {
    Uri::from_static("https://10.0.0.11:6443/readyz")
}
