//! The machine on networks in virtual time: weak, silent, starved, with servers that die or freeze.
//!
//! Packets are lost by a seed and TCP sends them again as Linux does, so minutes pass in milliseconds
//! and every run is the same.

use std::time::{Duration, Instant};

use nllb_common::maps::State;
use nllb_core::HealthSettings;
use proptest::prelude::*;

#[path = "network/node.rs"]
mod node;
#[path = "network/path.rs"]
mod path;
#[path = "network/tcp.rs"]
mod tcp;

use node::Node;
use path::Path;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn born(paths: Vec<Path>, seed: u32) -> Node {
    Node::new(paths, HealthSettings::default(), seed)
}

/// A node whose servers are all known to be well.
fn settled(paths: Vec<Path>, seed: u32) -> Node {
    let mut node = born(paths, seed);
    node.run(15 * SECOND);
    node.forget();
    node
}

#[test]
fn ten_minutes_of_five_percent_loss_cause_no_transition_near_or_far() {
    for (rtt, jitter) in [(200 * MS, 10 * MS), (20 * MS, 2 * MS), (MS, Duration::ZERO)] {
        for seed in 0..10 {
            let path = Path { jitter, loss: 500, ..Path::new(rtt) };
            let mut node = born(vec![path; 3], seed);
            node.run(600 * SECOND);
            for told in &node.told {
                assert_eq!(told.transitions.len(), 1, "{rtt:?}, seed {seed}: {told:?}");
                assert_eq!(told.closes, [], "{rtt:?}, seed {seed}");
                assert!(told.doubted < 60 * SECOND, "{rtt:?}, seed {seed}: {:?}", told.doubted);
            }
        }
    }
}

#[test]
fn a_lost_syn_costs_a_backend_less_than_a_quarter_of_a_second() {
    for rtt in [MS, 20 * MS, 200 * MS] {
        let settings = HealthSettings { fresh_every: 1, ..HealthSettings::default() };
        let mut node = Node::new(vec![Path::new(rtt); 3], settings, 1);
        node.run(15 * SECOND);
        node.run_to_next_probe(1);
        node.forget();
        // Only what is sent now is lost.
        node.paths[1].silent.push((node.now, node.now + MS / 2));
        node.run(10 * SECOND);
        let told = &node.told[1];
        assert_eq!(told.transitions, [], "{rtt:?}");
        assert!(told.doubted <= 250 * MS, "{rtt:?}: {:?}", told.doubted);
    }
}

#[test]
fn calm_costs_a_backend_little() {
    for seed in 0..5 {
        let paths = [MS / 5, MS, 5 * MS, 40 * MS, 150 * MS].map(Path::new);
        let mut node = settled(paths.to_vec(), seed);
        node.run(600 * SECOND);
        for told in &node.told {
            assert!(told.probes <= 600 * 12 / 10, "{} probes", told.probes);
            assert!(told.pings <= 600 * 2, "{} pings", told.pings);
            assert!(told.probes >= 480 && told.pings >= 480, "{told:?}");
            assert_eq!((told.transitions.len(), told.doubted), (0, Duration::ZERO));
        }
    }
}

#[test]
fn a_backend_that_flaps_for_a_minute_moves_a_few_times_only() {
    let mut node = settled(vec![Path::new(MS); 3], 1);
    for down in 0..15 {
        let from = node.now + 4 * SECOND * down;
        node.paths[1].gone.push((from, from + 2 * SECOND));
    }
    node.run(60 * SECOND);
    let transitions = node.told[1].transitions.len();
    assert!((3..=8).contains(&transitions), "{:?}", node.told[1].transitions);
    assert_eq!(node.told[0].transitions, []);
    node.run(60 * SECOND);
    assert_eq!(node.state(1), State::Healthy, "it came back to stay");
}

#[test]
fn an_agent_that_did_not_run_blames_nobody() {
    for seed in 0..20 {
        let mut node = settled(vec![Path::new(MS); 3], seed);
        for starved in [200, 900, 1500, 3000, 30_000] {
            node.starve(MS * starved);
            node.run(MS * 700);
            node.starve(MS * starved);
            node.run(5 * SECOND);
        }
        for told in &node.told {
            assert_eq!((told.transitions.len(), told.closes.len()), (0, 0), "{told:?}");
        }
    }
}

#[test]
fn a_process_that_was_stopped_for_less_than_a_second_loses_no_connection() {
    for seed in 0..20 {
        let mut node = settled(vec![Path::new(MS); 3], seed);
        let from = node.now + MS * (seed * 37);
        node.paths[1].frozen.push((from, from + 900 * MS));
        node.run(20 * SECOND);
        let told = &node.told[1];
        assert_eq!((told.transitions.len(), told.closes.len()), (0, 0), "{told:?}");
    }
}

fn millis(range: std::ops::Range<u32>) -> impl Strategy<Value = Duration> {
    range.prop_map(|millis| MS * millis)
}

fn paths(
    rtt: std::ops::Range<u32>,
    loss: std::ops::Range<u64>,
) -> impl Strategy<Value = Vec<Path>> {
    let path = (rtt, 0u32..5, loss).prop_map(|(rtt, jitter, loss)| Path {
        jitter: MS * jitter,
        loss,
        ..Path::new(MS / 5 * rtt)
    });
    prop::collection::vec(path, 3..6)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn when_all_are_silent_at_once_nothing_is_closed_whatever_the_timing(
        paths in paths(1..1250, 0..100), seed: u32,
        outages in prop::collection::vec((millis(0..3000), millis(20..6000)), 1..4),
    ) {
        let mut node = settled(paths, seed);
        let mut at = node.now;
        for (calm, silent) in outages {
            at += calm;
            for path in &mut node.paths {
                path.silent.push((at, at + silent));
            }
            at += silent;
        }
        node.run(at.duration_since(node.now) + 60 * SECOND);
        for (backend, told) in node.told.iter().enumerate() {
            prop_assert_eq!(&told.closes, &[], "{:?}", told);
            prop_assert_eq!(node.state(backend), State::Healthy);
        }
    }

    #[test]
    fn however_servers_come_and_go_they_move_a_bounded_number_of_times_and_the_steady_one_never(
        paths in paths(1..20, 0..50), seed: u32,
        falls in prop::collection::vec((0usize..4, 0usize..3, millis(0..60_000), millis(1..4000)), 0..80),
    ) {
        let mut node = settled(paths, seed);
        let now = node.now;
        let steady = node.paths.len() - 1;
        for (backend, kind, after, lasts) in falls {
            let path = &mut node.paths[backend % steady];
            let spans = [&mut path.silent, &mut path.gone, &mut path.frozen];
            let [silent, gone, frozen] = spans;
            let spans = match kind {
                0 => silent,
                1 => gone,
                _ => frozen,
            };
            spans.push((now + after, now + after + lasts));
        }
        node.run(60 * SECOND);
        prop_assert_eq!(&node.told[steady].transitions, &[]);
        for told in &node.told {
            // Damping allows nine losses in a minute, and each is followed by a return.
            prop_assert!(told.transitions.len() <= 27, "{:?}", told.transitions);
        }
        node.run(120 * SECOND);
        prop_assert!((0..node.paths.len()).all(|backend| node.state(backend) == State::Healthy));
    }

    #[test]
    fn whoever_returns_late_from_a_silence_of_all_keeps_its_connections(
        paths in paths(1..100, 0..1), seed: u32, silent in millis(300..6000), frozen: bool,
        late in prop::collection::vec(0u32..50, 6),
        reloads in prop::collection::vec(millis(0..3000), 0..4),
    ) {
        let mut node = settled(paths, seed);
        let now = node.now;
        for (path, late) in node.paths.iter_mut().zip(late) {
            let span = (now, now + silent + (silent / 100 * late).min(4 * SECOND));
            if frozen { path.frozen.push(span) } else { path.silent.push(span) }
        }
        for after in reloads {
            node.run(after);
            node.reload();
        }
        node.run(60 * SECOND);
        for (backend, told) in node.told.iter().enumerate() {
            prop_assert_eq!(&told.closes, &[], "{:?}", told);
            prop_assert_eq!(node.state(backend), State::Healthy);
        }
    }

    #[test]
    fn servers_that_lose_their_power_are_left_at_once_and_their_connections_closed(
        paths in paths(1..10, 0..1), seed: u32, wait in millis(0..2000), dead in 1usize..5,
    ) {
        let mut node = settled(paths, seed);
        node.run(wait);
        let struck = strike(&mut node, dead, |path, now| path.silent.push((now, now + 3600 * SECOND)));
        node.run(10 * SECOND);
        left_and_closed(&node, struck, 2000 * MS)?;
    }

    #[test]
    fn processes_that_freeze_are_left_at_once_and_their_connections_closed(
        paths in paths(1..10, 0..1), seed: u32, wait in millis(0..2000), dead in 1usize..5,
    ) {
        let mut node = settled(paths, seed);
        node.run(wait);
        let struck = strike(&mut node, dead, |path, now| path.frozen.push((now, now + 30 * SECOND)));
        node.run(20 * SECOND);
        left_and_closed(&node, struck, 1900 * MS)?;
        node.run(60 * SECOND);
        prop_assert!((0..node.paths.len()).all(|backend| node.state(backend) == State::Healthy));
    }
}

/// Lets so many paths fail from now on, but not all; how many, and when that was.
fn strike(node: &mut Node, dead: usize, fail: impl Fn(&mut Path, Instant)) -> (usize, Instant) {
    let (dead, now) = (dead.min(node.paths.len() - 1), node.now);
    node.paths[..dead].iter_mut().for_each(|path| fail(path, now));
    (dead, now)
}

/// Who was struck is avoided at once and has its connections closed in time, and nobody else.
fn left_and_closed(
    node: &Node,
    (dead, struck): (usize, Instant),
    in_time: Duration,
) -> Result<(), TestCaseError> {
    for (backend, told) in node.told.iter().enumerate() {
        if backend < dead {
            let avoided = told.avoided.expect("it is avoided").duration_since(struck);
            prop_assert!(avoided <= 900 * MS, "{avoided:?}");
            let closed = told.closes.first().expect("they are closed").duration_since(struck);
            prop_assert!(closed <= in_time, "{closed:?}");
        } else {
            prop_assert_eq!((&told.closes[..], &told.transitions[..]), (&[][..], &[][..]));
        }
    }
    Ok(())
}
