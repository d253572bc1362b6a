//! The machine beside a small reference that knows the truth, while signals are late, lost, in another order, and cut
//! off by restarts of the agent.
//!
//! `invariants.rs` holds every decision against what was *heard*. Here the reference knows what each server *is*, and
//! counts with its own fingers what came through. So it can say what matters in the end: who is well gets connections
//! soon, who is not gets none soon, and nobody is called dead whom three silences in a row do not speak against.

use std::time::Duration;

use proptest::prelude::*;

#[path = "model/reference.rs"]
mod reference;
#[path = "model/world.rs"]
mod world;

use world::{Event, Level, SERVERS, Weather, World};

/// What the weather is like for a while, and what happens in it.
fn weather() -> impl Strategy<Value = Weather> {
    (1u64..300, 0u64..300, 0u32..40, any::<bool>()).prop_map(|(delay, spread, loss, hints)| {
        let (delay, spread) = (Duration::from_millis(delay), Duration::from_millis(spread));
        Weather { delay, spread, loss, hints }
    })
}

fn event() -> impl Strategy<Value = (Duration, Event)> {
    let level = prop_oneof![
        3 => Just(Level::Well),
        2 => Just(Level::Draining),
        2 => Just(Level::Refusing),
        2 => Just(Level::Gone),
    ];
    let event = prop_oneof![
        6 => (0..SERVERS, level).prop_map(|(server, level)| Event::Becomes(server, level)),
        2 => weather().prop_map(Event::Weather),
        1 => Just(Event::Restart),
    ];
    ((0u64..20_000).prop_map(Duration::from_millis), event)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn however_signals_travel_the_machine_agrees_with_the_truth_soon_after(
        seed: u64, first in weather(), events in prop::collection::vec(event(), 0..25),
    ) {
        let mut world = World::new(seed, first);
        for (wait, event) in &events {
            world.run(*wait);
            world.happens(event);
        }
        world.calm_down();
        world.agrees();
    }
}

#[test]
fn a_restart_in_the_middle_of_a_failover_forgets_nothing_that_is_in_the_maps() {
    let calm =
        Weather { delay: Duration::from_millis(2), spread: Duration::ZERO, loss: 0, hints: false };
    for restart_after in (0..4000).step_by(50) {
        let mut world = World::new(7, calm);
        world.run(Duration::from_secs(5));
        world.happens(&Event::Becomes(0, Level::Gone));
        world.run(Duration::from_millis(restart_after));
        let before = world.states();
        world.happens(&Event::Restart);
        assert_eq!(world.states(), before, "after {restart_after} ms");
        world.run(Duration::from_secs(10));
        world.agrees();
    }
}
