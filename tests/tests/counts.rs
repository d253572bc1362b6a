//! Counts of connections, and how soon a verdict is in the maps.

use std::time::Duration;

use nllb_agent::status::Status;
use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Ask, Client, Configuration, Connect, Lab, Storm};

#[test]
fn active_counts_return_to_zero_when_everything_is_closed() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let handles: Vec<_> = (0..30).map(|_| open(&client)).collect();
    await_active(&mut agent, 30);
    for handle in handles {
        client.close(handle).expect("closed");
    }
    await_active(&mut agent, 0);
    balanced(&agent.status().expect("a status"));
}

#[test]
fn a_dissolved_association_is_not_active_and_the_next_one_counts_anew() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let mut handle = open(&client);
    await_active(&mut agent, 1);
    // Through the frontend again: one leaves, one comes.
    for _ in 0..5 {
        let outcome = client.reconnect(handle, true, &echo()).expect("an outcome");
        assert!(outcome.ok, "{outcome:?}");
        handle = outcome.handle.expect("a handle");
        await_active(&mut agent, 1);
    }
    // Straight to a server: nobody's.
    let straight = Connect { address: lab.control_plane(0).tls(), ..echo() };
    let outcome = client.reconnect(handle, true, &straight).expect("an outcome");
    await_active(&mut agent, 0);
    let handle = outcome.handle.expect("a handle");
    client.close(handle).expect("closed");
    let status = agent.status().expect("a status");
    assert_eq!(active(&status), 0);
    balanced(&status);
}

#[test]
fn connections_that_end_by_reset_crash_or_failure_are_counted_out() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let handles: Vec<_> = (0..12).map(|_| open(&client)).collect();
    await_active(&mut agent, 12);
    for plane in lab.control_planes() {
        plane.crash().expect("crashed");
    }
    // The end of the server alone leaves the client's half open.
    for handle in handles {
        client.close(handle).expect("closed");
    }
    await_active(&mut agent, 0);
    for _ in 0..10 {
        assert!(!client.connect(&echo()).expect("an outcome").ok);
    }
    assert_eq!(active(&agent.status().expect("a status")), 0);
    for plane in lab.control_planes() {
        plane.restart().expect("restarted");
    }
    agent
        .await_status("all healthy", |status| {
            status.backends().all(|(_, backend)| backend.state == "healthy")
        })
        .expect("readmitted");
    let connect = Connect { reset_on_close: true, keep: false, ..echo() };
    let storm = Storm { threads: 4, connects: Some(1_000), connect };
    assert_eq!(client.storm(&storm).expect("a report").failed(), 0);
    await_active(&mut agent, 0);
    balanced(&agent.status().expect("a status"));
}

#[test]
fn a_verdict_is_in_the_maps_without_waiting_for_running_programs() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let plane = lab.control_plane(0);
    let mut durations = Vec::new();
    for _ in 0..5 {
        for (readyz, state) in [(Some(500), "draining"), (None, "healthy")] {
            plane.readyz(readyz).expect("told");
            let status = agent.await_state(plane.tls(), state).expect("a verdict");
            let written = status.datapath.last_sync_us.expect("a write");
            durations.push(Duration::from_micros(written));
        }
    }
    durations.sort_unstable();
    let (median, longest) = (durations[durations.len() / 2], durations[durations.len() - 1]);
    println!("{} verdicts written: median {median:?}, longest {longest:?}", durations.len());
    // Microseconds on an idle machine; to wait for the kernel's programs takes 12 ms and more each time.
    assert!(median < Duration::from_millis(5), "{durations:?}");
}

fn open(client: &Client) -> u64 {
    let outcome = client.connect(&echo()).expect("an outcome");
    assert!(outcome.ok, "{outcome:?}");
    outcome.handle.expect("a handle")
}

fn echo() -> Connect {
    Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) }
}

fn active(status: &Status) -> u64 {
    let evidence = status.backends().filter_map(|(_, backend)| backend.evidence.as_ref());
    evidence.map(|evidence| evidence.active).sum()
}

fn await_active(agent: &mut Agent, wanted: u64) {
    let counted = agent.await_status(&format!("{wanted} active"), |s| active(s) == wanted);
    counted.expect("the count");
}

fn balanced(status: &Status) {
    assert_eq!(status.counters["established"], status.counters["closed"]);
}

fn lab_with_agent() -> Option<(Lab, Agent)> {
    let lab = Lab::builder().build_or_skip()?;
    let agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    Some((lab, agent))
}
