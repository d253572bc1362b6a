//! How much is told of a flood, of a silence and to who refuses.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

/// One with so many tokens taken.
fn after(taken: u32, start: Instant) -> Announcer<char, u32> {
    let mut announcer = Announcer::new(start);
    for number in 0..taken {
        announcer.add('a', number, start);
        assert!(announcer.next(start).is_some(), "{number}");
        announcer.told(Told::Taken, start);
    }
    announcer
}

#[test]
fn what_is_rare_is_told_at_once() {
    let start = Instant::now();
    let mut announcer = Announcer::new(start);
    assert_eq!((announcer.due(), announcer.next(start)), (None, None));
    announcer.add('a', 1, start);
    assert_eq!(announcer.due(), Some(start));
    let next = announcer.next(start + SECOND);
    assert_eq!(next, Some(Announcement { kind: 'a', what: 1, more: 0 }));
    announcer.add('a', 2, start + SECOND);
    assert_eq!(announcer.due(), None, "one at a time");
    announcer.told(Told::Taken, start + SECOND);
    assert!(announcer.next(start + SECOND).is_some());
}

#[test]
fn of_a_flood_the_newest_of_each_kind_is_told_with_how_many_more_there_were() {
    let start = Instant::now();
    let mut announcer = after(BURST, start);
    for number in 0..13 {
        announcer.add('a', number, start + SECOND);
    }
    announcer.add('b', 99, start + SECOND);
    assert_eq!(announcer.due(), Some(start + EVERY));
    assert_eq!(announcer.next(start + EVERY - SECOND), None);
    let next = announcer.next(start + EVERY);
    assert_eq!(next, Some(Announcement { kind: 'a', what: 12, more: 12 }));
    announcer.told(Told::Taken, start + EVERY);
    assert_eq!(announcer.due(), Some(start + 2 * EVERY));
    let next = announcer.next(start + 2 * EVERY);
    assert_eq!(next, Some(Announcement { kind: 'b', what: 99, more: 0 }));
}

#[test]
fn what_failed_is_tried_again_ever_more_seldom_and_counts_when_a_newer_one_came() {
    let start = Instant::now();
    let mut announcer = Announcer::new(start);
    announcer.add('a', 1, start);
    let mut now = start;
    for pause in [2, 4, 8] {
        assert!(announcer.next(now).is_some());
        announcer.told(Told::Failed, now);
        assert_eq!(announcer.due(), Some(now + pause * SECOND));
        now += pause * SECOND;
    }
    assert!(announcer.next(now).is_some());
    announcer.add('a', 2, now);
    announcer.told(Told::Failed, now);
    now = announcer.due().expect("it is tried again");
    assert_eq!(announcer.next(now), Some(Announcement { kind: 'a', what: 2, more: 1 }));
    announcer.told(Told::Taken, now);
    assert_eq!(announcer.due(), None);
}

#[test]
fn who_refuses_is_left_alone_for_an_hour() {
    let start = Instant::now();
    let mut announcer = Announcer::new(start);
    announcer.add('a', 1, start);
    announcer.add('b', 2, start);
    assert!(announcer.next(start).is_some());
    announcer.told(Told::Refused, start);
    assert_eq!(announcer.due(), None);
    announcer.add('a', 3, start + REFUSED_PAUSE - SECOND);
    assert_eq!(announcer.due(), None);
    announcer.add('a', 4, start + REFUSED_PAUSE);
    let next = announcer.next(start + REFUSED_PAUSE);
    assert_eq!(next, Some(Announcement { kind: 'a', what: 4, more: 0 }));
}

proptest! {
    /// Whatever happens when: never more than the bucket allows, and nothing is lost without a count.
    #[test]
    fn no_more_is_told_than_the_bucket_allows_and_each_is_told_or_counted(
        steps in proptest::collection::vec((0_u32..40, 0_u8..3, any::<bool>()), 1..300),
    ) {
        let start = Instant::now();
        let mut announcer = Announcer::new(start);
        let (mut now, mut added, mut accounted) = (start, 0_u32, 0_u32);
        let mut tries: Vec<Instant> = Vec::new();
        for (wait, kind, fails) in steps {
            now += wait * SECOND;
            announcer.add(kind, (), now);
            added += 1;
            if let Some(Announcement { more, .. }) = announcer.next(now) {
                tries.push(now);
                let told = if fails { Told::Failed } else { Told::Taken };
                announcer.told(told, now);
                accounted += if fails { 0 } else { more + 1 };
            }
        }
        let burst = BURST as usize;
        for (first, last) in tries.iter().zip(tries.iter().skip(burst)) {
            prop_assert!(*last - *first >= EVERY, "{:?}", *last - *first);
        }
        let most = u64::from(BURST) + (now - start).as_secs() / EVERY.as_secs() + 1;
        prop_assert!(tries.len() as u64 <= most);
        // Those that wait.
        now += 1000 * EVERY;
        while let Some(Announcement { more, .. }) = announcer.next(now) {
            accounted += more + 1;
            announcer.told(Told::Taken, now);
        }
        prop_assert_eq!(added, accounted);
    }
}
