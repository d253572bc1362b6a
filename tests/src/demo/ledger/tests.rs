//! The arithmetic of the summary.

use super::*;

pub(crate) fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

fn attempt(start: Instant, began: u64, ended: u64, result: Result<&str, &str>) -> Attempt {
    Attempt {
        began: at(start, began),
        ended: at(start, ended),
        result: result.map(str::to_owned).map_err(|error| Failure::Connect(error.to_owned())),
    }
}

fn health(name: &str, state: &str, since: Instant) -> Health {
    Health {
        name: name.to_owned(),
        address: "10.86.0.11:6443".to_owned(),
        state: state.to_owned(),
        since,
        reason: "because".to_owned(),
    }
}

#[test]
fn a_fault_that_a_client_feels_counts_from_the_fault_to_the_success_after_the_failure() {
    let start = Instant::now();
    let mut ledger = Ledger::new(start);
    ledger.attempt(&attempt(start, 0, 1, Ok("cp0")));
    ledger.strike(at(start, 10), Kind::PowerOff, "cp0");
    ledger.attempt(&attempt(start, 11, 12, Ok("cp1")));
    ledger.attempt(&attempt(start, 12, 124, Err("ETIMEDOUT")));
    ledger.attempt(&attempt(start, 124, 125, Ok("cp2")));
    let fault = &ledger.faults[0];
    assert_eq!(fault.failover, Some(Duration::from_millis(115)));
    assert_eq!(fault.blackout, Duration::from_millis(113));
    assert_eq!((fault.failed, ledger.ok, ledger.failed), (1, 3, 1));
}

#[test]
fn a_later_failure_makes_the_blackout_no_longer_than_it_was() {
    let start = Instant::now();
    let mut ledger = Ledger::new(start);
    ledger.strike(start, Kind::Crash, "cp0");
    ledger.attempt(&attempt(start, 1, 2, Err("ECONNREFUSED")));
    ledger.attempt(&attempt(start, 2, 3, Ok("cp1")));
    ledger.attempt(&attempt(start, 500, 501, Err("ECONNREFUSED")));
    ledger.attempt(&attempt(start, 501, 502, Ok("cp1")));
    let fault = &ledger.faults[0];
    assert_eq!(fault.failover, Some(Duration::from_millis(3)));
    assert_eq!(fault.failed, 2);
}

#[test]
fn a_connection_that_is_cut_off_is_no_failed_connect() {
    let start = Instant::now();
    let mut ledger = Ledger::new(start);
    ledger.strike(start, Kind::Crash, "cp0");
    let cut = Attempt {
        result: Err(Failure::Cut("ECONNRESET".to_owned())),
        ..attempt(start, 0, 1, Ok("cp0"))
    };
    ledger.attempt(&cut);
    ledger.attempt(&attempt(start, 1, 2, Ok("cp1")));
    let fault = &ledger.faults[0];
    assert_eq!((fault.failed, fault.cut, ledger.failed, ledger.cut), (0, 1, 0, 1));
    assert_eq!(fault.failover, Some(Duration::from_millis(2)));
}

#[test]
fn a_connect_that_began_before_the_fault_is_no_success_after_it() {
    let start = Instant::now();
    let mut ledger = Ledger::new(start);
    ledger.strike(at(start, 10), Kind::Crash, "cp0");
    ledger.attempt(&attempt(start, 9, 11, Ok("cp1")));
    assert_eq!(ledger.faults[0].failover, None);
    ledger.attempt(&attempt(start, 11, 14, Ok("cp1")));
    assert_eq!(ledger.faults[0].failover, Some(Duration::from_millis(4)));
}

#[test]
fn a_fault_is_overcome_when_the_agent_has_taken_the_server_out_and_back_in() {
    let start = Instant::now();
    let mut ledger = Ledger::new(start);
    ledger.look(start, vec![health("cp0", "healthy", start)]);
    ledger.strike(at(start, 10), Kind::Crash, "cp0");
    ledger.attempt(&attempt(start, 11, 12, Ok("cp1")));
    ledger.look(at(start, 20), vec![health("cp0", "healthy", start)]);
    assert_eq!(ledger.faults[0].detected, None);
    ledger.look(at(start, 200), vec![health("cp0", "unhealthy", at(start, 130))]);
    assert_eq!(ledger.faults[0].detected, Some(Duration::from_millis(120)));
    ledger.restore(at(start, 1000));
    ledger.look(at(start, 1100), vec![health("cp0", "unhealthy", at(start, 130))]);
    assert!(!ledger.faults[0].is_overcome());
    ledger.look(at(start, 1500), vec![health("cp0", "healthy", at(start, 1400))]);
    assert_eq!(ledger.faults[0].readmitted, Some(Duration::from_millis(400)));
    assert!(ledger.faults[0].is_overcome());
}

#[test]
fn connects_per_second_are_those_of_the_last_second() {
    let start = Instant::now();
    let mut ledger = Ledger::new(start);
    for tick in 0..30 {
        ledger.ok += if tick < 10 { 1000 } else { 100 };
        ledger.look(at(start, tick * 100), Vec::new());
    }
    assert_eq!(ledger.per_second(), 1000);
}

#[test]
fn milliseconds_have_a_decimal_only_while_they_are_few() {
    assert_eq!(ms(Duration::from_micros(260)), "0.3 ms");
    assert_eq!(ms(Duration::from_micros(112_400)), "112 ms");
}
