//! How established connections find back to a backend that returned.
//!
//! A connection to an API server lives for days, so a server that restarts stays nearly idle while the
//! others carry its clients, and after a rolling restart the last one has nobody. The only remedy
//! is to close some of the others' connections, whose clients then choose anew. That hurts each of them
//! a little, so it is bounded in every direction:
//!
//! - It happens after a return only, and ends when every backend has its fair part of this node's
//!   connections, or when as many were closed as there were at its beginning. The uneven numbers that
//!   chance gives are nobody's concern.
//! - It waits until nothing has changed for more than a minute, and does nothing while anything is wrong.
//! - In a minute at most a share of the node's connections is closed, and no backend goes below the
//!   floor.
//!
//! Nodes do not talk to each other, and a node has few connections: a tenth of six cannot be closed. So
//! everything is rounded by chance. A node that may close 0.1 connections closes one in a tenth of the
//! reviews; and where its fair part is 2.67 it aims for 3 or 2 by a number of its own (systematic
//! sampling: W. G. Madow, "On the theory of systematic sampling, II", 1949), such that over all nodes
//! the aims add up to equal loads. Aiming for "not above three" instead would leave the returned server
//! short on every node alike.
//!
//! While it lasts, backends below their part have a greater weight in the choice. Else two of three
//! closed connections would go where they came from, and it would take three times as many closings.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nllb_common::mix;

use crate::backend::BackendId;
use crate::settings::RebalanceSettings;

/// How long nothing must have changed; up to a quarter longer, by the seed, so that 5,000 nodes do not
/// begin in the same second.
const QUIET: Duration = Duration::from_secs(60);

/// The longest time between two reviews that is made up for.
const LONGEST_GAP: Duration = Duration::from_secs(30);

/// The weight of a backend below its part, where the others have 1. Of three backends it gets eight of
/// nine new connections, of five four of five: enough that a closing is seldom in vain. Its new
/// connections are at most as many times what they are in calm as the pool has backends.
pub const LEAN: u16 = 16;

/// A backend of the pool and what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The backend.
    pub id: BackendId,
    /// Connections of this node to it.
    pub active: u64,
    /// Its part of new connections; 0 when it should have none, since nearer ones are there.
    pub weight: u16,
}

/// The rebalancing of one pool.
#[derive(Clone, Debug)]
pub struct Rebalance {
    seed: u32,
    draws: u32,
    /// The last transition.
    changed: Instant,
    reviewed: Option<Instant>,
    work: Work,
    lean: BTreeSet<BackendId>,
}

/// Whether there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Nobody has returned.
    Nothing,
    /// Somebody has.
    Waiting,
    /// So many more connections may be closed before it is given up.
    Closing(u64),
}

impl Rebalance {
    /// Nothing to do yet.
    #[must_use]
    pub const fn new(seed: u32, now: Instant) -> Self {
        Self {
            seed,
            draws: 0,
            changed: now,
            reviewed: None,
            work: Work::Nothing,
            lean: BTreeSet::new(),
        }
    }

    /// A backend of the pool changed its state; `returned` when it now gets connections and got none
    /// before.
    pub fn changed(&mut self, returned: bool, now: Instant) {
        self.changed = now;
        self.lean.clear();
        if returned {
            self.work = Work::Waiting;
        }
    }

    /// Whether new connections lean towards this backend.
    #[must_use]
    pub fn leans_to(&self, id: BackendId) -> bool {
        self.lean.contains(&id)
    }

    /// Says how many connections of which backend to close now. `loads` are the backends of the pool;
    /// `calm` is false while one of them gets no connections or is in doubt.
    pub fn review(
        &mut self,
        settings: &RebalanceSettings,
        loads: &[Load],
        calm: bool,
        now: Instant,
    ) -> Vec<(BackendId, u32)> {
        let before = self.reviewed.replace(now);
        self.lean.clear();
        if self.work == Work::Nothing || !calm || now < self.changed + self.quiet() {
            return Vec::new();
        }
        let total = loads.iter().map(|load| load.active).sum();
        let budget = if let Work::Closing(left) = self.work { left } else { total };
        let goals = goals(loads, total, unit(self.seed));
        let floor = u64::from(settings.floor);
        let excess = |(load, goal): (&Load, &u64)| load.active.saturating_sub(floor.max(*goal));
        let excesses: Vec<u64> = loads.iter().zip(&goals).map(excess).collect();
        let all: u64 = excesses.iter().sum();
        if all == 0 || budget == 0 {
            self.work = Work::Nothing;
            return Vec::new();
        }
        let below = loads.iter().zip(&goals).filter(|(load, goal)| load.active < **goal);
        self.lean = below.map(|(load, _)| load.id).collect();

        let elapsed = before.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let minutes = elapsed.min(LONGEST_GAP).as_secs_f64() / 60.0;
        let allowed = share(settings) * minutes * count(total);
        let mut close = Vec::new();
        let mut left = budget;
        for (load, excess) in loads.iter().zip(excesses) {
            let wanted = allowed * count(excess) / count(all);
            let number = self.round(wanted).min(excess).min(left);
            left -= number;
            if let Some(number) = u32::try_from(number).ok().filter(|number| *number > 0) {
                close.push((load.id, number));
            }
        }
        self.work = Work::Closing(left);
        close
    }

    fn quiet(&self) -> Duration {
        QUIET + QUIET.mul_f64(unit(!self.seed) / 4.0)
    }

    /// `wanted` rounded up or down by chance, so that it comes out right on average.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and far below 2^53"
    )]
    fn round(&mut self, wanted: f64) -> u64 {
        self.draws = self.draws.wrapping_add(1);
        let chance = unit(mix(self.seed).wrapping_add(self.draws.wrapping_mul(0x9e37_79b9)));
        (wanted + chance).floor() as u64
    }
}

/// The connections that each backend should have, `total` together; rounded up or down by `offset`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and far below 2^53"
)]
fn goals(loads: &[Load], total: u64, offset: f64) -> Vec<u64> {
    let weights: f64 = loads.iter().map(|load| f64::from(load.weight)).sum();
    let mut sum = 0.0;
    let mut given = 0;
    let goal = |load: &Load| {
        sum += f64::from(load.weight);
        let upto = (count(total) * sum / weights.max(1.0) + offset).floor() as u64;
        let goal = upto - given;
        given = upto;
        goal
    };
    loads.iter().map(goal).collect()
}

/// The share of the settings, whatever the settings are.
const fn share(settings: &RebalanceSettings) -> f64 {
    let share = settings.share_per_minute;
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
}

/// A number from 0 up to and without 1.
fn unit(seed: u32) -> f64 {
    f64::from(mix(seed)) / (f64::from(u32::MAX) + 1.0)
}

#[expect(clippy::cast_precision_loss, reason = "a node has far fewer than 2^53 connections")]
const fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
