//! Pings over an open sentinel: when the next is due, when one is overdue, and what its silence means.
//!
//! An unanswered ping has one of three reasons, and TCP tells them apart:
//! - something we sent is not acknowledged: the host or the way to it. Only a doubt, because after a
//!   short failure of the network TCP may wait a second or more before it tries again, when a fresh
//!   connection would long get through;
//! - all is acknowledged, but nobody answers: the host is well and the process is not. Or the answer
//!   was lost when the network failed for a moment, and the server's TCP waits before it sends it
//!   again: at most as long as the failure lasted, so that much longer is waited after one;
//! - the answer is lost on this host: then probes are answered all the same.
//!
//! Silence is counted only as far as it was watched, and only beside another backend that answers
//! meanwhile. An agent that did not run for two seconds saw nothing in them, and when a control plane
//! that froze as a whole thaws one after another, the first has witnessed nothing of what was before.

use std::time::{Duration, Instant};

use crate::report::TcpState;

/// How long a ping must go unanswered at least before a process counts as frozen.
const FROZEN: Duration = Duration::from_secs(1);
/// And how many overdue periods: far away, or with losses, one second is not much.
const FROZEN_PERIODS: u32 = 8;
/// A sentinel whose ping was unanswered for so long is useless when probes are answered.
const USELESS: Duration = Duration::from_secs(10);
/// Acknowledged silence without a witness is forgotten after so many times what makes a frozen process.
/// Witnesses are asked all the time, and a far one, or one of a large cluster, has answered by then.
const PATIENCE: u32 = 3;
/// How often TCP is asked when the first answers have decided nothing.
const SLOW_LOOK: Duration = Duration::from_secs(1);

/// The pings over one sentinel.
#[derive(Clone, Debug)]
pub(crate) struct Ping {
    /// When the next is due while all is calm.
    next: Instant,
    /// Whether that is earlier than planned, because of a hint.
    hurried: bool,
    /// When the last was sent, or the sentinel opened.
    last: Instant,
    outstanding: Option<Outstanding>,
}

/// A ping without an answer.
#[derive(Clone, Debug)]
struct Outstanding {
    sent: Instant,
    /// After so long it is overdue, and so often TCP is asked.
    period: Duration,
    /// When to look next: first when it is overdue.
    look_at: Instant,
    /// Whether it is overdue.
    late: bool,
    /// The last look, or the sending.
    looked: Instant,
    /// How long the next look was to wait then.
    wait: Duration,
    /// How much time the last look covers.
    step: Duration,
    /// Whether TCP was asked and has not told yet.
    asked: bool,
    /// Up to when silence is counted, should TCP say that it is acknowledged; `None` while it does not.
    counted: Option<Instant>,
    /// Acknowledged silence since then, of which nobody was witness yet.
    unwitnessed: Duration,
    /// Acknowledged silence that was watched beside a witness.
    watched: Duration,
    /// Whether the backend was found frozen because of it.
    frozen: bool,
}

/// What the other backends of the pool did while a ping was unanswered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Others {
    /// The last moment in which nobody was heard.
    pub(crate) quiet: Option<Instant>,
    /// Whether one answered what it was asked since [`Ping::counted`].
    pub(crate) witnessed: bool,
}

/// What to do about an overdue ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing.
    Nothing,
    /// Ask TCP.
    Inspect,
    /// Give the sentinel up.
    GiveUp,
}

impl Ping {
    pub(crate) const fn new(opened: Instant, first: Instant) -> Self {
        Self { next: first, hurried: false, last: opened, outstanding: None }
    }

    /// When the next ping is due; in an alert one follows the last after so long.
    pub(crate) fn due(&self, alert: Option<Duration>) -> Option<Instant> {
        if self.outstanding.is_some() {
            return None;
        }
        Some(alert.map_or(self.next, |gap| self.next.min(self.last + gap)))
    }

    /// Makes the next ping due at once, but not within `gap` of the last.
    pub(crate) fn hurry(&mut self, gap: Duration, now: Instant) {
        let early = now.max(self.last + gap);
        if early < self.next {
            self.next = early;
            self.hurried = true;
        }
    }

    /// Lets the next ping wait until `next`: something else was answered over the sentinel, which tells as
    /// much.
    pub(crate) fn postpone(&mut self, next: Instant) {
        if !self.hurried {
            self.next = self.next.max(next);
        }
    }

    pub(crate) fn send(&mut self, now: Instant, period: Duration, next: Instant) {
        self.next = next;
        self.hurried = false;
        self.last = now;
        self.outstanding = Some(Outstanding {
            sent: now,
            period,
            look_at: now + period,
            late: false,
            looked: now,
            wait: period,
            step: Duration::ZERO,
            asked: false,
            counted: Some(now),
            unwitnessed: Duration::ZERO,
            watched: Duration::ZERO,
            frozen: false,
        });
    }

    /// Takes the answer and returns when the ping was sent; `None` when there is none to be answered.
    pub(crate) fn answer(&mut self) -> Option<Instant> {
        Some(self.outstanding.take()?.sent)
    }

    /// Whether the outstanding ping is overdue.
    pub(crate) fn is_late(&self) -> bool {
        self.outstanding.as_ref().is_some_and(|ping| ping.late)
    }

    /// Whether the backend was found frozen because of the outstanding ping.
    pub(crate) fn is_frozen(&self) -> bool {
        self.outstanding.as_ref().is_some_and(|ping| ping.frozen)
    }

    /// When to look at the outstanding ping.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        Some(self.outstanding.as_ref()?.look_at)
    }

    /// Up to when its silence is counted.
    pub(crate) fn counted(&self) -> Option<Instant> {
        self.outstanding.as_ref()?.counted
    }

    /// Looks at the outstanding ping. The first time it has become overdue, which is the first part of
    /// the result. `answered` is when a probe of the same backend was last answered.
    pub(crate) fn look(&mut self, answered: Option<Instant>, now: Instant) -> (bool, Look) {
        let Some(ping) = self.outstanding.as_mut().filter(|ping| ping.look_at <= now) else {
            return (false, Look::Nothing);
        };
        let first = !std::mem::replace(&mut ping.late, true);
        let age = now.saturating_duration_since(ping.sent);
        let answered_since = answered.is_some_and(|at| at > ping.sent);
        if answered_since && age >= USELESS.max(ping.limit()) {
            return (first, Look::GiveUp);
        }
        ping.step = now.saturating_duration_since(ping.looked).min(ping.wait * 2);
        ping.looked = now;
        // While silence is being counted each look counts, but not for ever.
        let patience = if ping.counted.is_some() { 10 } else { 2 };
        let decided = ping.frozen || age > ping.limit() * patience;
        ping.wait = if decided { ping.period.max(SLOW_LOOK) } else { ping.period };
        ping.look_at = now + ping.wait;
        ping.asked = true;
        (first, Look::Inspect)
    }

    /// Takes what TCP says. Returns since when the ping is unanswered when that is for long enough to
    /// call the process frozen.
    pub(crate) fn tcp(&mut self, state: TcpState, others: Others, now: Instant) -> Option<Instant> {
        let ping = self.outstanding.as_mut().filter(|ping| ping.asked)?;
        ping.asked = false;
        let quiet = others.quiet.filter(|at| *at >= ping.sent);
        let limit = ping.limit() + quiet.map_or(Duration::ZERO, |at| at.duration_since(ping.sent));
        if state == TcpState::Silent {
            ping.count_from(None);
            return None;
        }
        let Some(counted) = ping.counted.filter(|from| quiet.is_none_or(|at| at < *from)) else {
            ping.count_from(Some(now));
            return None;
        };
        ping.unwitnessed += ping.step;
        if others.witnessed {
            // One answer is not witness of everything before it.
            let most = ping.step.max(ping.limit() / 4);
            ping.watched += std::mem::take(&mut ping.unwitnessed).min(most);
            ping.counted = Some(now.max(counted));
        } else if ping.unwitnessed >= ping.limit() * PATIENCE {
            ping.count_from(Some(now));
        }
        (ping.watched >= limit && !ping.frozen).then_some(ping.sent)
    }

    /// Notes that the backend was found frozen.
    pub(crate) const fn set_frozen(&mut self) {
        if let Some(ping) = &mut self.outstanding {
            ping.frozen = true;
        }
    }
}

impl Outstanding {
    /// Starts to count silence anew.
    const fn count_from(&mut self, from: Option<Instant>) {
        self.counted = from;
        self.unwitnessed = Duration::ZERO;
        self.watched = Duration::ZERO;
    }

    /// Acknowledged silence that is enough.
    fn limit(&self) -> Duration {
        FROZEN.max(self.period * FROZEN_PERIODS)
    }
}

#[cfg(test)]
mod tests;
