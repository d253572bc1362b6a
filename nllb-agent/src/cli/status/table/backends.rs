//! A pool and its backends: one row each, and below them what a row cannot say.

use super::{age, grid, micros, wrap};
use crate::status::{Backend, Evidence, Pool};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

pub(super) fn pool(out: &mut String, pool: &Pool) {
    let Pool { name, profile: _, probe, backends, nodes, probe_interval_ms, ping_interval_ms } =
        pool;
    let versions: BTreeSet<_> = backends.iter().filter_map(|b| b.version.as_deref()).collect();
    let mut facts: Vec<String> = Vec::new();
    facts.extend(versions.first().filter(|_| versions.len() == 1).map(|one| (*one).to_owned()));
    facts.extend(nodes.map(|nodes| format!("{nodes} node{}", if nodes == 1 { "" } else { "s" })));
    facts.push(format!("probe {probe} every {}", age(*probe_interval_ms)));
    facts.extend(ping_interval_ms.map(|ms| format!("ping every {}", age(ms))));
    // Writing to a string cannot fail.
    let _title = writeln!(out, "\nPOOL {name}: {}", facts.join(", "));
    grid(out, &rows(backends));
    if versions.len() > 1 {
        let version = |backend: &Backend| {
            backend.version.as_ref().map(|version| format!("{} is {version}", backend.address))
        };
        wrap(out, &backends.iter().filter_map(version).collect::<Vec<_>>().join(", "));
    }
    named(out, backends);
    for backend in backends {
        for remark in remarks(backend) {
            wrap(out, &format!("{} {remark}", backend.address));
        }
    }
}

/// Who named the backends, unless it is the configuration alone.
fn named(out: &mut String, backends: &[Backend]) {
    let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Backend { address, sources, .. } in backends {
        by.entry(sources.join(", ")).or_default().push(address.to_string());
    }
    by.remove("static");
    by.remove("");
    for (sources, addresses) in by {
        wrap(out, &format!("named by {sources}: {}", addresses.join(", ")));
    }
}

fn rows(backends: &[Backend]) -> Vec<[String; 8]> {
    let head = ["BACKEND", "STATE", "SINCE", "ACTIVE", "RTT", "SENTINEL", "EVIDENCE", "LAST PROBE"];
    let mut rows = vec![head.map(str::to_owned)];
    for backend in backends {
        let Backend { address, state, state_age_ms, evidence, last_probe, .. } = backend;
        let none = || "-".to_owned();
        let probe_rtt = last_probe.as_ref().and_then(|probe| probe.rtt_us);
        rows.push([
            address.to_string(),
            state.clone(),
            age(*state_age_ms),
            evidence.as_ref().map_or_else(none, |evidence| evidence.active.to_string()),
            backend.rtt_us.or(probe_rtt).map_or_else(none, micros),
            match backend.sentinel.age_ms {
                Some(ms) => format!("{} {}", backend.sentinel.state, age(ms)),
                None => backend.sentinel.state.clone(),
            },
            match evidence {
                Some(Evidence { suspect_ms: ms @ 1.., .. }) => format!("suspect {}", age(*ms)),
                Some(_) => "good".to_owned(),
                None => none(),
            },
            match last_probe {
                Some(probe) => format!("{} ago, {}", age(probe.age_ms), probe.outcome),
                None => "none yet".to_owned(),
            },
        ]);
    }
    rows
}

/// What the row of a backend cannot say, most urgent first.
fn remarks(backend: &Backend) -> Vec<String> {
    let Backend { state, reason, run, doubt, drained, closes_in_ms, held_ms, closed, .. } = backend;
    let mut remarks = Vec::new();
    if state != "healthy" {
        let mut line = format!("is {state}: {reason}");
        if let Some(run) = run {
            let _run = write!(line, " ({} of {} {})", run.count, run.needed, run.direction);
        }
        remarks.push(line);
    }
    remarks.extend(doubt.as_ref().map(|doubt| format!("is doubted: {doubt}")));
    // Not twice what keeps it out of service anyway.
    let why = backend.sentinel.reason.as_ref().filter(|why| *why != reason);
    remarks.extend(why.map(|why| format!("has no sentinel: {why}")));
    if *drained && state != "draining" {
        remarks.push("is drained by an operator as well".to_owned());
    }
    remarks.extend(closes_in_ms.map(|ms| format!("has its connections closed in {}", age(ms))));
    remarks.extend(
        held_ms.map(|ms| format!("was lost often: it must answer well for another {}", age(ms))),
    );
    let certificate = backend.certificate.as_ref();
    let warning = certificate.and_then(|facts| facts.warning.as_ref());
    remarks.extend(warning.map(|warning| format!("must be looked after: {warning}")));
    if backend.band > 0 {
        remarks.push(format!("is farther away than others: latency band {}", backend.band));
    }
    let closed: Vec<_> = closed.iter().filter(|(_, count)| **count > 0).collect();
    if !closed.is_empty() {
        let causes = closed.iter().map(|(cause, count)| format!("{count} {cause}"));
        let causes = causes.collect::<Vec<_>>().join(", ");
        remarks.push(format!("had connections closed by the agent: {causes}"));
    }
    remarks
}
