//! Whether the driver lives.
//!
//! The driver has one answer, the whole status document, and making it takes time that probes need.
//! Whoever asks for health, however often, costs one document in [`FRESH`] at most: an answer that
//! anybody got is a sign of life for that long. The price is that a driver which stops is reported
//! that much later.

use crate::serve::{self, STATUS_TIMEOUT};
use crate::status::{Status, StatusSource};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Sleep, sleep, timeout};

/// How long an answer is a sign of life: shorter than the period of any kubelet's probe that is not
/// in a hurry, so that such a probe sees the driver itself.
const FRESH: Duration = Duration::from_secs(2);

/// Asks the driver, and remembers that it answered.
#[derive(Debug)]
pub(super) struct Life {
    source: StatusSource,
    /// Runs until the last answer is too old. Held while `is_seen` asks, so that many ask once.
    fresh: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl Life {
    pub(super) fn new(source: StatusSource) -> Self {
        Self { source, fresh: Mutex::new(None) }
    }

    /// The status document; `None` when the driver does not answer.
    pub(super) async fn status(&self) -> Option<Status> {
        let status = serve::ask(&self.source).await?;
        // Who asks for health meanwhile notes the time itself.
        if let Ok(mut fresh) = self.fresh.try_lock() {
            *fresh = Some(Box::pin(sleep(FRESH)));
        }
        Some(status)
    }

    /// Whether the driver answered a moment ago or answers now.
    pub(super) async fn is_seen(&self) -> bool {
        timeout(STATUS_TIMEOUT, self.ask_unless_fresh()).await.unwrap_or(false)
    }

    async fn ask_unless_fresh(&self) -> bool {
        let mut fresh = self.fresh.lock().await;
        if let Some(running) = fresh.as_mut() {
            if poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx).is_pending())).await {
                return true;
            }
        }
        let answered = serve::ask(&self.source).await.is_some();
        *fresh = answered.then(|| Box::pin(sleep(FRESH)));
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{StatusRequest, example};
    use tokio::sync::mpsc;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_anybody_is_a_sign_of_life_for_a_while() {
        let (source, mut requests) = mpsc::channel::<StatusRequest>(1);
        let life = Life::new(source);
        let answer = async |requests: &mut mpsc::Receiver<StatusRequest>| {
            requests.recv().await.expect("a request").answer(example::status());
        };
        let (seen, again, ()) = tokio::join!(life.is_seen(), life.is_seen(), answer(&mut requests));
        assert!(seen && again, "one document for two");
        advance(FRESH / 2).await;
        let (status, ()) = tokio::join!(life.status(), answer(&mut requests));
        assert!(status.is_some());
        advance(FRESH / 2).await;
        assert!(life.is_seen().await, "the document that was asked for counts too");
        assert!(requests.is_empty());
        advance(FRESH).await;
        let (seen, ()) = tokio::join!(life.is_seen(), answer(&mut requests));
        assert!(seen, "asked anew");
        advance(FRESH).await;
        assert!(!life.is_seen().await, "nobody answers");
    }
}
