//! Random operations against the machine, with what must hold after each of them.
//!
//! Probes are answered whenever the operations say so, in any order or not at all.

use std::time::{Duration, Instant};

use nllb_core::{BackendId, Machine, Outcome, Via};
use proptest::prelude::*;

#[path = "invariants/driver.rs"]
mod driver;
#[path = "invariants/ledger.rs"]
mod ledger;
#[path = "invariants/model.rs"]
mod model;
#[path = "invariants/operations.rs"]
mod operations;
#[path = "invariants/promises.rs"]
mod promises;

use driver::Driver;
use ledger::{Ledger, Who};
use operations::{Operation, operation, settings};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(
        first in 0..operations::SETTINGS, seed: u32,
        operations in prop::collection::vec(operation(), 0..150),
    ) {
        let mut driver = Driver::new(first, seed);
        for operation in &operations {
            driver.perform(operation);
        }
    }

    #[test]
    fn an_agent_that_takes_over_the_maps_of_another_changes_no_pool_and_no_frontend(
        first in 0..operations::SETTINGS, seed: u32,
        operations in prop::collection::vec(operation(), 0..100),
        last in 0..operations::SETTINGS,
    ) {
        let mut driver = Driver::new(first, seed);
        for operation in operations.iter().chain([&Operation::Settings(last)]) {
            driver.perform(operation);
        }
        let mut heir = Machine::new(settings(last), seed, driver.now).expect("good settings");
        heir.adopt_table(&driver.maps);
        prop_assert_eq!(&heir.table().frontends, &driver.maps.frontends);
        prop_assert_eq!(&heir.table().pools, &driver.maps.pools);
        // Those of pools without a frontend are in no map.
        for (pool, before) in heir.view().pools.iter().zip(driver.machine.view().pools) {
            let fronts = heir.view().frontends;
            if !fronts.iter().any(|front| front.pool == pool.name) {
                continue;
            }
            for (heirs, before) in pool.backends.iter().zip(before.backends) {
                prop_assert_eq!((heirs.id, heirs.epoch), (before.id, before.epoch));
                let verdict = driver.maps.verdicts[&before.id.0];
                prop_assert_eq!(heir.table().verdicts[&heirs.id.0], verdict);
            }
        }
    }

    #[test]
    fn hints_bring_at_most_one_early_probe_per_confirm_interval(
        waits in prop::collection::vec(1u64..20, 1..300), pick: prop::sample::Index,
    ) {
        let mut driver = Driver::new(0, 1);
        let start = driver.now;
        let mut probes = 0;
        for wait in waits {
            driver.perform(&Operation::Wait(wait));
            let ready = || Operation::Answer {
                pick, outcome: Outcome::Ready, certificate: None,
            };
            probes += driver.probes.keys().filter(|(id, _)| id.0 == 0).count();
            while !driver.probes.is_empty() {
                driver.perform(&ready());
            }
            driver.perform(&Operation::Evidence { id: 0, epoch: 1 });
        }
        let millis = driver.now.duration_since(start).as_millis();
        // One at the start, one early one per 100 ms, one by the clock per 900 ms at most.
        let most = 2 + millis / 100 + millis / 900;
        prop_assert!(probes as u128 <= most, "{} probes in {} ms", probes, millis);
    }
}

/// Closes a backend that was silent three times, each time beside the one answer of another. That one
/// leaves the pool before `leaves` of these.
fn bury_beside_a_witness_that_leaves_before_silence(leaves: u64) {
    let (dead, witness): (Who, Who) = ((BackendId(0), 1), (BackendId(1), 1));
    let pool = |who: &[Who]| who.iter().map(|who| (*who, "a".to_owned())).collect::<Vec<_>>();
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut ledger = Ledger::default();
    ledger.arrange(pool(&[dead, witness]).into_iter());
    for silence in 0..3 {
        if silence == leaves {
            ledger.arrange(pool(&[dead]).into_iter());
        }
        let from = at(300 * silence);
        ledger.probed(witness, (from, Via::Fresh), &Outcome::Ready, at(300 * silence + 1));
        ledger.probed(dead, (from, Via::Fresh), &Outcome::Silent, at(300 * silence + 100));
    }
    ledger.arrange(pool(&[dead]).into_iter());
    ledger.buried(dead, at(700));
}

#[test]
fn who_saw_a_silence_and_left_the_pool_since_has_seen_it() {
    bury_beside_a_witness_that_leaves_before_silence(3);
}

#[test]
#[should_panic(expected = "closed without a death")]
fn what_is_said_after_leaving_the_pool_is_no_testimony() {
    bury_beside_a_witness_that_leaves_before_silence(2);
}
