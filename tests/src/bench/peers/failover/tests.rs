//! Who is slower after a fault, and in what.

use super::*;

/// A reaction to a crash with this blackout, time to leave (both in milliseconds), and number of failures.
fn reaction(peer: Peer, [blackout, left, failed]: [u64; 3]) -> Reaction {
    let ns = |ms: u64| ms * 1_000_000;
    let sample = Sample {
        blackout: vec![ns(blackout)],
        leave: Some(ns(left)),
        failed: vec![failed],
        calm_gap: vec![ns(20)],
        ..Sample::default()
    };
    Reaction::of(Fault::Crash, peer, &[sample])
}

/// In what a peer is not slower than nllb.
fn not_slower(own: [u64; 3], theirs: [u64; 3]) -> Option<What> {
    let both = [reaction(Peer::Nllb, own), reaction(Peer::Haproxy, theirs)];
    let found: Vec<_> = faster(&both).map(|(_, what, ..)| what).collect();
    assert!(found.len() < 2, "{found:?}");
    found.first().copied()
}

#[test]
fn what_is_not_seen_is_slower_than_all_that_is() {
    let (seen, later, never) = (Figure::Is(1.0), Figure::Is(2.0), Figure::Beyond(50.0));
    assert!(later.is_slower_than(seen) && never.is_slower_than(later));
    assert!(!seen.is_slower_than(seen) && !never.is_slower_than(never));
}

#[test]
fn who_hangs_is_slower_though_it_fails_less_and_leaves_sooner() {
    assert_eq!(not_slower([200, 300, 2], [5_000, 0, 0]), None);
    assert_eq!(not_slower([5_000, 0, 0], [200, 300, 2]), Some(What::Blackout));
}

#[test]
fn of_the_same_blackout_failures_decide_and_then_who_left_first() {
    assert_eq!(not_slower([200, 500, 1], [210, 100, 2]), None);
    assert_eq!(not_slower([200, 100, 2], [210, 500, 1]), Some(What::Failed));
    assert_eq!(not_slower([200, 100, 1], [190, 500, 1]), None);
    assert_eq!(not_slower([200, 500, 1], [210, 100, 1]), Some(What::Left));
    assert_eq!(not_slower([200, 100, 1], [210, 110, 1]), Some(What::Blackout), "it is as fast");
}

#[test]
fn nothing_at_all_cannot_be_improved_on() {
    assert_eq!(not_slower([0; 3], [0; 3]), None);
}
