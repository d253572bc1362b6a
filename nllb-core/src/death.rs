//! Whether a backend's established connections may be closed: is it dead, and is it not we who are?
//!
//! Closing what works is worse than waiting for what does not, so death needs more than a state:
//! - silence, three times in a row and for half a second at least. A listener that refuses is no death:
//!   an API server that ends keeps its watches for a minute;
//! - each time a *witness*: another backend of the same pool answered while this one did not. When all
//!   are silent at once, it is us or our network, and nothing is closed. A backend on this very host is
//!   no witness, because it answers with the cable unplugged;
//! - no moment in between in which nobody of the pool was heard;
//! - no answer by the backend itself, over any connection, not even to a connect: a kernel that accepts
//!   is a host that lives. Only who was found frozen over its sentinel stays dead then.
//!
//! At the edges of a failure of our own network one backend can be asked before it and another can
//! answer after it. So a witness must have been asked after the first silence, and that first one alone
//! may have been seen by anybody: across an edge that makes at most two.

use std::time::{Duration, Instant};

use crate::report::Outcome;

/// Witnessed silences in a row that are a death.
const ENOUGH: u32 = 3;
/// And the least time from the start of the first to the end of the last.
const SPAN: Duration = Duration::from_millis(500);
/// After silences that nobody witnessed it is as long as those were, because who returns after a failure
/// of the whole network does not return in the same moment as the others. But at most this: one that
/// stays away is dead in the end.
const LONGEST_SPAN: Duration = Duration::from_secs(5);

/// A moment in which a backend answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// When it was asked.
    pub(crate) asked: Instant,
    /// When the answer came.
    pub(crate) at: Instant,
}

/// How near a backend is to being called dead.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Death {
    /// Witnessed silences in a row.
    silences: u32,
    /// When the first of them began.
    first: Option<Instant>,
    /// From when to when it was silent before that, as far as nobody witnessed it.
    unwitnessed: Option<(Instant, Instant)>,
    /// Whether they are a death.
    silent: bool,
    /// Whether it was found frozen.
    frozen: bool,
}

/// What a probe that failed says of death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// Nobody there.
    Silence,
    /// A kernel that accepts, and nobody behind it as far as this shows.
    Accepts,
    /// Somebody is there.
    Life,
    /// Nothing.
    Nothing,
}

impl Sign {
    const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Silent | Outcome::Unanswered | Outcome::Unreachable => Self::Silence,
            Outcome::Hung | Outcome::Unresponsive => Self::Accepts,
            Outcome::Ready
            | Outcome::NotReady { .. }
            | Outcome::NotServing { .. }
            | Outcome::Unauthorized
            | Outcome::CredentialsRefused
            | Outcome::Refused
            | Outcome::Reset
            | Outcome::TlsFailed { .. }
            | Outcome::Slow
            | Outcome::Closed => Self::Life,
            Outcome::Local { .. } => Self::Nothing,
        }
    }
}

impl Death {
    /// Whether silences were counted that are not yet enough: worth looking closely.
    pub(crate) const fn is_near(&self) -> bool {
        self.silences > 0 && !self.is_confirmed()
    }

    /// Whether it counts as dead.
    pub(crate) const fn is_confirmed(&self) -> bool {
        self.silent || self.frozen
    }

    /// Since when a witness must have been asked; `None` when anybody who answers will do.
    pub(crate) const fn first(&self) -> Option<Instant> {
        self.first
    }

    /// Whether an outcome fits a backend of which only the kernel is alive.
    pub(crate) const fn agrees(outcome: &Outcome) -> bool {
        matches!(Sign::of(outcome), Sign::Silence | Sign::Accepts)
    }

    /// Takes the outcome of a probe over a connection of its own that began at `start`. `out` says
    /// whether the backend is out of service. True when its connections are to be closed.
    pub(crate) fn probed(
        &mut self,
        outcome: &Outcome,
        start: Instant,
        witnessed: bool,
        out: bool,
        now: Instant,
    ) -> bool {
        match Sign::of(outcome) {
            Sign::Nothing => false,
            Sign::Life => {
                self.disprove();
                false
            }
            Sign::Accepts if self.frozen && witnessed => out,
            Sign::Accepts => {
                self.disprove();
                false
            }
            Sign::Silence if !witnessed => {
                let before = self.unwitnessed.map(|(from, _)| from).or(self.first);
                self.disprove();
                self.unwitnessed = Some((before.unwrap_or(start), now));
                false
            }
            Sign::Silence => {
                self.silences = self.silences.saturating_add(1);
                let first = *self.first.get_or_insert(start);
                let long = now.saturating_duration_since(first) >= self.span();
                self.silent |= out && long && self.silences >= ENOUGH;
                self.is_confirmed() && out
            }
        }
    }

    /// How long the silences that make a death must last.
    fn span(&self) -> Duration {
        let before = self.unwitnessed.map(|(from, to)| to.saturating_duration_since(from));
        before.unwrap_or_default().clamp(SPAN, LONGEST_SPAN)
    }

    /// It was found frozen.
    pub(crate) const fn frozen(&mut self) {
        self.frozen = true;
    }

    /// It lives, or nobody can tell.
    pub(crate) const fn disprove(&mut self) {
        *self = Self { silences: 0, first: None, unwitnessed: None, silent: false, frozen: false };
    }
}

#[cfg(test)]
mod tests;
