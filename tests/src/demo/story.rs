//! What happens when: one server crashes and comes back, then another loses its power.
//!
//! The story goes on when something has been seen, never because time has passed: a slow machine
//! tells the same story. Only giving up is a matter of time.

use std::time::{Duration, Instant};

use super::ledger::{Kind, Ledger};

/// The faults, each with the server it hits.
pub(super) const FAULTS: [(Kind, usize); 2] = [(Kind::Crash, 0), (Kind::PowerOff, 1)];

/// Looks at the agent between two turns, so that a reader sees the state between them.
const DWELL: u64 = 15;

/// Successful connects in that time, so that there is something to see.
const DWELL_CONNECTS: u64 = 100;

/// How long one turn may take: several times what the slowest, a power-off, takes to be confirmed.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the story wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Do this to the server of this index.
    Strike(Kind, usize),
    /// Undo it.
    Restore(Kind, usize),
    /// Everything has been seen.
    End,
    /// This was not seen in time.
    GiveUp(String),
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Until everything is well; then the fault of this number, if there is one.
    Calm(usize),
    /// Until clients and agent have got over the fault of this number.
    Broken(usize),
    Over,
}

/// Where the story is.
pub(super) struct Story {
    turn: Turn,
    since: Instant,
    /// The counts of looks and of successful connects when what is waited for was first seen.
    seen_at: Option<(u64, u64)>,
}

impl Story {
    pub(super) const fn new(now: Instant) -> Self {
        Self { turn: Turn::Calm(0), since: now, seen_at: None }
    }

    /// What to do now, if anything.
    pub(super) fn next(&mut self, ledger: &Ledger, now: Instant) -> Option<Action> {
        let missing = match self.turn {
            Turn::Over => return None,
            Turn::Calm(_) => ledger.missing_for_calm(),
            Turn::Broken(_) => ledger.missing_for_failover(),
        };
        if let Some(missing) = missing {
            self.seen_at = None;
            return self.give_up(now, missing);
        }
        let (looks, connects) = *self.seen_at.get_or_insert((ledger.looks, ledger.ok));
        if ledger.looks - looks < DWELL || ledger.ok - connects < DWELL_CONNECTS {
            return self.give_up(now, "connects have become very slow".to_owned());
        }
        let (turn, action) = match self.turn {
            Turn::Calm(number) => match FAULTS.get(number) {
                Some((kind, victim)) => (Turn::Broken(number), Action::Strike(*kind, *victim)),
                None => (Turn::Over, Action::End),
            },
            Turn::Broken(number) => {
                let (kind, victim) = FAULTS[number];
                (Turn::Calm(number + 1), Action::Restore(kind, victim))
            }
            Turn::Over => return None,
        };
        *self = Self { turn, since: now, seen_at: None };
        Some(action)
    }

    fn give_up(&mut self, now: Instant, missing: String) -> Option<Action> {
        if now - self.since < PATIENCE {
            return None;
        }
        self.turn = Turn::Over;
        Some(Action::GiveUp(missing))
    }
}

impl Ledger {
    fn missing_for_calm(&self) -> Option<String> {
        if self.backends.is_empty() {
            return Some("the agent has not answered".to_owned());
        }
        if let Some(sick) = self.backends.iter().find(|backend| !backend.is_healthy()) {
            return Some(format!("{} is still {}: {}", sick.name, sick.state, sick.reason));
        }
        let absent = self.backends.iter().find(|backend| !self.servers.contains_key(&backend.name));
        if let Some(absent) = absent {
            return Some(format!("no connect has reached {}", absent.name));
        }
        let fault = self.faults.last()?;
        (!fault.is_overcome()).then(|| {
            format!("{} is not back in use after its {}", fault.victim, fault.kind.label())
        })
    }

    fn missing_for_failover(&self) -> Option<String> {
        let fault = self.faults.last()?;
        let (victim, kind) = (&fault.victim, fault.kind.label());
        if fault.failover.is_none() {
            Some(format!("no connect has succeeded since the {kind} of {victim}"))
        } else if fault.detected.is_none() {
            Some(format!("the agent has not noticed the {kind} of {victim}"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
