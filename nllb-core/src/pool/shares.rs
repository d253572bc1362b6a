//! Rebalancing of a pool: what [`Rebalance`] wants to know is read off the backends at each review.
//!
//! Transitions are noticed by their count, not by being told of each: so whatever takes a backend out
//! or lets it in, a probe, a sentinel or an operator, it is seen here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nllb_common::maps::State;

use crate::backend::{Backend, BackendId};
use crate::command::{CloseCause, CloseOrder};
use crate::pool::Machine;
use crate::rebalance::{Load, Rebalance};
use crate::settings::RebalanceSettings;

/// The time over which the closings of one review are spread: until the next one.
const SPREAD: Duration = Duration::from_secs(10);

/// What is kept of a pool between reviews.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    rebalance: Rebalance,
    /// The backends as they were at the last review; `None` before the first.
    before: Option<BTreeMap<(BackendId, u32), Glance>>,
}

/// A backend at a review.
#[derive(Clone, Copy, Debug)]
struct Glance {
    state: State,
    transitions: u64,
}

impl Glance {
    fn of(backend: &Backend) -> Self {
        Self { state: backend.verdict().state(), transitions: backend.transitions }
    }

    /// Whether it changed since `before`, and whether it gets connections that it did not get in
    /// between.
    fn compared(self, before: Option<Self>) -> (bool, bool) {
        let Some(before) = before else { return (true, self.state.is_eligible()) };
        let times = self.transitions.saturating_sub(before.transitions);
        let changed = times > 0 || self.state != before.state;
        // From healthy to degraded and back is no loss, but it takes a look in between to know.
        let stayed = before.state.is_eligible() && times <= 1;
        (changed, changed && self.state.is_eligible() && !stayed)
    }
}

impl Shares {
    pub(crate) const fn new(seed: u32, now: Instant) -> Self {
        Self { rebalance: Rebalance::new(seed, now), before: None }
    }

    fn review(
        &mut self,
        settings: &RebalanceSettings,
        members: &[&Backend],
        active: &BTreeMap<BackendId, u64>,
        now: Instant,
    ) -> Vec<(BackendId, u32)> {
        self.notice(members, now);
        let state = members.first().map(|backend| backend.verdict().state());
        let calm = members.iter().all(|backend| {
            let verdict = backend.verdict();
            Some(verdict.state()) == state && verdict.state().is_eligible() && !verdict.is_doubted()
        });
        let nearest = members.iter().map(|backend| backend.band.number()).min();
        let load = |backend: &&Backend| Load {
            id: backend.id,
            active: active.get(&backend.id).copied().unwrap_or(0),
            weight: u16::from(Some(backend.band.number()) == nearest),
        };
        let loads: Vec<_> = members.iter().map(load).collect();
        self.rebalance.review(settings, &loads, calm, now)
    }

    /// Compares the backends with the last review.
    fn notice(&mut self, members: &[&Backend], now: Instant) {
        let glances =
            members.iter().map(|backend| ((backend.id, backend.epoch), Glance::of(backend)));
        let glances: BTreeMap<_, _> = glances.collect();
        // At the first review nobody knows who was lost before the agent started.
        let Some(before) = self.before.replace(glances.clone()) else { return };
        let compared =
            glances.iter().map(|(who, glance)| glance.compared(before.get(who).copied()));
        let (changed, returned) =
            compared.fold((false, false), |sum, one| (sum.0 || one.0, sum.1 || one.1));
        if changed || before.len() != glances.len() {
            self.rebalance.changed(returned, now);
        }
    }
}

impl Machine {
    /// Takes how many translated connections each backend has, as the kernel counts them; every ten
    /// seconds or so.
    pub fn handle_connections(&mut self, active: &BTreeMap<BackendId, u64>, now: Instant) {
        for pool in 0..self.roster.settings.pools.len() {
            self.review_pool(pool, active, now);
        }
    }

    fn review_pool(&mut self, pool: usize, active: &BTreeMap<BackendId, u64>, now: Instant) {
        let Some(settings) = self.roster.settings.pools[pool].rebalance else { return };
        let Some(mut shares) = self.roster.shares.remove(&pool) else { return };
        let members: Vec<_> = self.roster.pool(pool).collect();
        let orders = shares.review(&settings, &members, active, now);
        for (id, count) in orders {
            let (cause, reason) = (CloseCause::Rebalance, "others have fewer connections");
            let (reason, count) = (reason.to_owned(), Some(count));
            self.close(id, CloseOrder { cause, reason, count, spread: SPREAD });
        }
        self.lean(pool, |id| shares.rebalance.leans_to(id));
        self.roster.shares.insert(pool, shares);
    }

    /// Lets new connections lean towards some backends of a pool.
    fn lean(&mut self, pool: usize, towards: impl Fn(BackendId) -> bool) {
        for id in self.roster.members.get(pool).cloned().unwrap_or_default() {
            if let Some(backend) = self.roster.backends.get_mut(&id) {
                backend.leans = towards(id);
                self.tell_verdict(id);
            }
        }
    }

    /// Something changed in a pool: no backend of it is preferred until all is calm again.
    pub(crate) fn stop_leaning(&mut self, pool: usize) {
        self.lean(pool, |_| false);
    }
}
