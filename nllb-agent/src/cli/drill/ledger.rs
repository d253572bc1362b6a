//! What the connects of a drill came to. No I/O, and times are parameters, all of one clock.

use super::report::{Connects, Own};
use crate::units::micros;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// The time between two connects.
pub(super) const PACE: Duration = Duration::from_millis(20);

/// A connect that is over.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) began: Duration,
    pub(super) ended: Duration,
    /// Who answered, or why nobody did.
    pub(super) outcome: Result<SocketAddr, String>,
}

/// The connects of one client, which makes one at a time, around the time in which `backend` is out of service.
#[derive(Debug)]
pub(super) struct Ledger {
    backend: SocketAddr,
    /// When the order was given, and when it was taken back.
    out: Option<Duration>,
    back: Option<Duration>,
    last_good: Duration,
    /// Whether a connect has failed since then.
    failing: bool,
    under_way: Option<Duration>,
    slowest_before: Duration,
    slowest: Duration,
    blackout: Duration,
    total: u64,
    failures: BTreeMap<String, u64>,
    last_to_it: Option<Duration>,
}

impl Ledger {
    /// One that begins at `now`.
    pub(super) const fn new(backend: SocketAddr, now: Duration) -> Self {
        Self {
            backend,
            out: None,
            back: None,
            last_good: now,
            failing: false,
            under_way: None,
            slowest_before: Duration::ZERO,
            slowest: Duration::ZERO,
            blackout: Duration::ZERO,
            total: 0,
            failures: BTreeMap::new(),
            last_to_it: None,
        }
    }

    /// The backend is ordered out of service.
    pub(super) const fn out(&mut self, now: Duration) {
        self.out = Some(now);
    }

    /// It is about to be ordered back.
    pub(super) const fn back(&mut self, now: Duration) {
        self.back = Some(now);
    }

    /// A connect begins.
    pub(super) const fn begin(&mut self, now: Duration) {
        self.under_way = Some(now);
    }

    /// The connect that began last is over.
    pub(super) fn note(&mut self, attempt: Attempt) {
        let Attempt { began, ended, outcome } = attempt;
        let took = ended.saturating_sub(began);
        self.under_way = None;
        self.total += u64::from(self.out.is_some());
        let peer = match outcome {
            Ok(peer) => peer,
            Err(why) => {
                self.failing = true;
                if self.out.is_some() {
                    *self.failures.entry(why).or_default() += 1;
                }
                return;
            }
        };
        if self.out.is_none() {
            self.slowest_before = self.slowest_before.max(took);
        } else {
            if self.failing || self.is_wait(took) {
                self.blackout = self.blackout.max(ended.saturating_sub(self.last_good));
            }
            self.slowest = self.slowest.max(took);
            if peer == self.backend && self.back.is_none_or(|back| began < back) {
                self.last_to_it = Some(began);
            }
        }
        (self.failing, self.last_good) = (false, ended);
    }

    /// The sum of those that ended since the order, and of the one that is still under way.
    pub(super) fn connects(&self, now: Duration) -> Connects {
        let waits = self.under_way.is_some_and(|began| self.is_wait(now.saturating_sub(began)));
        let still = (self.failing || waits).then(|| now.saturating_sub(self.last_good));
        let out = self.out.unwrap_or(now);
        Connects {
            total: self.total,
            failed: self.failures.values().sum(),
            failures: self.failures.clone(),
            blackout_us: micros(self.blackout.max(still.unwrap_or_default())),
            slowest_us: micros(self.slowest),
            slowest_before_us: micros(self.slowest_before),
            last_to_it_us: self.last_to_it.map(|at| micros(at.saturating_sub(out))),
        }
    }

    /// Whether a connect took so long that its client was kept waiting.
    fn is_wait(&self, took: Duration) -> bool {
        took > self.slowest_before + PACE
    }
}

/// What became of a connection of the drill's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It ended.
    Lost(Duration),
    /// There is another one in its stead.
    Reopened(Duration),
}

/// The sum over `open` connections that were open when the order was given.
pub(super) fn own(open: u64, news: &[Held], ordered: Duration) -> Own {
    let mut own = Own { open, ended: 0, reopened: 0, longest_us: None };
    for one in news {
        match one {
            Held::Lost(_) => own.ended += 1,
            Held::Reopened(at) => {
                own.reopened += 1;
                let since = micros(at.saturating_sub(ordered));
                own.longest_us = own.longest_us.max(Some(since));
            }
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn socket(host: u8) -> SocketAddr {
        ([10, 0, 0, host], 6443).into()
    }

    /// A drill of the first backend that began at 0; connects are given as begin, end and who answered.
    fn ledger(before: &[(u64, u64, u8)], after: &[(u64, u64, u8)]) -> Ledger {
        let mut ledger = Ledger::new(socket(1), MS(0));
        let note = |ledger: &mut Ledger, (began, ended, who): (u64, u64, u8)| {
            ledger.begin(MS(began));
            let outcome = if who == 0 { Err("refused".to_owned()) } else { Ok(socket(who)) };
            ledger.note(Attempt { began: MS(began), ended: MS(ended), outcome });
        };
        before.iter().for_each(|one| note(&mut ledger, *one));
        ledger.out(MS(1000));
        after.iter().for_each(|one| note(&mut ledger, *one));
        ledger
    }

    #[test]
    fn connects_at_their_usual_pace_are_no_blackout() {
        let ledger = ledger(&[(960, 965, 1), (985, 990, 2)], &[(1010, 1015, 2), (1400, 1405, 3)]);
        let connects = ledger.connects(MS(1410));
        assert_eq!((connects.total, connects.failed, connects.blackout_us), (2, 0, 0));
        assert_eq!((connects.slowest_us, connects.slowest_before_us), (5000, 5000));
        assert_eq!(connects.last_to_it_us, None);
    }

    #[test]
    fn a_blackout_lasts_from_the_last_good_connect_to_the_first_after_failures() {
        let after =
            [(1010, 1011, 0), (1030, 1031, 0), (1050, 1055, 2), (1070, 1071, 0), (1090, 1095, 2)];
        let connects = ledger(&[(985, 990, 1)], &after).connects(MS(1100));
        assert_eq!((connects.failed, connects.blackout_us), (3, 65_000));
        assert_eq!(connects.failures, [("refused".to_owned(), 3)].into());
    }

    #[test]
    fn a_slow_connect_is_a_wait_when_it_is_slower_than_those_before_by_more_than_the_pace() {
        let blackout = |after| ledger(&[(940, 990, 1)], &[after]).connects(MS(2000)).blackout_us;
        assert_eq!(blackout((1010, 1080, 2)), 0, "70 ms, while 50 ms were usual");
        assert_eq!(blackout((1010, 1081, 2)), 91_000);
    }

    #[test]
    fn what_still_fails_or_waits_at_the_end_counts_until_then() {
        let failing = ledger(&[(985, 990, 1)], &[(1010, 1011, 0)]);
        assert_eq!(failing.connects(MS(1500)).blackout_us, 510_000);
        let mut waiting = ledger(&[(985, 990, 1)], &[]);
        waiting.begin(MS(1010));
        assert_eq!(waiting.connects(MS(1020)).blackout_us, 0);
        assert_eq!(waiting.connects(MS(3010)).blackout_us, 2_020_000);
    }

    #[test]
    fn a_connect_that_still_went_to_the_backend_is_told_until_it_is_back() {
        let mut ledger = ledger(&[(985, 990, 1)], &[(1010, 1011, 1), (1030, 1031, 2)]);
        ledger.back(MS(6000));
        let back = Attempt { began: MS(6010), ended: MS(6011), outcome: Ok(socket(1)) };
        ledger.note(back);
        assert_eq!(ledger.connects(MS(6100)).last_to_it_us, Some(10_000));
    }

    #[test]
    fn own_connections_are_back_after_the_time_since_the_order() {
        let news = [Held::Lost(MS(1004)), Held::Reopened(MS(1009)), Held::Lost(MS(1005))];
        let expected = Own { open: 4, ended: 2, reopened: 1, longest_us: Some(9000) };
        assert_eq!(own(4, &news, MS(1000)), expected);
        assert_eq!(own(4, &[], MS(1000)).longest_us, None);
    }
}
