//! A pool and its backends: one row each, and below them what a row cannot say.

use super::{WIDTH, age, grid, micros, shortened, wrap};
use crate::cli::paint::Paint;
use crate::status::{Backend, Evidence, Pool};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What fits a screen: one line per backend.
pub(super) fn pool(out: &mut String, paint: Paint, pool: &Pool) {
    title(out, pool);
    let head = ["BACKEND", "STATE", "SINCE", "BAND", "RTT", "ACTIVE", "CERT", "VERSION", "WHY"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(pool.backends.iter().map(|backend| {
        let why = match &backend.doubt {
            Some(doubt) if backend.state == "healthy" => format!("doubted: {doubt}"),
            _ => backend.reason.clone(),
        };
        [
            backend.address.to_string(),
            backend.state.clone(),
            age(backend.state_age_ms),
            backend.band.to_string(),
            rtt(backend),
            active(backend),
            certificate(backend),
            backend.version.clone().unwrap_or_else(none),
            why,
        ]
    }));
    // The last column takes what is left.
    let others: usize = (0..head.len() - 1)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + 2)
        .sum();
    for row in &mut rows {
        row[head.len() - 1] = shortened(&row[head.len() - 1], WIDTH.saturating_sub(others).max(10));
    }
    grid(out, paint, &rows);
}

/// Everything, with remarks below.
pub(super) fn wide_pool(out: &mut String, paint: Paint, pool: &Pool) {
    title(out, pool);
    let backends = &pool.backends;
    grid(out, paint, &rows(backends));
    named(out, backends);
    for backend in backends {
        for remark in remarks(backend) {
            wrap(out, &format!("{} {remark}", backend.address));
        }
    }
}

fn title(out: &mut String, pool: &Pool) {
    let Pool { name, profile: _, probe, backends: _, nodes, probe_interval_ms, ping_interval_ms } =
        pool;
    let mut facts: Vec<String> = Vec::new();
    facts.extend(nodes.map(|nodes| format!("{nodes} node{}", if nodes == 1 { "" } else { "s" })));
    facts.push(format!("probe {probe} every {}", age(*probe_interval_ms)));
    facts.extend(ping_interval_ms.map(|ms| format!("ping every {}", age(ms))));
    // Writing to a string cannot fail.
    let _title = writeln!(out, "\nPOOL {name}: {}", facts.join(", "));
}

/// Who named the backends, unless it is the configuration alone.
fn named(out: &mut String, backends: &[Backend]) {
    let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Backend { address, sources, .. } in backends {
        by.entry(sources.join(", ")).or_default().push(address.to_string());
    }
    by.remove("");
    if by.keys().all(|sources| sources == "static") {
        return;
    }
    for (sources, addresses) in by {
        wrap(out, &format!("named by {sources}: {}", addresses.join(", ")));
    }
}

fn rows(backends: &[Backend]) -> Vec<[String; 11]> {
    let head = [
        "BACKEND",
        "STATE",
        "SINCE",
        "BAND",
        "RTT",
        "ACTIVE",
        "SENTINEL",
        "EVIDENCE",
        "CERT",
        "VERSION",
        "LAST PROBE",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for backend in backends {
        let Backend { address, state, state_age_ms, band, evidence, last_probe, .. } = backend;
        rows.push([
            address.to_string(),
            state.clone(),
            age(*state_age_ms),
            band.to_string(),
            rtt(backend),
            active(backend),
            match backend.sentinel.age_ms {
                Some(ms) => format!("{} {}", backend.sentinel.state, age(ms)),
                None => backend.sentinel.state.clone(),
            },
            match evidence {
                Some(Evidence { suspect_ms: ms @ 1.., .. }) => format!("suspect {}", age(*ms)),
                Some(_) => "good".to_owned(),
                None => none(),
            },
            certificate(backend),
            backend.version.clone().unwrap_or_else(none),
            match last_probe {
                Some(probe) => format!("{} ago, {}", age(probe.age_ms), probe.outcome),
                None => "none yet".to_owned(),
            },
        ]);
    }
    rows
}

fn none() -> String {
    "-".to_owned()
}

fn rtt(backend: &Backend) -> String {
    let of_probe = backend.last_probe.as_ref().and_then(|probe| probe.rtt_us);
    backend.rtt_us.or(of_probe).map_or_else(none, micros)
}

fn active(backend: &Backend) -> String {
    backend.evidence.as_ref().map_or_else(none, |evidence| evidence.active.to_string())
}

/// Time until its certificate, or one above it, ends.
fn certificate(backend: &Backend) -> String {
    let left = |seconds: i64| match u64::try_from(seconds) {
        Ok(seconds) => age(seconds.saturating_mul(1000)),
        Err(_) => "ENDED".to_owned(),
    };
    backend.certificate.as_ref().map_or_else(none, |facts| left(facts.ends_in_s))
}

/// What the row of a backend cannot say, most urgent first.
pub(in crate::cli) fn remarks(backend: &Backend) -> Vec<String> {
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
