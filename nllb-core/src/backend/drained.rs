//! Draining, by an operator or by its own word, and what comes of it when it takes too long. And drills.

use std::time::{Duration, Instant};

use nllb_common::maps::State;

use crate::backend::Backend;
use crate::drain::{Drill, DrillEnd};
use crate::settings::HealthSettings;

/// An operator's drain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    pub(crate) since: Instant,
    pub(crate) close_after: Option<Duration>,
}

/// A drill that is under way. It is never remembered: it must not outlive who watches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drilled {
    pub(crate) how: Drill,
    pub(crate) since: Instant,
    pub(crate) until: Instant,
}

impl Backend {
    /// Why its drill must end now; `alone` says whether nobody else of its pool is eligible.
    pub(crate) fn drill_end(&self, alone: bool, now: Instant) -> Option<DrillEnd> {
        let drilled = self.drilled?;
        let over = (drilled.until <= now).then_some(DrillEnd::LeaseOver);
        over.or_else(|| alone.then_some(DrillEnd::NobodyElse))
    }

    /// Whether it is kept out of service, however well it answers.
    pub(crate) const fn is_drained(&self) -> bool {
        self.drained.is_some() || self.drilled.is_some() || self.leaving
    }

    /// When its established connections are to be closed, and how long after the drain that is.
    pub(crate) fn close_at(&self, settings: &HealthSettings) -> Option<(Instant, Duration)> {
        if self.drain_done {
            return None;
        }
        let by_operator = self.drained.and_then(|drained| {
            let after = drained.close_after?;
            Some((drained.since.checked_add(after)?, after))
        });
        let by_settings = settings.drain_close_after.filter(|_| self.state() == State::Draining);
        let by_settings =
            by_settings.and_then(|after| Some((self.since.checked_add(after)?, after)));
        by_operator.into_iter().chain(by_settings).min()
    }

    /// Forgets that connections were closed, once it no longer drains.
    pub(crate) fn forget_drain(&mut self) {
        if self.drained.is_none() && self.state() != State::Draining {
            self.drain_done = false;
        }
    }
}
