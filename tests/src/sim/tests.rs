//! The goals on a small cluster, and that chance is the only thing that a seed changes.

use super::*;

#[test]
fn a_hundred_nodes_meet_every_goal_in_every_scenario() {
    let cases: Vec<_> = Scenario::value_variants().iter().map(|scenario| (*scenario, 3)).collect();
    for run in run_all(&cases, 100, 1).expect("good settings") {
        assert_eq!(run.misses(), Vec::<String>::new(), "{}", run.scenario.name());
        let figures = run.figures();
        // One probe a second from each node, and about as many pings: an answered probe counts as one.
        assert!((80.0..130.0).contains(&figures.probes_calm), "{figures:?}");
        assert!((95.0..140.0).contains(&figures.pings_calm), "{figures:?}");
        assert!(run.counts.transitions > 100, "the nodes saw nothing: {figures:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let run = run_one(Scenario::Crash, 3, 20, seed).expect("good settings");
        (run.events, run.counts.active)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
