//! When to probe a backend next.
//!
//! Four paces: the plain interval; the much shorter confirming one while outcomes speak for
//! another state, so that needing two in a row costs a tenth of a second and not a second; for an
//! unhealthy backend an exponential backoff; and for one that nobody can stand in for the interval, what
//! a probe took included, so that there is always a SYN on its way. Every wait is spread, see `jitter`.

use std::time::{Duration, Instant};

use crate::jitter::Jitter;
use crate::settings::HealthSettings;

/// Longest wait whatever the settings say; keeps sums of times far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How much wider than others the waits of a backoff are spread. All nodes lose a server in the same
/// moment, and few waits later it would meet all of them again when it returns.
const BACKOFF_SPREAD: f64 = 3.0;

/// Doublings after which the backoff surely reached its cap; a shift may not be arbitrarily large.
const MOST_DOUBLINGS: u32 = 16;

/// When to probe one backend next.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// When the next probe is due; `None` while one is under way.
    due: Option<Instant>,
    /// When the last early probe was, or will be, due.
    hurried: Option<Instant>,
    /// An early probe asked for while another was under way.
    wish: Option<Instant>,
    /// How often the backoff doubled.
    doublings: u32,
    jitter: Jitter,
}

/// How soon after a report the next probe follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The state is settled.
    Steady,
    /// Outcomes speak for another state.
    Confirm,
    /// The backend is unhealthy: ever more seldom.
    Backoff,
    /// The backend is unhealthy, and no other gets connections.
    Wanted,
}

impl Schedule {
    /// A schedule whose first probe is due at once.
    #[must_use]
    pub const fn new(seed: u32, now: Instant) -> Self {
        Self { due: Some(now), hurried: None, wish: None, doublings: 0, jitter: Jitter::new(seed) }
    }

    /// When the next probe is due; `None` while one is under way.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// When the early probe is due that was asked for while another is under way, should it not wait
    /// for that one's end.
    #[must_use]
    pub const fn wish(&self) -> Option<Instant> {
        self.wish
    }

    /// Whether the next probe is due early because something asked for it.
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.wish.is_some() || (self.due.is_some() && self.due == self.hurried)
    }

    /// Notes that the probe has started; until [`Self::finish`] no other is due.
    pub fn start(&mut self) {
        self.due = None;
        self.hurried = self.wish.take().or(self.hurried);
    }

    /// Makes the next probe due at `at` if it would come later.
    pub fn at_latest(&mut self, at: Instant) {
        self.due = self.due.map(|due| due.min(at));
    }

    /// Notes that the probe has ended, after `took`, and plans the next one. What a probe took counts
    /// as waited when the next one confirms it: a silent backend costs its timeout already.
    pub fn finish(&mut self, pace: Pace, settings: &HealthSettings, took: Duration, now: Instant) {
        let waited = match pace {
            Pace::Confirm | Pace::Wanted => took,
            Pace::Steady | Pace::Backoff => Duration::ZERO,
        };
        let wait = self.wait(pace, settings).saturating_sub(waited);
        let width = match pace {
            Pace::Steady | Pace::Confirm | Pace::Wanted => settings.jitter,
            Pace::Backoff => settings.jitter * BACKOFF_SPREAD,
        };
        let due = now + self.jitter.around(wait.min(LONGEST), width);
        self.due = Some(due);
        if let Some(wish) = self.wish.take() {
            self.advance(due, wish.max(now));
        }
    }

    /// Makes the next probe due at once, but not within `confirm_interval` of the last early one: so
    /// whoever can provoke hints cannot provoke a flood of probes.
    pub fn hurry(&mut self, settings: &HealthSettings, now: Instant) {
        let earliest =
            self.hurried.map_or(now, |last| now.max(last + settings.confirm_interval.min(LONGEST)));
        match self.due {
            Some(due) => self.advance(due, earliest),
            None => self.wish = Some(earliest),
        }
    }

    /// Some part of `spread`, so that not all nodes do the same in the same moment.
    pub(crate) fn draw(&mut self, spread: Duration) -> Duration {
        self.jitter.within(spread)
    }

    /// Forgets that the backend was away for long.
    pub const fn reset_backoff(&mut self) {
        self.doublings = 0;
    }

    fn advance(&mut self, due: Instant, early: Instant) {
        if early < due {
            self.due = Some(early);
            self.hurried = Some(early);
        }
    }

    fn wait(&mut self, pace: Pace, settings: &HealthSettings) -> Duration {
        let doublings = match pace {
            Pace::Steady | Pace::Confirm | Pace::Wanted => 0,
            Pace::Backoff => self.doublings,
        };
        self.doublings = match pace {
            Pace::Steady | Pace::Confirm | Pace::Wanted => 0,
            Pace::Backoff => (doublings + 1).min(MOST_DOUBLINGS),
        };
        match pace {
            Pace::Steady | Pace::Wanted => settings.interval,
            Pace::Confirm => settings.confirm_interval.min(settings.interval),
            Pace::Backoff => settings
                .interval
                .saturating_mul(1 << doublings)
                .min(settings.max_backoff.max(settings.interval)),
        }
    }
}

#[cfg(test)]
mod tests;
