//! Brings the maps to what the core wants, write by write.
//!
//! `actual` is what the maps are known to hold. A write that fails stops the round: everything before
//! it is in place and everything after it would refer to it, so the maps stay consistent, with the
//! older state. The next round starts from what was really written.

use std::time::{Duration, Instant};

use nllb_common::maps::{MAX_BACKENDS, PoolSet, Verdict};
use nllb_core::{Change, Histogram, Onset, Table, diff};

use crate::datapath::maps::{Maps, MapsError};

/// Bounds of the classes: a verdict takes microseconds, a pool's set waits for the kernel.
const BOUNDS_US: [u32; 9] = [10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000];

/// What the maps hold, and how the last round went.
#[derive(Debug)]
pub(super) struct Sync {
    actual: Table,
    onset: Onset,
    /// How long the last round with writes took.
    pub(super) last_duration: Option<Duration>,
    /// How long each took from the decision on, failed rounds before it included.
    pub(super) durations: Histogram,
    /// Since when the maps are not as wanted, because a write failed.
    pub(super) behind_since: Option<Instant>,
    /// Writes so far.
    pub(super) writes: u64,
    /// Rounds that a failing write stopped.
    pub(super) failures: u64,
    /// Why a round did not come to its end.
    pub(super) error: Option<String>,
}

impl Sync {
    /// Starts from what the maps hold now.
    pub(super) fn start(maps: &impl Maps, now: Instant) -> Result<Self, MapsError> {
        let actual = read(maps)?;
        Ok(Self {
            onset: Onset::new(&actual, now),
            actual,
            last_duration: None,
            durations: Histogram::new(&BOUNDS_US),
            behind_since: None,
            writes: 0,
            failures: 0,
            error: None,
        })
    }

    /// What the maps hold.
    pub(super) const fn actual(&self) -> &Table {
        &self.actual
    }

    /// When to apply at the latest what is held back for now, if anything is.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.onset.due()
    }

    /// Why the maps are not as wanted, if they are not.
    pub(super) fn problem(&self) -> Option<String> {
        let waiting =
            || self.due().map(|_| "frontends wait for a first backend in service".to_owned());
        self.error.clone().or_else(waiting)
    }

    /// Writes what differs from `desired`, but for frontends that wait for a backend. `clock` is read before and
    /// after.
    pub(super) fn apply(
        &mut self,
        maps: &mut impl Maps,
        desired: &Table,
        clock: impl Fn() -> Instant,
    ) -> Result<(), MapsError> {
        let started = clock();
        let changes = diff(&self.actual, &self.onset.limit(desired, &self.actual, started));
        if changes.is_empty() {
            self.caught_up();
            return Ok(());
        }
        // Neighbouring swaps of pools in one call, see `Maps::set_pools`.
        for round in changes.chunk_by(|one, next| swap(one).is_some() && swap(next).is_some()) {
            if let Err(error) = write(maps, round) {
                self.failures += 1;
                self.error = Some(error.to_string());
                self.behind_since.get_or_insert(started);
                return Err(error);
            }
            for change in round {
                self.actual.apply(change);
                self.writes += 1;
            }
        }
        let ended = clock();
        self.last_duration = Some(ended - started);
        self.durations.observe(ended - self.behind_since.unwrap_or(started));
        self.caught_up();
        Ok(())
    }

    /// The maps are as wanted.
    fn caught_up(&mut self) {
        self.error = None;
        self.behind_since = None;
    }

    /// Reads the maps again and writes what differs: after a failure, or when somebody else may have
    /// written to them.
    pub(super) fn resync(
        &mut self,
        maps: &mut impl Maps,
        desired: &Table,
        clock: impl Fn() -> Instant,
    ) -> Result<(), MapsError> {
        self.actual = read(maps)?;
        self.apply(maps, desired, clock)
    }
}

/// What the maps hold.
fn read(maps: &impl Maps) -> Result<Table, MapsError> {
    let mut fresh = std::collections::BTreeMap::new();
    for id in 0..MAX_BACKENDS {
        let epoch = maps.evidence(id)?.epoch;
        if epoch != 0 {
            fresh.insert(id, epoch);
        }
    }
    Ok(Table {
        frontends: maps.frontends()?.into_iter().collect(),
        pools: maps.pools()?.into_iter().collect(),
        verdicts: maps.verdicts()?.into_iter().collect(),
        fresh,
    })
}

/// The pool that a change swaps, and for what.
fn swap(change: &Change) -> Option<(u32, &PoolSet)> {
    match change {
        Change::SetPool { pool, set } => Some((*pool, set)),
        Change::RemovePool { pool } => Some((*pool, &PoolSet::EMPTY)),
        Change::ResetEvidence { .. }
        | Change::SetVerdict { .. }
        | Change::SetFrontend { .. }
        | Change::RemoveFrontend { .. }
        | Change::RemoveVerdict { .. } => None,
    }
}

/// Writes one change, or several swaps of pools.
fn write(maps: &mut impl Maps, round: &[Change]) -> Result<(), MapsError> {
    let swaps: Vec<_> = round.iter().filter_map(swap).collect();
    if !swaps.is_empty() {
        return maps.set_pools(&swaps);
    }
    round.iter().try_for_each(|change| match change {
        Change::ResetEvidence { id, epoch } => maps.reset_evidence(id.0, *epoch),
        Change::SetVerdict { id, verdict } => maps.set_verdict(id.0, *verdict),
        Change::SetFrontend { key, frontend } => maps.set_frontend(*key, *frontend),
        Change::RemoveFrontend { key } => maps.remove_frontend(*key),
        Change::RemoveVerdict { id } => maps.set_verdict(id.0, Verdict::from_word(0)),
        // Handled above.
        Change::SetPool { .. } | Change::RemovePool { .. } => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::fake::FakeMaps;
    use nllb_core::{
        Coverage, FrontendKind, FrontendSettings, Machine, OnEmpty, PoolSettings, ScopeSetting,
        Settings,
    };

    fn table(endpoints: &[&str]) -> Table {
        let settings = Settings {
            pools: vec![PoolSettings {
                name: "apiserver".into(),
                endpoints: endpoints.iter().map(|e| e.parse().expect("an address")).collect(),
                ..PoolSettings::default()
            }],
            frontends: vec![FrontendSettings {
                name: "kubernetes".into(),
                kind: FrontendKind::Vip,
                addresses: vec!["10.96.0.1:443".parse().expect("an address")],
                pool: "apiserver".into(),
                scope: ScopeSetting::All,
                on_empty: OnEmpty::PassThrough,
                coverage: Coverage::Trusted,
                ..FrontendSettings::default()
            }],
            ..Settings::default()
        };
        Machine::new(settings, 1, Instant::now()).expect("a table").table().clone()
    }

    /// When frontends wait for nobody any more.
    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn what_is_written_is_what_is_wanted_and_a_second_round_writes_nothing() {
        let mut maps = FakeMaps::default();
        let mut sync = Sync::start(&maps, Instant::now()).expect("empty maps");
        let desired = table(&["10.0.0.1:6443", "10.0.0.2:6443"]);
        sync.apply(&mut maps, &desired, later).expect("room enough");
        assert_eq!(read(&maps).expect("readable"), desired);
        let writes = sync.writes;
        sync.apply(&mut maps, &desired, later).expect("nothing to do");
        assert_eq!(sync.writes, writes);
    }

    #[test]
    fn frontends_come_last_and_alone_when_nobody_answers_at_first() {
        let (mut maps, desired) = (FakeMaps::default(), table(&["10.0.0.1:6443"]));
        let mut sync = Sync::start(&maps, Instant::now()).expect("empty maps");
        let due = sync.due().expect("a time");
        sync.apply(&mut maps, &desired, || due - Duration::from_millis(1)).expect("room enough");
        let held = read(&maps).expect("readable");
        assert!(held.frontends.is_empty() && held.pools == desired.pools);
        assert!(sync.problem().is_some(), "not as wanted yet");
        sync.apply(&mut maps, &desired, || due).expect("room enough");
        assert_eq!(read(&maps).expect("readable"), desired);
        assert_eq!((sync.due(), sync.problem()), (None, None));
    }

    #[test]
    fn a_failing_write_keeps_the_older_state_and_the_next_round_goes_on_from_there() {
        let before = table(&["10.0.0.1:6443"]);
        let after = table(&["10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"]);
        let all = diff(&before, &after).len();
        for writes in 0..all {
            let mut maps = FakeMaps::default();
            let mut sync = Sync::start(&maps, Instant::now()).expect("empty maps");
            sync.apply(&mut maps, &before, later).expect("room enough");
            maps.fail_after(writes);
            let error = sync.apply(&mut maps, &after, later).expect_err("no room");
            assert!(error.to_string().contains("is full: it holds"), "{error}");
            assert!(sync.behind_since.is_some());
            assert_eq!(&read(&maps).expect("readable"), sync.actual());
            // Whatever stopped it, every frontend leads to a pool that is there.
            for frontend in sync.actual().frontends.values() {
                assert!(sync.actual().pools.contains_key(&u32::from(frontend.pool)));
            }
            maps.heal();
            sync.resync(&mut maps, &after, later).expect("room again");
            assert_eq!(read(&maps).expect("readable"), after);
            assert_eq!(sync.behind_since, None);
        }
    }
}
