//! What the driver does by itself every so often, and when.
//!
//! Each waking of an agent at rest costs more than what it wakes up for. So what recurs has no timer of its own:
//! it goes along when the machine wants to be asked anyway, a little early, and only where that does not happen
//! is it waited for.

use std::time::{Duration, Instant};

use crate::config::Config;

/// Renewals of the lease in its length: two may be missed.
const RENEWALS: u32 = 3;

/// How often the connections of each backend are counted, to see whether any has more than its share:
/// a few times in the minute that rebalancing goes by.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);

/// How often memory is given back that was needed once: for a start, a status, a failover.
const MEMORY_INTERVAL: Duration = Duration::from_secs(30);

/// How early something may go along: this part of its period.
const EARLY: u32 = 4;

/// All that recurs.
#[derive(Debug)]
pub(super) struct Ticks {
    pub(super) lease: Tick,
    pub(super) self_test: Tick,
    pub(super) count: Tick,
    pub(super) memory: Tick,
}

/// Something that recurs.
#[derive(Debug)]
pub(super) struct Tick {
    period: Duration,
    due: Instant,
}

impl Ticks {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            lease: Tick::new(config.lease / RENEWALS, now),
            self_test: Tick::new(config.self_test_interval, now),
            count: Tick::new(COUNT_INTERVAL, now),
            memory: Tick::new(MEMORY_INTERVAL, now),
        }
    }

    /// When the first of them is to be waited for; the self-test is not while one is under way.
    pub(super) fn due(&self, testing: bool) -> Instant {
        let Self { lease, self_test, count, memory } = self;
        let due = lease.due.min(count.due).min(memory.due);
        if testing { due } else { due.min(self_test.due) }
    }
}

impl Tick {
    /// Due a period from now.
    fn new(period: Duration, now: Instant) -> Self {
        Self { period, due: now + period }
    }

    /// Makes it due at once.
    pub(super) const fn hurry(&mut self, now: Instant) {
        self.due = now;
    }

    /// Whether to do it now. The next time is a period later: what is late is not made up for, one renewal is as
    /// good as three.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let time = self.due <= now + self.period / EARLY;
        if time {
            self.due = now + self.period;
        }
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_goes_along_a_little_early_and_the_next_is_a_period_later() {
        let start = Instant::now();
        let mut tick = Tick::new(4 * SECOND, start);
        assert_eq!(tick.due, start + 4 * SECOND);
        assert!(!tick.take(start + 2 * SECOND));
        assert!(tick.take(start + 3 * SECOND));
        assert_eq!(tick.due, start + 7 * SECOND);
    }

    #[test]
    fn the_first_is_waited_for_and_no_self_test_during_another() {
        let start = Instant::now();
        let after = |seconds| Tick::new(seconds * SECOND, start);
        let mut ticks =
            Ticks { lease: after(3), self_test: after(2), count: after(4), memory: after(5) };
        assert_eq!(ticks.due(false), start + 2 * SECOND);
        assert_eq!(ticks.due(true), start + 3 * SECOND);
        assert!(ticks.lease.take(start + 3 * SECOND));
        assert_eq!(ticks.due(true), start + 4 * SECOND);
    }

    #[test]
    fn what_is_late_is_done_once() {
        let start = Instant::now();
        let mut tick = Tick::new(SECOND, start);
        let late = start + 10 * SECOND;
        assert!(tick.take(late) && !tick.take(late));
        tick.hurry(late);
        assert!(tick.take(late));
    }
}
