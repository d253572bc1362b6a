//! The signal of time: what is due, and what is overdue.

use std::time::{Duration, Instant};

use crate::backend::{Backend, BackendId};
use crate::doubt::Doubt;
use crate::ping::Look;
use crate::pool::{Machine, What};
use crate::scale::look_spread;

/// In calm a probe, or a ping, goes along with another of its pool up to this part of an interval before it is
/// due: one waking of the agent instead of two.
const COMPANY: u32 = 4;

impl Machine {
    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pools = 0..self.roster.settings.pools.len();
        let of_pool = |pool: usize| {
            let health = self.roster.health_of(pool)?;
            let alert = self.roster.is_alert(pool).then_some(health.confirm_interval);
            let due = self.roster.pool(pool).filter_map(|backend| backend.next_due(alert)).min();
            due.into_iter().chain(self.count_due(pool)).min()
        };
        pools.filter_map(of_pool).chain(self.drain_due()).chain(self.drill_due()).min()
    }

    /// Does what is due. Whatever was heard until `now` must have been handed in before: an answer that
    /// waits to be read is not missing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.notice_overdue(now);
        self.review(now);
        self.start_due(now);
        self.roster.note_trouble(now);
        // Who is doubted, or asked out of turn, is looked at beside the others of its pool.
        self.ping_due(now);
        self.ask_due(now);
        self.close_drained(now);
    }

    /// Raises doubts for what is overdue, and asks TCP about pings.
    fn notice_overdue(&mut self, now: Instant) {
        let mut inspect = Vec::new();
        let spreads: Vec<_> = (0..self.roster.settings.pools.len())
            .map(|pool| look_spread(self.roster.nodes_of(pool)))
            .collect();
        for (backend, settings) in self.roster.backends_mut() {
            if backend.probe_overdue().is_some_and(|at| at <= now) {
                backend.doubts.raise(Doubt::Probe);
                if let Some(probe) = &mut backend.probe {
                    probe.late = true;
                }
                // Two signs.
                backend.look(&settings, now);
            }
            if backend.look_at.is_some_and(|at| at <= now) {
                backend.look(&settings, now);
            }
            let answered = backend.probe_answered;
            let Some(ping) = backend.sentinel.ping_mut() else { continue };
            let (overdue, look) = ping.look(answered, now);
            if overdue {
                backend.may_be_dead(Doubt::Ping);
                // One that was doubted before is looked at already.
                if backend.wants_look || !(backend.is_out() || backend.told.1) {
                    let spread = spreads.get(backend.pool).copied().unwrap_or_default();
                    backend.look_within(spread, &settings, now);
                }
            }
            match look {
                Look::Nothing => {}
                Look::Inspect => inspect.push((backend.id, backend.epoch)),
                Look::GiveUp => {
                    backend.sentinel.ended(now);
                    backend.doubts.ponged();
                }
            }
        }
        for who in inspect {
            self.wish(who, What::Inspect);
        }
    }

    /// Those without a sentinel are witnesses by a probe: beside each of a backend that may be dead.
    fn call_witnesses(&mut self, now: Instant) {
        let is_due = |backend: &&Backend| backend.probe_due().is_some_and(|due| due <= now);
        let suspects = self.roster.backends.values().filter(|backend| backend.is_suspect());
        let suspects: Vec<_> = suspects.filter(is_due).map(|one| (one.id, one.pool)).collect();
        for (backend, settings) in self.roster.backends_mut() {
            let other =
                |(id, pool): &(BackendId, usize)| *pool == backend.pool && *id != backend.id;
            let called = suspects.iter().any(other) && !backend.has_sentinel();
            if called && backend.is_eligible() && !backend.is_suspect() && backend.probe.is_none() {
                backend.schedule.hurry(&settings, now);
            }
        }
    }

    fn start_due(&mut self, now: Instant) {
        self.call_witnesses(now);
        let company: Vec<_> =
            (0..self.roster.settings.pools.len()).map(|pool| self.company(pool, now)).collect();
        let mut wishes = Vec::new();
        for (backend, settings) in self.roster.backends_mut() {
            let who = (backend.id, backend.epoch);
            let early = company.get(backend.pool).filter(|_| backend.is_steady());
            let by = now + early.copied().unwrap_or_default();
            if backend.probe_due().is_some_and(|due| due <= by) {
                backend.start_probe(&settings, now);
                wishes.push((who, What::Probe));
            }
            if backend.sentinel.open_at().is_some_and(|due| due <= now) {
                backend.sentinel.open(now);
                wishes.push((who, What::Open));
            }
        }
        for (who, what) in wishes {
            self.wish(who, what);
        }
    }

    /// How long before it is due a probe of calm may go along with another of its pool.
    fn company(&self, pool: usize, now: Instant) -> Duration {
        let is_due = |backend: &Backend| backend.probe_due().is_some_and(|due| due <= now);
        let calm = !self.roster.is_alert(pool) && self.roster.pool(pool).any(is_due);
        let interval = self.roster.health_of(pool).filter(|_| calm).map(|health| health.interval);
        interval.unwrap_or_default() / COMPANY
    }

    fn ping_due(&mut self, now: Instant) {
        for pool in 0..self.roster.settings.pools.len() {
            let Some(settings) = self.roster.health_of(pool) else { continue };
            let alert = self.roster.is_alert(pool).then_some(settings.confirm_interval);
            let due_by = |backend: &Backend, at: Instant| {
                let due = backend.sentinel.ping().and_then(|ping| ping.due(alert));
                due.is_some_and(|due| due <= at)
            };
            if !self.roster.pool(pool).any(|backend| due_by(backend, now)) {
                continue;
            }
            let company = alert.map_or(settings.ping_interval / COMPANY, |_| Duration::ZERO);
            let due = self.roster.pool(pool).filter(|backend| due_by(backend, now + company));
            let due: Vec<(BackendId, u32)> = due.map(|one| (one.id, one.epoch)).collect();
            for (id, epoch) in due {
                if let Some(backend) = self.roster.backends.get_mut(&id) {
                    let overdue = backend.ping_rtt.ping_overdue();
                    backend.sentinel.pinged(&settings, overdue, now);
                    self.wish((id, epoch), What::Ping);
                }
            }
        }
    }
}
