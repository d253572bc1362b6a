//! What makes a death, and above all what does not.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Silences one after another, each of so many milliseconds, the way a dead backend is probed.
struct Probed {
    death: Death,
    now: Instant,
}

impl Probed {
    fn new() -> Self {
        Self { death: Death::default(), now: Instant::now() }
    }

    fn probe(&mut self, outcome: &Outcome, takes: u32, witnessed: bool) -> bool {
        let start = self.now;
        self.now += MS * takes;
        self.death.probed(outcome, start, witnessed, true, self.now)
    }
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Ready,
        Outcome::NotReady { status: 500 },
        Outcome::NotServing { reason: String::from("because") },
        Outcome::Unauthorized,
        Outcome::CredentialsRefused,
        Outcome::Refused,
        Outcome::Reset,
        Outcome::TlsFailed { reason: String::from("because") },
        Outcome::Slow,
        Outcome::Closed,
    ]
}

#[test]
fn three_witnessed_silences_over_half_a_second_are_a_death_and_so_is_each_after() {
    let mut probed = Probed::new();
    let closes: Vec<_> = (0..5).map(|_| probed.probe(&Outcome::Silent, 200, true)).collect();
    assert_eq!(closes, [false, false, true, true, true]);
}

#[test]
fn three_within_less_are_not_enough() {
    let mut probed = Probed::new();
    let closes: Vec<_> = (0..6).map(|_| probed.probe(&Outcome::Unreachable, 100, true)).collect();
    assert_eq!(closes, [false, false, false, false, true, true]);
}

#[test]
fn a_silence_that_nobody_witnessed_starts_the_count_anew_and_takes_back_a_death() {
    let mut probed = Probed::new();
    for witnessed in [true, true, false, true, true] {
        assert!(!probed.probe(&Outcome::Silent, 300, witnessed));
    }
    assert!(probed.probe(&Outcome::Silent, 300, true));
    assert!(!probed.probe(&Outcome::Silent, 300, false));
    assert!(!probed.probe(&Outcome::Silent, 300, true));
}

#[test]
fn whatever_shows_that_somebody_is_there_starts_the_count_anew() {
    for sign in outcomes() {
        let mut probed = Probed::new();
        for outcome in [&Outcome::Silent, &Outcome::Silent, &sign, &Outcome::Silent] {
            assert!(!probed.probe(outcome, 300, true), "{sign}");
        }
        assert!(!probed.probe(&Outcome::Silent, 300, true), "{sign}");
        assert!(probed.probe(&Outcome::Silent, 300, true), "{sign}");
        assert!(!probed.probe(&sign, 300, true), "{sign}");
        assert!(!probed.probe(&Outcome::Silent, 300, true), "{sign}");
    }
}

#[test]
fn no_outcome_but_silence_is_a_death_however_often() {
    for outcome in outcomes().into_iter().chain([Outcome::Hung]) {
        let mut probed = Probed::new();
        assert!((0..20).all(|_| !probed.probe(&outcome, 2000, true)), "{outcome}");
    }
}

#[test]
fn a_fault_of_this_host_neither_counts_nor_ends_a_count() {
    let local = Outcome::Local { reason: String::from("no file descriptor") };
    let mut probed = Probed::new();
    for outcome in [&Outcome::Silent, &local, &Outcome::Silent, &local] {
        assert!(!probed.probe(outcome, 200, true));
    }
    assert!(probed.probe(&Outcome::Silent, 200, true));
}

#[test]
fn a_hung_probe_agrees_with_the_freeze_that_its_sentinel_found_and_makes_no_death() {
    let mut probed = Probed::new();
    assert!(!probed.probe(&Outcome::Hung, 2000, true));
    probed.death.frozen();
    assert!(probed.probe(&Outcome::Hung, 2000, true));
    assert!(probed.probe(&Outcome::Silent, 200, true), "its host died as well");
    assert!(!probed.probe(&Outcome::Hung, 2000, false), "nobody saw it");
    assert!(!probed.probe(&Outcome::Hung, 2000, true));
}

#[test]
fn nothing_is_closed_before_the_backend_is_out_of_service() {
    let mut death = Death::default();
    let start = Instant::now();
    let mut now = start;
    for _ in 0..5 {
        now += 300 * MS;
        assert!(!death.probed(&Outcome::Silent, now - 300 * MS, true, false, now));
    }
    assert!(death.probed(&Outcome::Silent, now, true, true, now + 300 * MS));
}

#[test]
fn a_witness_of_a_later_silence_must_have_been_asked_after_the_first_began() {
    let mut probed = Probed::new();
    assert_eq!(probed.death.first(), None);
    let start = probed.now;
    probed.probe(&Outcome::Silent, 200, true);
    assert_eq!(probed.death.first(), Some(start));
    probed.probe(&Outcome::Silent, 200, true);
    assert_eq!(probed.death.first(), Some(start));
}

#[test]
fn a_kernel_that_accepts_between_silences_is_alive() {
    let mut probed = Probed::new();
    for _ in 0..5 {
        for outcome in [Outcome::Silent, Outcome::Hung] {
            assert!(!probed.probe(&outcome, 300, true), "closed although its kernel accepted");
        }
    }
}

#[test]
fn one_silence_before_a_hang_is_near_no_death() {
    let mut probed = Probed::new();
    probed.probe(&Outcome::Silent, 300, true);
    for _ in 0..100 {
        probed.probe(&Outcome::Hung, 2000, true);
    }
    assert!(!probed.death.is_near(), "an alert without an end");
}

#[test]
fn after_silences_of_all_the_silence_of_one_must_last_as_long_as_those_did() {
    for (unwitnessed, expected) in [(1, 500), (2, 600), (10, 3000), (100, 5000)] {
        let mut probed = Probed::new();
        assert!((0..unwitnessed).all(|_| !probed.probe(&Outcome::Silent, 300, false)));
        let start = probed.now;
        while !probed.probe(&Outcome::Silent, 100, true) {}
        assert_eq!(probed.now.duration_since(start), MS * expected, "{unwitnessed}");
    }
}

#[test]
fn an_answer_ends_what_was_not_witnessed() {
    let mut probed = Probed::new();
    for outcome in [&Outcome::Silent, &Outcome::Silent, &Outcome::Refused] {
        probed.probe(outcome, 1000, false);
    }
    let closes: Vec<_> = (0..3).map(|_| probed.probe(&Outcome::Silent, 200, true)).collect();
    assert_eq!(closes, [false, false, true]);
}
