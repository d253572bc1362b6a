//! One run: calm, a fault, what the clients saw of it, and the way back.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::fault::{Fault, Struck};
use super::goals::Goals;
use super::rig::{Rig, calm};
use super::sample::{Evidence, Sample, in_turn};
use crate::client::protocol::{Attempt, LoopReport, TrafficReport};
use crate::clock::now_ns;
use crate::lab::ControlPlane;
use crate::verdicts::Watcher;

/// How long to wait until a server is used again; after that there is no figure.
const READMISSION: Duration = Duration::from_secs(15);
/// How often the clients may miss a server before it is an error.
const ATTEMPTS: u32 = 3;
/// How often it is looked at. The times themselves are the clients'.
const STEP: Duration = Duration::from_millis(20);

/// Runs it.
pub(in crate::bench) fn once(rig: &mut Rig, fault: Fault, number: u64) -> Result<Sample> {
    prepare(rig, fault)?;
    calm(number);
    let indices = fault.victims(number, rig.servers().len());
    let ids = rig.ids(&indices)?;
    if fault.without_agent() {
        rig.kill_agent()?;
    }
    let sample = observe(rig, fault, number, &indices, &ids);
    rig.stop_clients()?;
    sample
}

/// A fresh agent, and clients that have met every server. Where much else runs, a server may seem to be
/// far away to an agent that has just begun to measure, and is met by nobody for a while.
fn prepare(rig: &mut Rig, fault: Fault) -> Result<()> {
    let mut attempt = 1;
    loop {
        rig.settle()?;
        match rig.start_clients(fault) {
            Err(error) if attempt < ATTEMPTS => eprintln!("nllb-lab: once more: {error:#}"),
            done => return done,
        }
        rig.stop_clients()?;
        attempt += 1;
    }
}

fn observe(rig: &Rig, fault: Fault, number: u64, victims: &[usize], ids: &[u32]) -> Result<Sample> {
    let victims: Vec<_> = victims.iter().map(|index| &rig.servers()[*index]).collect();
    let watcher = rig.agent().map(|agent| Watcher::start(agent, ids)).transpose()?;
    let calm = rig.mark()?;
    let Struck { begun_ns, over } = fault.strike(rig, &victims)?;
    look_on(rig, fault, number, &victims)?;
    let after = rig.mark()?;
    if over.is_none() && watcher.is_some() {
        tell(fault, begun_ns, &after);
    }

    let ready_ns = match &over {
        Some(over) => over.at_ns,
        None => {
            fault.heal(&victims)?;
            let ready_ns = now_ns();
            // What was under way before it was ready does not count.
            rig.mark()?;
            ready_ns
        }
    };
    let (used_ns, later) = if !fault.has_readmission() || !rig.waits_for_readmission() {
        (None, Vec::new())
    } else if fault.has_connects() && over.is_none() {
        await_use(rig, &victims)?
    } else {
        (watcher.as_ref().and_then(|watcher| await_good(watcher, ready_ns)), Vec::new())
    };
    Ok(Sample::of(&Evidence {
        fault,
        victims: victims.iter().map(|victim| victim.name()).collect(),
        begun_ns,
        over,
        calm,
        after,
        later,
        looks: watcher.map_or_else(|| Ok(Vec::new()), Watcher::stop)?,
        readmit_ns: used_ns.map(|used_ns| used_ns.saturating_sub(ready_ns)),
    }))
}

/// Waits for as long as there may be something to see.
fn look_on(rig: &Rig, fault: Fault, number: u64, victims: &[&ControlPlane]) -> Result<()> {
    let mut rest = rig.window(fault);
    if let Some(after) = fault.endpoint_removal(number).filter(|_| rig.follows_service()) {
        // reason: that is when it happens.
        sleep(after);
        rig.remove_endpoints(victims)?;
        rest = rest.saturating_sub(after);
    }
    // reason: what shall be seen is also that nothing more happens.
    sleep(rest);
    Ok(())
}

/// Tells of the clients that fared worse than they should, so that it can be found out why.
fn tell(fault: Fault, begun_ns: u64, after: &[TrafficReport]) {
    let Goals { blackout_ms, failed: most, .. } = fault.goals();
    let after_fault = |at_ns: u64| Duration::from_nanos(at_ns.saturating_sub(begun_ns));
    for (client, LoopReport { failed, blackout_ns, bad, .. }) in in_turn(after).enumerate() {
        let blackout = Duration::from_nanos(*blackout_ns);
        let long = blackout_ms.is_some_and(|most| blackout.as_secs_f64() * 1e3 > most);
        if !long && most.is_none_or(|most| *failed <= u64::from(most)) {
            continue;
        }
        eprintln!("nllb-lab: client {client}: {failed} failed, blackout {blackout:?}");
        for Attempt { started_ns, connected_ns, ended_ns, server, error } in bad {
            eprintln!(
                "nllb-lab:   {:?} to {:?} after the fault, connected {:?}: {}",
                after_fault(*started_ns),
                after_fault(*ended_ns),
                connected_ns.map(after_fault),
                error.as_ref().or(server.as_ref()).map_or("", String::as_str),
            );
        }
    }
}

/// When each victim was first used, as far as it was, by name.
fn first_use<'a>(
    reports: &[TrafficReport],
    victims: &[&'a ControlPlane],
) -> BTreeMap<&'a str, u64> {
    let loops = || reports.iter().flat_map(|report| &report.loops);
    let first = |name| loops().filter_map(|l| l.servers.get(name)).map(|seen| seen.first_ns).min();
    victims.iter().filter_map(|victim| Some((victim.name(), first(victim.name())?))).collect()
}

/// Waits until every victim is used; gives when the last of them was for the first time, and what
/// the clients saw meanwhile.
fn await_use(rig: &Rig, victims: &[&ControlPlane]) -> Result<(Option<u64>, Vec<TrafficReport>)> {
    let deadline = Instant::now() + READMISSION;
    let mut used: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen = Vec::new();
    while used.len() < victims.len() {
        if Instant::now() > deadline {
            return Ok((None, seen));
        }
        // reason: clients are asked, they do not tell.
        sleep(STEP);
        let reports = rig.mark()?;
        for (name, at_ns) in first_use(&reports, victims) {
            used.entry(name).or_insert(at_ns);
        }
        seen.extend(reports);
    }
    Ok((used.into_values().max(), seen))
}

/// Waits until the verdict on every victim is good; gives when the last of them was.
fn await_good(watcher: &Watcher, ready_ns: u64) -> Option<u64> {
    let deadline = Instant::now() + READMISSION;
    loop {
        let good = watcher.all_good_since(ready_ns);
        if good.is_some() || Instant::now() > deadline {
            return good;
        }
        // reason: the watcher is asked, it does not tell.
        sleep(STEP);
    }
}
