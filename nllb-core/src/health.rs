//! From outcomes to a state.
//!
//! Counting outcomes in a row, and not a score over a window: an operator can predict it, one lost
//! packet changes nothing, and with early confirming probes (see [`crate::schedule`]) two in a row
//! take no longer than one.

use nllb_common::maps::State;

use crate::report::Outcome;
use crate::settings::HealthSettings;

/// The state of one backend, and what speaks for another one.
///
/// ```text
///               ready: at once                       limited: at once
///            ┌───────────────────── unknown ──────────────────────┐
///            │           not ready: │   │ dead: at once           │
///            │            at once   │   │                         │
///            ▼      rise × limited  │   │                         ▼
///         healthy ◄─────────────────┼───┼───────────────────► degraded
///            ▲ │    rise × ready    │   │                       │ ▲
///   rise ×   │ │ fall × any failure │   │    fall × any failure │ │ rise ×
///   success  │ ▼                    ▼   ▼                       ▼ │ success
///         draining ◄──────────────────────────────────────► unhealthy
///                     fall × the other level of failure
/// ```
///
/// From a state that gets connections any failure counts, and likewise any success from one that
/// gets none; the newest outcome says where the way leads. An outcome that fits the state, or one
/// that points the other way, starts the count anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    state: State,
    run: Option<Run>,
}

/// Which way a run of outcomes points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards getting connections.
    Up,
    /// Away from it.
    Down,
}

/// Outcomes in a row that ask for another state, but are still too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Which way.
    pub direction: Direction,
    /// How many, at least 1.
    pub count: u32,
}

impl Run {
    /// How many it takes.
    #[must_use]
    pub const fn needed(&self, settings: &HealthSettings) -> u32 {
        match self.direction {
            Direction::Up => settings.rise,
            Direction::Down => settings.fall,
        }
    }
}

impl Health {
    /// Starts in `state`.
    #[must_use]
    pub const fn new(state: State) -> Self {
        Self { state, run: None }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What speaks for another state; a settled one has none.
    #[must_use]
    pub const fn run(&self) -> Option<Run> {
        self.run
    }

    /// Takes an outcome and returns the state that was left, if one was. What is not `admitted` stays
    /// out, however often it succeeds.
    pub fn observe(
        &mut self,
        outcome: &Outcome,
        settings: &HealthSettings,
        admitted: bool,
    ) -> Option<State> {
        let (to, direction) = match rule(self.state, Finding::of(outcome)) {
            Rule::Ignore => return None,
            Rule::Settle => {
                self.run = None;
                return None;
            }
            Rule::AtOnce(to) => return Some(self.enter(to)),
            Rule::Count(to, direction) => (to, direction),
        };
        let before = self.run.filter(|run| run.direction == direction).map_or(0, |run| run.count);
        let run = Run { direction, count: before.saturating_add(1) };
        if run.count >= run.needed(settings) && (admitted || !self.is_let_in_by(to)) {
            return Some(self.enter(to));
        }
        self.run = Some(run);
        None
    }

    /// It is dead, however it looked: enters unhealthy, and returns the state that was left.
    pub const fn condemn(&mut self) -> Option<State> {
        match self.state {
            State::Unhealthy => None,
            State::Unknown | State::Healthy | State::Degraded | State::Draining => {
                Some(self.enter(State::Unhealthy))
            }
        }
    }

    /// Whether `to` gets connections and the state does not.
    const fn is_let_in_by(&self, to: State) -> bool {
        self.state.is_out() && to.is_eligible()
    }

    /// Enters `to` and returns the state that was left.
    const fn enter(&mut self, to: State) -> State {
        let from = self.state;
        *self = Self::new(to);
        from
    }
}

/// What an outcome says of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// Ready for connections.
    Ready,
    /// Alive; whether it is ready it does not tell us.
    Limited,
    /// Alive, but new connections should go elsewhere; established ones still work.
    NotReady,
    /// Not there, or nothing works.
    Dead,
    /// Nothing.
    Nothing,
}

impl Finding {
    const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ready => Self::Ready,
            Outcome::Unauthorized | Outcome::CredentialsRefused => Self::Limited,
            Outcome::NotReady { .. } | Outcome::NotServing { .. } | Outcome::Slow => Self::NotReady,
            Outcome::Refused
            | Outcome::Reset
            | Outcome::Unreachable
            | Outcome::Silent
            | Outcome::Unanswered
            | Outcome::TlsFailed { .. }
            | Outcome::Hung
            | Outcome::Closed
            | Outcome::Unresponsive => Self::Dead,
            Outcome::Local { .. } => Self::Nothing,
        }
    }
}

/// What a finding means in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Nothing; a count under way goes on.
    Ignore,
    /// The state is right.
    Settle,
    /// Enter the state.
    AtOnce(State),
    /// Enter the state when this is the last of enough in a row.
    Count(State, Direction),
}

const fn rule(state: State, finding: Finding) -> Rule {
    use Direction::{Down, Up};
    use Finding::{Dead, Limited, NotReady, Nothing, Ready};
    use State::{Degraded, Draining, Healthy, Unhealthy, Unknown};
    match (state, finding) {
        (Unknown | Healthy | Degraded | Draining | Unhealthy, Nothing) => Rule::Ignore,

        (Unknown, Ready) => Rule::AtOnce(Healthy),
        (Unknown, Limited) => Rule::AtOnce(Degraded),
        (Unknown, NotReady) => Rule::AtOnce(Draining),
        (Unknown, Dead) => Rule::AtOnce(Unhealthy),

        (Healthy, Ready) | (Degraded, Limited) | (Draining, NotReady) | (Unhealthy, Dead) => {
            Rule::Settle
        }

        (Degraded | Draining | Unhealthy, Ready) => Rule::Count(Healthy, Up),
        (Healthy | Draining | Unhealthy, Limited) => Rule::Count(Degraded, Up),
        (Healthy | Degraded | Unhealthy, NotReady) => Rule::Count(Draining, Down),
        (Healthy | Degraded | Draining, Dead) => Rule::Count(Unhealthy, Down),
    }
}

#[cfg(test)]
mod tests;
