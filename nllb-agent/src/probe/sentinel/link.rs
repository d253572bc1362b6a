//! What the handle of a sentinel and its task know together.

use nllb_core::{Outcome, SentinelFact};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Between a handle and its task.
#[derive(Debug, Default)]
pub(super) struct Link {
    pinger: Mutex<Pinger>,
    /// How the connection ended, by the first that noticed.
    cause: OnceLock<Outcome>,
    goodbye: AtomicBool,
    ended: AtomicBool,
    abandoned: AtomicBool,
}

#[derive(Debug, Default)]
struct Pinger {
    ping: Ping,
    task: Option<Waker>,
}

#[derive(Debug, Default)]
enum Ping {
    #[default]
    None,
    Wanted,
    Sent(Instant),
}

impl Link {
    /// A ping, unless there is one.
    pub(super) fn want_ping(&self) {
        let mut pinger = self.pinger();
        if matches!(pinger.ping, Ping::None) {
            pinger.ping = Ping::Wanted;
            if let Some(task) = pinger.task.take() {
                task.wake();
            }
        }
    }

    /// Whether a ping is to be sent now; its time begins. Wakes the task when one is wanted later.
    pub(super) fn take_ping(&self, cx: &Context<'_>) -> bool {
        let mut pinger = self.pinger();
        let wanted = matches!(pinger.ping, Ping::Wanted);
        if wanted {
            pinger.ping = Ping::Sent(Instant::now());
        }
        pinger.task = Some(cx.waker().clone());
        wanted
    }

    /// The ping was answered; how long it took.
    pub(super) fn take_pong(&self) -> Option<Duration> {
        let mut pinger = self.pinger();
        let Ping::Sent(at) = pinger.ping else { return None };
        pinger.ping = Ping::None;
        Some(at.elapsed())
    }

    /// Remembers how the connection ended; the first word counts.
    pub(super) fn note(&self, cause: Outcome) {
        let _known = self.cause.set(cause);
    }

    /// The server wants no more requests.
    pub(super) fn say_goodbye(&self) {
        self.goodbye.store(true, Ordering::Relaxed);
    }

    /// Whether the server said so.
    pub(super) fn said_goodbye(&self) -> bool {
        self.goodbye.load(Ordering::Relaxed)
    }

    /// Requests that were not sent yet are too late.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Nobody wants to know any more.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Why there is no use in asking, if so.
    pub(super) fn over(&self) -> Option<Outcome> {
        let local = |reason: &str| Some(Outcome::Local { reason: reason.to_owned() });
        if self.abandoned.load(Ordering::Relaxed) {
            local("the sentinel was closed")
        } else if self.ended.load(Ordering::Relaxed) {
            local("the sentinel had ended")
        } else {
            None
        }
    }

    /// What a request that was cut short came to.
    pub(super) fn cut(&self) -> Outcome {
        if self.abandoned.load(Ordering::Relaxed) {
            return Outcome::Local { reason: "the sentinel was closed".to_owned() };
        }
        self.cause.get().cloned().unwrap_or(Outcome::Closed)
    }

    /// `outcome`, or what lies behind it: streams only show that they ended.
    pub(super) fn rather(&self, outcome: Outcome) -> Outcome {
        if outcome == Outcome::Closed { self.cut() } else { outcome }
    }

    /// The end as a fact.
    pub(super) fn fact(&self) -> SentinelFact {
        match self.cause.get() {
            None | Some(Outcome::Closed | Outcome::TlsFailed { .. }) => SentinelFact::Closed,
            Some(Outcome::Reset) => SentinelFact::Reset,
            // Whatever else TCP says, it gave up.
            Some(_) => SentinelFact::Lost,
        }
    }

    fn pinger(&self) -> MutexGuard<'_, Pinger> {
        self.pinger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
