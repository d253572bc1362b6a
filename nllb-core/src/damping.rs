//! How long a backend that was lost must answer well before it is let in again.
//!
//! A backend that comes and goes costs every client a reconnect each time it goes. One loss says
//! nothing, and whoever restarts a server wants it back at once. A second one within a minute says
//! that answering well for a moment proves little, so from then on it has to last, twice as long with
//! each further loss. That is the back-off of Ethernet and TCP, and the idea of BGP's route flap damping
//! (RFC 2439) without its decaying penalty: losses are few enough to be remembered one by one, and an
//! operator can predict "the third within a minute waits two seconds".

use std::time::{Duration, Instant};

/// How long a loss counts.
const MEMORY: Duration = Duration::from_secs(60);

/// What the second loss costs; each further one doubles it.
const FIRST_HOLD: Duration = Duration::from_secs(1);

/// The longest hold: half the memory, so that a backend which keeps failing while it waits is not
/// forgiven before it would have been let in.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// Losses that lead to the longest hold: 0, 1, 2, 4, 8, 16 and 30 s.
const ENOUGH: usize = 7;

/// Flap damping of one backend.
#[derive(Clone, Debug, Default)]
pub struct Damping {
    /// The last losses, oldest first, at most [`ENOUGH`].
    losses: Vec<Instant>,
    /// How long it must answer well, by the losses there were at the last one.
    hold: Duration,
    /// Since when it has answered well, while it is out.
    well_since: Option<Instant>,
}

impl Damping {
    /// The backend was lost: it got connections and from now on gets none.
    pub fn lost(&mut self, now: Instant) {
        self.losses.retain(|at| now.saturating_duration_since(*at) < MEMORY);
        if self.losses.len() == ENOUGH {
            self.losses.remove(0);
        }
        self.losses.push(now);
        self.hold = hold(self.losses.len());
        self.well_since = None;
    }

    /// It answered, while it is out.
    pub fn answered(&mut self, well: bool, now: Instant) {
        self.well_since = if well { Some(self.well_since.unwrap_or(now)) } else { None };
    }

    /// When it may be let in if it goes on answering well; `None` while it does not. A moment that has
    /// passed means now.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        Some(self.well_since? + self.hold)
    }

    /// Whether it has answered well for long enough.
    #[must_use]
    pub fn admits(&self, now: Instant) -> bool {
        self.hold.is_zero() || self.until().is_some_and(|until| until <= now)
    }
}

/// What so many losses within [`MEMORY`] cost.
fn hold(losses: usize) -> Duration {
    let doublings = losses.checked_sub(2).and_then(|times| u32::try_from(times).ok());
    doublings.map_or(Duration::ZERO, |times| {
        FIRST_HOLD.saturating_mul(1 << times.min(31)).min(LONGEST_HOLD)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long each of the losses, so far apart, keeps a backend out that answers well at once.
    fn holds(apart: Duration, times: usize) -> Vec<u64> {
        let mut now = Instant::now();
        let mut damping = Damping::default();
        let mut one = || {
            now += apart;
            damping.lost(now);
            damping.answered(true, now);
            damping.until().expect("it answers well").duration_since(now).as_secs()
        };
        (0..times).map(|_| one()).collect()
    }

    #[test]
    fn each_loss_within_a_minute_doubles_the_hold_up_to_half_a_minute() {
        assert_eq!(holds(SECOND, 9), [0, 1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn a_loss_is_forgotten_after_a_minute() {
        assert_eq!(holds(MEMORY, 4), [0, 0, 0, 0]);
        assert_eq!(holds(Duration::from_secs(25), 5), [0, 1, 2, 2, 2]);
    }

    #[test]
    fn the_first_loss_holds_nobody_back_and_neither_does_none() {
        let now = Instant::now();
        let mut damping = Damping::default();
        assert!(damping.admits(now));
        damping.lost(now);
        assert!(damping.admits(now));
    }

    #[test]
    fn a_bad_answer_starts_the_hold_anew() {
        let start = Instant::now();
        let mut damping = Damping::default();
        damping.lost(start);
        damping.lost(start);
        damping.answered(true, start);
        assert!(!damping.admits(start + SECOND / 2));
        damping.answered(false, start + SECOND / 2);
        assert!(!damping.admits(start + 10 * SECOND));
        damping.answered(true, start + 10 * SECOND);
        damping.answered(true, start + 11 * SECOND);
        assert!(damping.admits(start + 11 * SECOND));
    }

    proptest! {
        #[test]
        fn a_backend_that_flaps_as_fast_as_it_can_is_lost_at_most_nine_times_in_any_minute(
            waits in prop::collection::vec(1u64..2000, 1000),
        ) {
            let mut now = Instant::now();
            let mut damping = Damping::default();
            let mut losses: Vec<Instant> = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                damping.answered(true, now);
                if damping.admits(now) {
                    damping.lost(now);
                    losses.push(now);
                }
            }
            let crowded = losses.windows(10).any(|ten| ten[9].duration_since(ten[0]) < MEMORY);
            prop_assert!(!crowded, "{losses:?}");
        }
    }
}
