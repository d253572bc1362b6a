//! What programs that look names up feel when one of the cluster's three name servers fails: with nllb, and with the
//! random DNAT that kube-proxy's rules are, one after the other in each run.
//!
//! The resolvers of [`crate::lookups`] begin ten lookups a second each, and try again after a second. *Recovered* is
//! from the fault until the last lookup that needed more than one try has ended. With the rules that goes on until
//! the server leaves the Service, 40 s and more, so there it is the end of the window.

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::row::Spread;
use crate::cluster_dns::ClusterDns;
use crate::lab::Lab;
use crate::lookups::{Lookup, resolvers};
use crate::name_server;

/// How long lookups are begun after a fault.
const WINDOW: Duration = Duration::from_secs(8);
/// When all is as it should be again: the promise, in milliseconds.
const GOAL_MS: f64 = 2_000.0;

/// What happens to a name server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Fault {
    /// Its process is killed; its host answers that nobody listens.
    #[value(name = "dns-crash")]
    Crash,
    /// Its host vanishes.
    #[value(name = "dns-power-off")]
    PowerOff,
}

/// What stands between resolvers and name servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Nllb,
    Nftables,
}

/// A resolver before a fault, on one way, in all runs.
#[derive(Debug)]
pub(super) struct Row {
    fault: Fault,
    way: Way,
    resolver: &'static str,
    runs: usize,
    lookups: usize,
    failed: usize,
    slow: usize,
    recovered_ms: Option<Spread>,
}

impl Fault {
    pub(super) const ALL: [Self; 2] = [Self::Crash, Self::PowerOff];
    const HEALTHY: [&str; 3] = ["healthy"; 3];

    fn strike(self, dns: &mut ClusterDns, victim: usize) -> Result<()> {
        match self {
            Self::Crash => dns.servers[victim].kill(),
            Self::PowerOff => dns.lab.control_plane(victim).power_off(),
        }
    }

    fn heal(self, dns: &mut ClusterDns, victim: usize) -> Result<()> {
        match self {
            Self::Crash => dns.servers[victim].restart(),
            Self::PowerOff => dns.lab.control_plane(victim).power_on(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("none is hidden").get_name())
    }
}

/// Lets each fault strike so often, on both ways.
pub(super) fn measure(faults: &[Fault], runs: u64) -> Result<Vec<Row>> {
    let program = name_server::program().context("no dnsmasq here; set-up installs it")?;
    let build = || ClusterDns::start(Lab::builder().build()?, &program, "none", "");
    let mut ours = build()?;
    ours.await_states(&Fault::HEALTHY)?;
    let mut rules = build()?;
    rules.await_states(&Fault::HEALTHY)?;
    rules.replace_by_random_dnat()?;
    let mut rows = Vec::new();
    for fault in faults {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for number in 0..runs {
            eprintln!("nllb-lab: {fault}, {} of {runs}", number + 1);
            with.push(once(&mut ours, *fault, number)?);
            ours.await_states(&Fault::HEALTHY)?;
            without.push(once(&mut rules, *fault, number)?);
        }
        rows.extend(Row::all(*fault, Way::Nllb, &with));
        rows.extend(Row::all(*fault, Way::Nftables, &without));
    }
    Ok(rows)
}

/// What each resolver saw in a run.
type Seen = Vec<(&'static str, Vec<Lookup>)>;

fn once(dns: &mut ClusterDns, fault: Fault, number: u64) -> Result<Seen> {
    super::rig::calm(number);
    let victim = usize::try_from(number).unwrap_or(0) % dns.servers.len();
    let resolvers = resolvers(&dns.lab)?;
    let place = dns.lab.node(0).place();
    fault.strike(dns, victim)?;
    let seen = thread::scope(|scope| {
        let place = &place;
        let all: Vec<_> = resolvers
            .iter()
            .map(|one| (one.name, scope.spawn(move || one.look_up(place, WINDOW))))
            .collect();
        let join = |(name, seen): (_, thread::ScopedJoinHandle<'_, Result<Vec<Lookup>>>)| {
            let seen = seen.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((name, seen?))
        };
        all.into_iter().map(join).collect::<Result<Seen>>()
    })?;
    fault.heal(dns, victim)?;
    Ok(seen)
}

impl Row {
    /// One for each resolver.
    fn all(fault: Fault, way: Way, runs: &[Seen]) -> Vec<Self> {
        let names: Vec<_> = runs.first().into_iter().flatten().map(|(name, _)| *name).collect();
        names.into_iter().map(|resolver| Self::of(fault, way, resolver, runs)).collect()
    }

    fn of(fault: Fault, way: Way, resolver: &'static str, runs: &[Seen]) -> Self {
        let of_run = |run: &'_ Seen| -> Vec<Lookup> {
            run.iter()
                .filter(|(name, _)| *name == resolver)
                .flat_map(|(_, seen)| seen.clone())
                .collect()
        };
        let all: Vec<Vec<Lookup>> = runs.iter().map(of_run).collect();
        let lookups = || all.iter().flatten();
        let recovered = all.iter().map(|run| {
            let last = run.iter().filter(|one| one.is_slow() || !one.good).map(Lookup::ended).max();
            u64::try_from(last.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
        });
        Self {
            fault,
            way,
            resolver,
            runs: runs.len(),
            lookups: lookups().count(),
            failed: lookups().filter(|one| !one.good).count(),
            slow: lookups().filter(|one| one.is_slow()).count(),
            recovered_ms: Spread::ms(recovered),
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "fault": self.fault.to_string(),
            "way": self.way.name(),
            "resolver": self.resolver,
            "runs": self.runs,
            "lookups": self.lookups,
            "failed": self.failed,
            "more_than_one_try": self.slow,
            "recovered_ms": self.recovered_ms.map_or(Value::Null, Spread::json),
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Self { fault, way, resolver, runs, lookups, failed, slow, recovered_ms } = self;
        let goal = (*way == Way::Nllb).then_some(GOAL_MS);
        let mut text = format!(
            "{fault}, {}, {resolver}, {runs} runs: of {lookups} lookups {failed} failed, {slow} needed more than one try\n",
            way.name()
        );
        if let Some(spread) = recovered_ms {
            text += &super::report::spread_text("recovered", *spread, goal);
        }
        text
    }
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Nllb => "nllb",
            Self::Nftables => "nftables",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_the_last_one_that_had_to_wait_has_its_answer() {
        let lookup = |began, took, good| Lookup {
            began: Duration::from_millis(began),
            took: Duration::from_millis(took),
            good,
        };
        let run = vec![
            ("dig", vec![lookup(0, 1_005, true), lookup(100, 5, true), lookup(400, 1_100, true)]),
            ("getent", vec![lookup(0, 10, false)]),
        ];
        let [dig, getent] = &Row::all(Fault::PowerOff, Way::Nllb, &[run])[..] else {
            panic!("two rows")
        };
        assert_eq!((dig.lookups, dig.failed, dig.slow), (3, 0, 2));
        assert_eq!(dig.json()["recovered_ms"]["max"], 1_500.0);
        assert_eq!((getent.failed, getent.json()["recovered_ms"]["p50"].clone()), (1, json!(10.0)));
        assert!(dig.text().ends_with("goal <= 2000\n"), "{}", dig.text());
    }
}
