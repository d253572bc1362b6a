//! What follows when something was heard: doubts, transitions and verdicts.
//!
//! One look at every backend after each event, and not a reaction to each event: so whatever changes
//! a state or a doubt, it is told the same way, and nothing is told that was taken back at once.

use std::time::Instant;

use nllb_common::maps::State;

use crate::backend::{Backend, BackendId};
use crate::command::Command;
use crate::doubt::Doubt;
use crate::pool::Machine;

impl Machine {
    pub(crate) fn review(&mut self, now: Instant) {
        self.end_drills(now);
        let ids: Vec<BackendId> = self.roster.backends.keys().copied().collect();
        let mut moved = false;
        for id in ids {
            moved |= self.review_one(id, now);
        }
        moved |= self.admit_held(now);
        self.roster.note_quiet(now);
        self.roster.note_trouble(now);
        if moved && self.roster.asks_for_versions() {
            self.rebuild_table();
        }
    }

    /// Lets in who answers well and only waits because it was lost so often, where there is nobody else.
    fn admit_held(&mut self, now: Instant) -> bool {
        let held = self
            .roster
            .backends_mut()
            .filter(|(backend, settings)| !backend.is_drained() && backend.is_held(settings));
        let held: Vec<_> = held.map(|(backend, _)| (backend.id, backend.epoch)).collect();
        let mut moved = false;
        for (id, epoch) in held {
            if self.roster.is_alone(id) {
                if let Some((backend, settings)) = self.roster.backend_mut(id, epoch) {
                    backend.admit(&settings, now);
                }
                moved |= self.review_one(id, now);
            }
        }
        moved
    }

    /// Tells what is new of a backend; true when its state is.
    fn review_one(&mut self, id: BackendId, now: Instant) -> bool {
        let Some(epoch) = self.roster.backends.get(&id).map(|backend| backend.epoch) else {
            return false;
        };
        let Some((backend, settings)) = self.roster.backend_mut(id, epoch) else { return false };
        let (from, was_doubted) = backend.told;
        let to = backend.state();
        if matches!(to, State::Draining | State::Unhealthy) {
            backend.doubts.clear();
        }
        let doubt = backend.doubt();
        backend.told = (to, doubt.is_some());
        match doubt {
            Some(_) => _ = backend.first_sign.get_or_insert(now),
            None if was_doubted && from == to => backend.first_sign = None,
            None => {}
        }
        backend.doubted += u64::from(doubt.is_some() && !was_doubted);
        // After a failure the next probe follows at the confirming pace, else several in a row would be
        // no more than one. For an overdue ping the look is planned already.
        let at_once = |doubt| !matches!(doubt, Doubt::Failing | Doubt::Ping);
        if !was_doubted && doubt.is_some_and(at_once) {
            backend.check_soon(&settings, now);
        }
        if from != to {
            backend.since = now;
            backend.transitions += 1;
            let (addr, pool, reason) = (backend.addr, backend.pool, backend.reason());
            let sign = backend.first_sign.take().unwrap_or(now);
            let failed = from.is_eligible() && backend.is_out() && !backend.is_drained_only();
            let first_sign = failed.then_some(sign);
            let notice = Command::Transition { id, addr, pool, from, to, reason, first_sign };
            self.notices.push_back(notice);
        }
        backend.forget_drain();
        let pool = backend.pool;
        self.tell_verdict(id);
        if from != to {
            self.stop_leaning(pool);
            self.greet(id, from, now);
            self.replace(id, from, now);
        }
        from != to
    }

    /// The first backend of its pool that returns tells that others may be back as well, and that who
    /// waits for a long backoff need not, be it a probe or a connect.
    fn greet(&mut self, id: BackendId, from: State, now: Instant) {
        if !from.is_out() || !self.is_the_only_one(id, true) {
            return;
        }
        self.hurry_the_waiting(id, now);
        if from == State::Unhealthy {
            self.close_waiting(id);
        }
    }

    /// When the last eligible backend of its pool is lost, whoever has come back unnoticed is wanted at
    /// once.
    fn replace(&mut self, id: BackendId, from: State, now: Instant) {
        if from.is_eligible() && self.is_the_only_one(id, false) {
            self.hurry_the_waiting(id, now);
        }
    }

    /// Whether nobody else of its pool is eligible, and it is or is not.
    fn is_the_only_one(&self, id: BackendId, eligible: bool) -> bool {
        let backend = self.roster.backends.get(&id);
        backend.is_some_and(|one| one.is_eligible() == eligible) && self.roster.is_alone(id)
    }

    /// Lets nobody else of its pool wait for its backoff.
    fn hurry_the_waiting(&mut self, id: BackendId, now: Instant) {
        let Some(pool) = self.roster.backends.get(&id).map(|backend| backend.pool) else { return };
        let waits = |other: &Backend| {
            other.id != id && !other.is_eligible() && other.health.run().is_none()
        };
        let others = self.roster.backends_mut();
        let waiting = others.filter(|(other, _)| other.pool == pool && waits(other));
        for (other, settings) in waiting {
            other.schedule.reset_backoff();
            other.schedule.hurry(&settings, now);
        }
    }
}
