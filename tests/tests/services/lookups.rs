//! Real resolvers over UDP while one of three name servers loses its power.

use std::time::Duration;

use nllb_lab::lookups::{Lookup, resolvers};

use super::*;

/// How long lookups are made.
const LASTING: Duration = Duration::from_secs(6);
/// When the dead server is to be left for sure: twice what is promised, since the machine may be busy.
const RECOVERED: Duration = Duration::from_secs(4);

/// How many began when the dead server is to be left, how many of those were slow, and how many failed in all.
fn told(what: &str, lookups: &[Lookup]) -> (usize, usize, usize) {
    let slow = |one: &&Lookup| one.is_slow();
    let failed = lookups.iter().filter(|one| !one.good).count();
    println!(
        "{what}: {} lookups, {failed} failed, {} needed more than one try, the slowest took {:?}, the last of these was answered {:?} after the power-off",
        lookups.len(),
        lookups.iter().filter(slow).count(),
        lookups.iter().map(|one| one.took).max().unwrap_or_default(),
        lookups.iter().filter(slow).map(Lookup::ended).max().unwrap_or_default(),
    );
    let late = lookups.iter().filter(|one| one.began >= RECOVERED);
    (late.clone().count(), late.filter(slow).count(), failed)
}

#[test]
fn lookups_leave_a_server_that_lost_its_power() {
    let Some(mut dns) = start("none", "") else { return };
    dns.await_states(&["healthy"; 3]).expect("healthy");
    let place = dns.lab.node(0).place();
    for resolver in resolvers(&dns.lab).expect("resolvers") {
        let dead = dns.lab.control_plane(0);
        dead.power_off().expect("off");
        let lookups = resolver.look_up(&place, LASTING).expect("lookups");
        let (late, slow, failed) = told(resolver.name, &lookups);
        assert_eq!(failed, 0, "{}", resolver.name);
        // Not a third any more; a busy machine may be slow by itself.
        assert!(slow * 5 <= late, "{}: {slow} of {late}", resolver.name);
        dead.power_on().expect("on");
        dns.await_states(&["healthy"; 3]).expect("healthy");
    }
}

/// The same without nllb, by the random DNAT that kube-proxy's rules are: for comparison, and proof that the
/// lab's power-off is one.
#[test]
fn random_dnat_goes_on_to_send_lookups_to_the_dead_one() {
    let Some(mut dns) = start("none", "") else { return };
    dns.await_states(&["healthy"; 3]).expect("healthy");
    dns.replace_by_random_dnat().expect("replaced");
    let place = dns.lab.node(0).place();
    dns.lab.control_plane(0).power_off().expect("off");
    for resolver in resolvers(&dns.lab).expect("resolvers") {
        let lookups = resolver.look_up(&place, LASTING).expect("lookups");
        let (late, slow, _) = told(&format!("{} by random DNAT", resolver.name), &lookups);
        assert!(slow > 0, "{}: none of {late}", resolver.name);
    }
}
