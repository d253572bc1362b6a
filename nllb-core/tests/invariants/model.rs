//! A small model of health: the state of every backend by a look back over all that was heard of it.
//!
//! It keeps whole histories where the machine keeps counters, and shares no code with it. Whether a
//! frozen process was found rightly is the ledger's to judge; the model only takes note.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nllb_common::maps::State::{self, Degraded, Draining, Healthy, Unhealthy, Unknown};
use nllb_core::{Drain, Drill, Outcome, Via};

use crate::ledger::Who;

/// Both of rise and fall in all settings of this test.
const ENOUGH: usize = 2;
/// Contradicted failures in a row that do not count.
const PATIENCE: u32 = 2;

#[derive(Clone, Debug)]
struct One {
    pool: String,
    state: State,
    drained: bool,
    /// What a drill does to it, and until when.
    drilled: Option<(Drill, Instant)>,
    /// What outcomes spoke for since the state was entered.
    heard: Vec<State>,
    contradicted: u32,
    ponged: Option<Instant>,
    losses: Vec<Instant>,
    hold: Duration,
    well_since: Option<Instant>,
    /// What the last outcome of all spoke for.
    last: Option<State>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    backends: BTreeMap<Who, One>,
}

fn is_in(state: State) -> bool {
    matches!(state, Healthy | Degraded)
}

/// What an outcome speaks for.
fn level(outcome: &Outcome) -> Option<State> {
    match outcome {
        Outcome::Ready => Some(Healthy),
        Outcome::Unauthorized | Outcome::CredentialsRefused => Some(Degraded),
        Outcome::NotReady { .. } | Outcome::NotServing { .. } | Outcome::Slow => Some(Draining),
        Outcome::Local { .. } => None,
        Outcome::Refused
        | Outcome::Reset
        | Outcome::Unreachable
        | Outcome::Silent
        | Outcome::Unanswered
        | Outcome::TlsFailed { .. }
        | Outcome::Hung
        | Outcome::Closed
        | Outcome::Unresponsive => Some(Unhealthy),
    }
}

impl One {
    /// Outcomes in a row, the newest included, that lead the same way out of the state.
    fn row(&self) -> usize {
        let Some(newest) = self.heard.last() else { return 0 };
        let same = |past: &&State| **past != self.state && is_in(**past) == is_in(*newest);
        self.heard.iter().rev().take_while(same).count()
    }

    fn enter(&mut self, state: State, now: Instant) {
        let left = std::mem::replace(&mut self.state, state);
        self.heard.clear();
        self.contradicted = 0;
        if is_in(left) && !is_in(state) {
            self.losses.retain(|at| now.duration_since(*at) < Duration::from_secs(60));
            self.losses.push(now);
            let holds = [0, 0, 1, 2, 4, 8, 16, 30];
            self.hold = Duration::from_secs(holds[self.losses.len().min(7)]);
            self.well_since = None;
        }
    }

    fn admitted(&self, now: Instant) -> bool {
        self.hold.is_zero() || self.well_since.is_some_and(|since| since + self.hold <= now)
    }
}

impl Model {
    /// The backends there are now; those that stay keep what is known of them.
    pub(crate) fn arrange(&mut self, places: impl Iterator<Item = (Who, String)>) {
        let mut next = BTreeMap::new();
        for (who, pool) in places {
            let fresh = One {
                pool,
                state: Unknown,
                drained: false,
                drilled: None,
                heard: Vec::new(),
                contradicted: 0,
                ponged: None,
                losses: Vec::new(),
                hold: Duration::ZERO,
                well_since: None,
                last: None,
            };
            next.insert(who, self.backends.remove(&who).unwrap_or(fresh));
        }
        self.backends = next;
    }

    pub(crate) fn ponged(&mut self, who: Who, now: Instant) {
        if let Some(one) = self.backends.get_mut(&who) {
            one.ponged = Some(now);
        }
    }

    pub(crate) fn ordered(&mut self, who: Who, order: Drain, now: Instant) {
        let Some(one) = self.backends.get_mut(&who) else { return };
        match order {
            Drain::On { .. } => one.drained = true,
            Drain::Drill { how, lease } => one.drilled = Some((how, now + lease)),
            Drain::DrillOver => one.drilled = None,
            Drain::Off => (one.drained, one.drilled) = (false, None),
        }
    }

    /// It was found frozen.
    pub(crate) fn condemned(&mut self, who: Who, now: Instant) {
        if let Some(one) = self.backends.get_mut(&who) {
            one.enter(Unhealthy, now);
        }
    }

    pub(crate) fn probed(
        &mut self,
        who: Who,
        (start, via): (Instant, Via),
        outcome: &Outcome,
        now: Instant,
    ) {
        let alone = self.is_alone(who);
        let Some(one) = self.backends.get_mut(&who) else { return };
        one.last = level(outcome);
        let Some(level) = level(outcome) else { return };
        if via == Via::Sentinel && level == Unhealthy {
            return;
        }
        let timed_out = matches!(outcome, Outcome::Silent | Outcome::Unreachable | Outcome::Hung);
        let out = matches!(one.state, Draining | Unhealthy);
        if timed_out && !out && one.ponged.is_some_and(|at| at >= start) {
            one.contradicted += 1;
            if one.contradicted <= PATIENCE {
                return;
            }
        } else if !is_in(level)
            && !matches!(outcome, Outcome::NotReady { .. } | Outcome::NotServing { .. })
        {
            if level == Unhealthy {
                one.contradicted = 0;
            }
        } else if is_in(level) {
            one.contradicted = 0;
        }
        if out {
            one.well_since = is_in(level).then(|| one.well_since.unwrap_or(now));
        }
        one.heard.push(level);
        let admitted = alone || one.admitted(now) || !out || !is_in(level);
        if one.state == Unknown || (one.row() >= ENOUGH && admitted) {
            one.enter(level, now);
        }
    }

    /// Drills end in time, and where nobody else is in service. Where nobody is, one that was only held back
    /// is let in.
    pub(crate) fn settle(&mut self, now: Instant) {
        let all: Vec<Who> = self.backends.keys().copied().collect();
        for who in &all {
            let alone = self.is_alone(*who);
            let Some(one) = self.backends.get_mut(who) else { continue };
            one.drilled = one.drilled.filter(|(_, until)| *until > now && !alone);
        }
        for who in all {
            let alone = self.is_alone(who);
            let Some(one) = self.backends.get_mut(&who) else { continue };
            let out = matches!(one.state, Draining | Unhealthy);
            let up = one.heard.last().is_some_and(|newest| is_in(*newest));
            let held = out && up && one.row() >= ENOUGH && !one.drained && one.drilled.is_none();
            if let (true, true, Some(last)) = (alone, held, one.last) {
                one.enter(last, now);
            }
        }
    }

    /// The state that the machine should show.
    pub(crate) fn state(&self, who: Who) -> State {
        let one = &self.backends[&who];
        match one.drilled {
            Some((Drill::Blackhole, _)) => Unhealthy,
            None if !one.drained => one.state,
            _ if one.state == Unhealthy => Unhealthy,
            _ => Draining,
        }
    }

    fn is_alone(&self, who: Who) -> bool {
        let Some(pool) = self.backends.get(&who).map(|one| &one.pool) else { return true };
        let mut others =
            self.backends.iter().filter(|(other, one)| **other != who && one.pool == *pool);
        !others.any(|(_, one)| is_in(one.state) && !one.drained && one.drilled.is_none())
    }
}
