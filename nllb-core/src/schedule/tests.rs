//! When the next probe is due: jitter, confirming, backoff, hints.

use super::*;
use proptest::prelude::*;

fn exact() -> HealthSettings {
    HealthSettings { jitter: 0.0, ..HealthSettings::default() }
}

fn waits(pace: Pace, settings: &HealthSettings, times: usize) -> Vec<u64> {
    let now = Instant::now();
    let mut schedule = Schedule::new(1, now);
    let mut wait = || {
        schedule.start();
        schedule.finish(pace, settings, Duration::ZERO, now);
        let due = schedule.due().expect("planned");
        u64::try_from(due.duration_since(now).as_millis()).expect("short")
    };
    (0..times).map(|_| wait()).collect()
}

#[test]
fn the_first_probe_is_due_at_once_and_none_while_one_is_under_way() {
    let now = Instant::now();
    let mut schedule = Schedule::new(1, now);
    assert_eq!(schedule.due(), Some(now));
    schedule.start();
    assert_eq!(schedule.due(), None);
}

#[test]
fn each_pace_has_its_wait() {
    assert_eq!(waits(Pace::Steady, &exact(), 3), [1000, 1000, 1000]);
    assert_eq!(waits(Pace::Confirm, &exact(), 3), [100, 100, 100]);
}

#[test]
fn one_that_is_wanted_is_asked_again_after_an_interval_and_at_once_when_its_probe_took_as_long() {
    assert_eq!(waits(Pace::Wanted, &exact(), 3), [1000, 1000, 1000]);
    let now = Instant::now();
    let mut schedule = Schedule::new(1, now);
    schedule.start();
    schedule.finish(Pace::Wanted, &exact(), Duration::from_secs(1), now);
    assert_eq!(schedule.due(), Some(now));
}

#[test]
fn the_backoff_doubles_up_to_its_cap() {
    let expected = [1000, 2000, 4000, 8000, 16000, 30000, 30000];
    assert_eq!(waits(Pace::Backoff, &exact(), 7), expected);
    assert_eq!(waits(Pace::Backoff, &exact(), 100).last(), Some(&30000));
}

#[test]
fn a_cap_below_the_interval_does_not_shorten_it() {
    let settings = HealthSettings { max_backoff: Duration::ZERO, ..exact() };
    assert_eq!(waits(Pace::Backoff, &settings, 3), [1000, 1000, 1000]);
}

#[test]
fn another_pace_starts_the_backoff_anew() {
    let now = Instant::now();
    let mut schedule = Schedule::new(1, now);
    for pace in [Pace::Backoff, Pace::Backoff, Pace::Confirm, Pace::Backoff] {
        schedule.start();
        schedule.finish(pace, &exact(), Duration::ZERO, now);
    }
    assert_eq!(schedule.due(), Some(now + Duration::from_secs(1)));
}

#[test]
fn a_hurry_makes_the_probe_due_at_once_but_not_twice_within_the_confirm_interval() {
    let now = Instant::now();
    let mut schedule = Schedule::new(1, now);
    schedule.start();
    schedule.finish(Pace::Steady, &exact(), Duration::ZERO, now);
    let later = now + Duration::from_millis(500);
    schedule.hurry(&exact(), later);
    assert_eq!(schedule.due(), Some(later));
    schedule.start();
    schedule.finish(Pace::Steady, &exact(), Duration::ZERO, later);
    schedule.hurry(&exact(), later + Duration::from_millis(1));
    assert_eq!(schedule.due(), Some(later + Duration::from_millis(100)));
}

#[test]
fn a_hurry_during_a_probe_is_met_when_it_ends() {
    let now = Instant::now();
    let mut schedule = Schedule::new(1, now);
    schedule.start();
    schedule.hurry(&exact(), now);
    assert_eq!(schedule.due(), None);
    let end = now + Duration::from_millis(3);
    schedule.finish(Pace::Steady, &exact(), Duration::ZERO, end);
    assert_eq!(schedule.due(), Some(end));
}

#[test]
fn nodes_with_different_seeds_do_not_probe_in_step() {
    let now = Instant::now();
    let settings = HealthSettings::default();
    let mut dues: Vec<_> = (0..1000)
        .map(|seed| {
            let mut schedule = Schedule::new(seed, now);
            schedule.start();
            schedule.finish(Pace::Steady, &settings, Duration::ZERO, now);
            schedule.due()
        })
        .collect();
    dues.sort_unstable();
    dues.dedup();
    assert!(dues.len() > 990, "{} of 1000 differ", dues.len());
}

proptest! {
    #[test]
    fn the_jitter_stays_within_its_width(seed: u32, jitter in 0.0f64..1.0, times in 1usize..20) {
        let settings = HealthSettings { jitter, ..HealthSettings::default() };
        let now = Instant::now();
        let mut schedule = Schedule::new(seed, now);
        for _ in 0..times {
            schedule.start();
            schedule.finish(Pace::Steady, &settings, Duration::ZERO, now);
            let wait = schedule.due().expect("planned").duration_since(now).as_secs_f64();
            prop_assert!((wait - 1.0).abs() <= jitter / 2.0 + 1e-6, "{wait}");
        }
    }

    #[test]
    fn no_settings_and_no_order_of_calls_make_it_panic(
        interval: u64, confirm in 0u64..100_000, backoff: u64, jitter: f64,
        calls in prop::collection::vec(0u8..4, 0..60),
    ) {
        let settings = HealthSettings {
            interval: Duration::from_millis(interval),
            confirm_interval: Duration::from_millis(confirm),
            max_backoff: Duration::from_millis(backoff),
            jitter,
            ..HealthSettings::default()
        };
        let now = Instant::now();
        let mut schedule = Schedule::new(7, now);
        for call in calls {
            match call {
                0 => schedule.start(),
                1 => schedule.hurry(&settings, now),
                2 => schedule.finish(Pace::Backoff, &settings, Duration::ZERO, now),
                _ => schedule.finish(Pace::Confirm, &settings, Duration::ZERO, now),
            }
            prop_assert!(schedule.due().is_none_or(|due| due >= now));
        }
    }
}

#[test]
fn what_a_probe_took_counts_as_waited_when_the_next_one_confirms_it() {
    let now = Instant::now();
    for (pace, took, wait) in [
        (Pace::Confirm, 30, 70),
        (Pace::Confirm, 200, 0),
        (Pace::Steady, 200, 1000),
        (Pace::Backoff, 200, 1000),
    ] {
        let mut schedule = Schedule::new(1, now);
        schedule.start();
        schedule.finish(pace, &exact(), Duration::from_millis(took), now);
        assert_eq!(schedule.due(), Some(now + Duration::from_millis(wait)), "{pace:?} {took}");
    }
}
