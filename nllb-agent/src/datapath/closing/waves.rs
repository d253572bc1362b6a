//! Which sockets to end, and when.
//!
//! A backend that is drained or has too much must not meet all its clients again, elsewhere, in one
//! moment. So each socket gets a time of its own, evenly distributed over the spread; what falls close
//! together is one wave, which costs one visit to each network namespace.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use super::diag::Target;

/// What falls into this time is ended together. Short against the time that a client takes to connect
/// anew with TLS and to list its resources, which is the load that a spread is to even out.
const STEP: Duration = Duration::from_millis(100);

/// Sockets to end together.
#[derive(Debug)]
pub(super) struct Wave {
    /// How long to wait after the wave before.
    pub(super) wait: Duration,
    pub(super) targets: Vec<Target>,
}

/// Leaves `count` of the targets, chosen at random.
pub(super) fn choose(mut targets: Vec<Target>, count: Option<u32>) -> Vec<Target> {
    if let Some(count) = count.and_then(|count| usize::try_from(count).ok()) {
        let random = RandomState::new();
        targets.sort_by_key(|target| random.hash_one(target.cookie()));
        targets.truncate(count);
    }
    targets
}

/// Spreads targets evenly and at random over a time; one wave at once when that is zero.
pub(super) fn spread(targets: Vec<Target>, time: Duration) -> Vec<Wave> {
    let random = RandomState::new();
    let mut timed: Vec<_> = targets
        .into_iter()
        .map(|target| (fraction(time, random.hash_one(target.cookie())), target))
        .collect();
    timed.sort_by_key(|(due, _)| *due);
    let mut waves: Vec<Wave> = Vec::new();
    let (mut begins, mut before) = (Duration::ZERO, Duration::ZERO);
    for (due, target) in timed {
        match waves.last_mut() {
            Some(wave) if due < begins + STEP => wave.targets.push(target),
            _ => {
                waves.push(Wave { wait: due - before, targets: vec![target] });
                (begins, before) = (due, due);
            }
        }
    }
    waves
}

/// The part of a time that a hash says, from nothing to almost all.
fn fraction(time: Duration, hash: u64) -> Duration {
    // 32 bits of it are fine enough, and exact in a double.
    let part = u32::try_from(hash >> 32).unwrap_or(u32::MAX);
    time.mul_f64(f64::from(part) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn targets(count: u64) -> Vec<Target> {
        (0..count).map(Target::example).collect()
    }

    fn cookies<'a>(targets: impl IntoIterator<Item = &'a Target>) -> BTreeSet<u64> {
        targets.into_iter().map(Target::cookie).collect()
    }

    #[test]
    fn all_are_chosen_when_no_number_is_given() {
        assert_eq!(choose(targets(50), None).len(), 50);
    }

    #[test]
    fn a_number_leaves_so_many_and_others_each_time() {
        let first = cookies(&choose(targets(1_000), Some(100)));
        assert_eq!(first.len(), 100);
        assert_ne!(cookies(&choose(targets(1_000), Some(100))), first);
        assert_eq!(choose(targets(3), Some(100)).len(), 3);
    }

    #[test]
    fn without_a_spread_there_is_one_wave_without_a_wait() {
        let waves = spread(targets(20), Duration::ZERO);
        assert_eq!(waves.len(), 1);
        assert_eq!((waves[0].wait, waves[0].targets.len()), (Duration::ZERO, 20));
        assert!(spread(Vec::new(), Duration::ZERO).is_empty());
    }

    #[test]
    fn a_spread_ends_each_once_and_about_as_many_in_each_part_of_it() {
        let time = Duration::from_secs(10);
        let waves = spread(targets(4_000), time);
        assert_eq!(cookies(waves.iter().flat_map(|wave| &wave.targets)).len(), 4_000);
        let mut due = Duration::ZERO;
        let mut seconds = [0; 10];
        for (number, wave) in waves.iter().enumerate() {
            assert!(number == 0 || wave.wait >= STEP, "{:?} after the one before", wave.wait);
            due += wave.wait;
            assert!(due < time);
            seconds[usize::try_from(due.as_secs()).expect("small")] += wave.targets.len();
        }
        // Of 400 expected; what a fair draw misses once in a million million runs.
        assert!(seconds.iter().all(|count| (250..550).contains(count)), "{seconds:?}");
    }
}
