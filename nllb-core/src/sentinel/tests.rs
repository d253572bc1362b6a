//! When a sentinel is opened, and when not.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> HealthSettings {
    HealthSettings { jitter: 0.0, ..HealthSettings::default() }
}

fn born(now: Instant) -> Sentinel {
    let mut sentinel = Sentinel::new(1, now);
    sentinel.configure(&settings());
    sentinel
}

/// Opens it.
fn up(sentinel: &mut Sentinel, now: Instant) {
    sentinel.wanted(&settings(), now);
    sentinel.open(now);
    assert_eq!(sentinel.up(&settings(), now), Some(now));
}

#[test]
fn it_is_opened_once_a_probe_is_answered_and_not_before() {
    let now = Instant::now();
    let mut sentinel = born(now);
    assert_eq!(sentinel.open_at(), None);
    sentinel.wanted(&settings(), now);
    assert_eq!(sentinel.open_at(), Some(now));
    sentinel.unwanted();
    assert_eq!(sentinel.open_at(), None);
}

#[test]
fn the_opening_is_spread_over_an_interval() {
    let now = Instant::now();
    let spread: Vec<_> = (0..100)
        .map(|seed| {
            let mut sentinel = Sentinel::new(seed, now);
            sentinel.configure(&HealthSettings::default());
            sentinel.wanted(&HealthSettings::default(), now);
            sentinel.open_at().expect("planned").duration_since(now)
        })
        .collect();
    assert!(spread.iter().all(|wait| *wait <= SECOND));
    assert!(spread.iter().any(|wait| *wait > SECOND * 3 / 4));
    assert!(spread.iter().any(|wait| *wait < SECOND / 4));
}

#[test]
fn attempts_that_come_to_nothing_are_made_ever_more_seldom() {
    let mut now = Instant::now();
    let mut sentinel = born(now);
    let mut waits = Vec::new();
    for round in 0..9 {
        sentinel.wanted(&settings(), now);
        let at = sentinel.open_at().expect("planned");
        waits.push(at.duration_since(now).as_secs_f64());
        now = at;
        sentinel.open(now);
        // It makes no difference whether it fails or ends at once.
        if round % 2 == 0 {
            sentinel.failed(None, now);
        } else {
            sentinel.up(&settings(), now);
            assert!(sentinel.ended(now));
        }
    }
    let expected = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0];
    for (wait, expected) in waits.iter().zip(expected) {
        assert!((wait - expected).abs() <= expected * 0.101, "{waits:?}");
    }
}

#[test]
fn one_that_lived_is_replaced_at_once() {
    let now = Instant::now();
    let mut sentinel = born(now);
    up(&mut sentinel, now);
    let later = now + 30 * SECOND;
    assert!(sentinel.ended(later));
    sentinel.wanted(&settings(), later);
    assert_eq!(sentinel.open_at(), Some(later));
}

#[test]
fn a_server_without_http2_is_tried_again_after_ten_minutes() {
    let now = Instant::now();
    let mut sentinel = born(now);
    sentinel.wanted(&settings(), now);
    sentinel.open(now);
    sentinel.no_http2(now);
    sentinel.wanted(&settings(), now + SECOND);
    let wait = sentinel.open_at().expect("planned").duration_since(now);
    assert!((540..=660).contains(&wait.as_secs()), "{wait:?}");
}

#[test]
fn why_an_attempt_came_to_nothing_is_kept_until_the_next() {
    let now = Instant::now();
    let mut sentinel = born(now);
    sentinel.wanted(&settings(), now);
    sentinel.open(now);
    sentinel.failed(Some(Outcome::Reset), now);
    let failed = |sentinel: &Sentinel| match sentinel.phase() {
        Phase::Down { failed, .. } => failed.clone(),
        Phase::Off | Phase::Opening { .. } | Phase::Up { .. } => None,
    };
    sentinel.wanted(&settings(), now);
    assert_eq!(failed(&sentinel), Some(Outcome::Reset));
    sentinel.open(now);
    sentinel.up(&settings(), now);
    sentinel.ended(now);
    assert_eq!(failed(&sentinel), None);
}

#[test]
fn what_nobody_asked_for_changes_nothing() {
    let now = Instant::now();
    let mut sentinel = born(now);
    assert_eq!(sentinel.up(&settings(), now), None);
    sentinel.failed(None, now);
    sentinel.no_http2(now);
    assert!(!sentinel.ended(now));
    assert!(matches!(
        sentinel.phase(),
        Phase::Down { open_at: None, no_http2: false, failed: None }
    ));
}

#[test]
fn one_that_is_opened_anew_owes_no_pong() {
    let now = Instant::now();
    let mut sentinel = born(now);
    up(&mut sentinel, now);
    sentinel.pinged(&settings(), SECOND, now);
    assert_eq!(sentinel.ping().and_then(|ping| ping.due(None)), None);
    assert_eq!(sentinel.up(&settings(), now + SECOND), Some(now + SECOND));
    assert!(sentinel.ping().and_then(|ping| ping.due(None)).is_some());
}

#[test]
fn settings_that_want_none_end_it_and_others_let_it_come_back() {
    let now = Instant::now();
    let mut sentinel = born(now);
    up(&mut sentinel, now);
    sentinel.configure(&HealthSettings { sentinel: false, ..settings() });
    assert!(matches!(sentinel.phase(), Phase::Off));
    sentinel.wanted(&settings(), now);
    assert_eq!(sentinel.open_at(), None);
    sentinel.configure(&settings());
    sentinel.wanted(&settings(), now);
    assert!(sentinel.open_at().is_some());
}

/// Every place that a sentinel can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Off,
    Down,
    Planned,
    Opening,
    Up,
    NoHttp2,
}

const PLACES: [Place; 6] =
    [Place::Off, Place::Down, Place::Planned, Place::Opening, Place::Up, Place::NoHttp2];

fn at(place: Place, now: Instant) -> Sentinel {
    let mut sentinel = Sentinel::new(1, now);
    if place != Place::Off {
        sentinel.configure(&settings());
    }
    if !matches!(place, Place::Off | Place::Down) {
        sentinel.wanted(&settings(), now);
    }
    if !matches!(place, Place::Off | Place::Down | Place::Planned) {
        sentinel.open(now);
    }
    match place {
        Place::Off | Place::Down | Place::Planned | Place::Opening => {}
        Place::Up => assert!(sentinel.up(&settings(), now).is_some()),
        Place::NoHttp2 => sentinel.no_http2(now),
    }
    sentinel
}

fn place(sentinel: &Sentinel) -> Place {
    match sentinel.phase() {
        Phase::Off => Place::Off,
        Phase::Down { no_http2: true, open_at: None, .. } => Place::NoHttp2,
        Phase::Down { open_at: None, .. } => Place::Down,
        Phase::Down { open_at: Some(_), .. } => Place::Planned,
        Phase::Opening { .. } => Place::Opening,
        Phase::Up { .. } => Place::Up,
    }
}

#[test]
fn everything_that_can_be_heard_leads_from_every_place_where_the_table_says() {
    use Place::{Down, NoHttp2, Off, Opening, Planned, Up};
    type Event = fn(&mut Sentinel, Instant);
    let events: [(&str, Event); 6] = [
        ("answered", |sentinel, now| sentinel.wanted(&settings(), now)),
        ("unanswered", |sentinel, _| sentinel.unwanted()),
        ("up", |sentinel, now| {
            sentinel.up(&settings(), now);
        }),
        ("failed", |sentinel, now| sentinel.failed(Some(Outcome::Refused), now)),
        ("no HTTP/2", Sentinel::no_http2),
        ("ended", |sentinel, now| {
            sentinel.ended(now);
        }),
    ];
    #[rustfmt::skip]
    let table = [
        //          Off  Down     Planned  Opening  Up     NoHttp2
        /* answered   */ [Off, Planned, Planned, Opening, Up,   Planned],
        /* unanswered */ [Off, Down,    Down,    Opening, Up,   NoHttp2],
        /* up         */ [Off, Down,    Planned, Up,      Up,   NoHttp2],
        /* failed     */ [Off, Down,    Planned, Down,    Up,   NoHttp2],
        /* no HTTP/2  */ [Off, Down,    Planned, NoHttp2, Up,   NoHttp2],
        /* ended      */ [Off, Down,    Planned, Down,    Down, NoHttp2],
    ];
    let now = Instant::now();
    for ((name, event), row) in events.into_iter().zip(table) {
        for (from, to) in PLACES.into_iter().zip(row) {
            let mut sentinel = at(from, now);
            assert_eq!(place(&sentinel), from);
            event(&mut sentinel, now);
            assert_eq!(place(&sentinel), to, "{from:?}, {name}");
        }
    }
}
