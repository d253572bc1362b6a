//! Distances, borders, and that nothing swings.

use super::*;
use proptest::prelude::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const SECOND: Duration = Duration::from_secs(1);

/// Two backends that are pinged every second; gives the band of the second after each.
struct Pair {
    now: Instant,
    near: Distance,
    far: Distance,
    band: Band,
    seed: u32,
}

impl Pair {
    fn new(seed: u32) -> Self {
        let (near, far) = (Distance::default(), Distance::default());
        Self { now: Instant::now(), near, far, band: Band::default(), seed }
    }

    fn step(&mut self, near: Duration, far: Duration) -> u8 {
        self.now += SECOND;
        self.near.observe(near, self.now);
        self.far.observe(far, self.now);
        if let (Some(near), Some(far)) = (self.near.lowest(self.now), self.far.lowest(self.now)) {
            self.band.review(far, near.min(far), self.seed, self.now);
        }
        self.band.number()
    }

    fn steps(&mut self, times: usize, near: Duration, far: Duration) -> u8 {
        (0..times).for_each(|_| {
            self.step(near, far);
        });
        self.band.number()
    }
}

#[test]
fn a_lan_is_one_band_and_each_further_one_is_five_times_as_far() {
    for (near, far, band) in [
        (Duration::from_micros(80), Duration::from_micros(900), 0),
        (ms(1), ms(6), 0),
        (ms(1), ms(7), 1),
        (ms(1), ms(26), 1),
        (ms(1), ms(27), 2),
        (ms(1), ms(126), 2),
        (ms(1), ms(127), 3),
        (ms(1), ms(60_000), 3),
        // From far away what counts as near is wider.
        (ms(200), ms(249), 0),
        (ms(200), ms(251), 1),
    ] {
        assert_eq!(Pair::new(1).steps(5, near, far), band, "{near:?} {far:?}");
    }
}

#[test]
fn nothing_is_thought_before_three_round_trips() {
    let mut pair = Pair::new(1);
    assert_eq!(pair.steps(2, ms(1), ms(100)), 0);
    assert_eq!(pair.step(ms(1), ms(100)), 2);
}

#[test]
fn old_round_trips_say_nothing() {
    let now = Instant::now();
    let mut distance = Distance::default();
    (0..5).for_each(|_| distance.observe(ms(1), now));
    assert_eq!(distance.lowest(now + 59 * SECOND), Some(ms(1)));
    assert_eq!(distance.lowest(now + 60 * SECOND), None);
}

#[test]
fn a_longer_route_is_believed_within_two_minutes_and_not_within_half_a_minute() {
    let mut pair = Pair::new(1);
    assert_eq!(pair.steps(120, ms(1), ms(2)), 0);
    assert_eq!(pair.steps(29, ms(1), ms(40)), 0);
    assert_eq!(pair.steps(91, ms(1), ms(40)), 2);
}

#[test]
fn a_shorter_route_is_used_once_it_is_clearly_shorter() {
    let mut pair = Pair::new(1);
    assert_eq!(pair.steps(120, ms(1), ms(7)), 1);
    // 4.9 ms of excess would be the nearest band, had it not been in another.
    assert_eq!(pair.steps(120, ms(1), Duration::from_micros(5900)), 1);
    assert_eq!(pair.steps(5, ms(1), ms(4)), 0);
}

#[test]
fn a_loss_of_one_in_five_on_a_long_path_changes_no_band() {
    let mut pair = Pair::new(1);
    for round in 0..1200u64 {
        let sent_again = if round % 5 == 0 { ms(250) } else { ms(0) };
        let jitter = ms(u64::from(mix(u32::try_from(round).expect("small")) % 30));
        assert_eq!(pair.step(ms(200), ms(205) + sent_again + jitter), 0, "{round}");
    }
}

#[test]
fn nodes_that_see_the_same_change_do_not_move_in_the_same_second() {
    let moved = |seed| {
        let mut pair = Pair::new(seed);
        // A first opinion, and a change before anybody may move again.
        pair.steps(3, ms(1), ms(40));
        (1..200).find(|_| pair.step(ms(1), ms(1)) == 0).expect("it moves")
    };
    let mut seconds: Vec<i32> = (0..300).map(moved).collect();
    seconds.sort_unstable();
    let (first, last) = (seconds[0], seconds[299]);
    assert!(last - first >= 25, "from {first} to {last}");
    let most = seconds.chunk_by(|a, b| a == b).map(<[_]>::len).max();
    assert!(most.is_some_and(|most| most < 30), "{most:?} of 300 in one second");
}

#[test]
fn where_bands_are_not_wanted_all_are_in_the_first() {
    let mut pair = Pair::new(1);
    pair.steps(5, ms(1), ms(40));
    assert_ne!(pair.band.number(), 0);
    pair.band.forget();
    assert_eq!(pair.band.number(), 0);
}

proptest! {
    #[test]
    fn whatever_the_round_trips_a_band_changes_at_most_once_in_half_a_minute(
        trips in prop::collection::vec((0u64..500, 0u64..500), 300), seed: u32,
    ) {
        let mut pair = Pair::new(seed);
        let mut last: Option<Instant> = None;
        let mut band = 0;
        for (near, far) in trips {
            let next = pair.step(ms(near), ms(far));
            if next != band {
                prop_assert!(last.is_none_or(|last| pair.now - last >= DWELL));
                last = Some(pair.now);
                band = next;
            }
        }
    }

    #[test]
    fn noise_on_top_of_equal_paths_never_moves_anybody(
        noise in prop::collection::vec((0u64..3, 0u64..3), 300), seed: u32, base in 0u64..300,
    ) {
        let mut pair = Pair::new(seed);
        for (near, far) in noise {
            prop_assert_eq!(pair.step(ms(base + near), ms(base + far)), 0);
        }
    }
}
