//! What clients feel when servers crash, vanish, or say that they are not ready.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nllb_agent::status::Status;
use nllb_lab::client::avoid::Failures;
use nllb_lab::lab::{ControlPlane, VIP_V4};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Ask, Client, Configuration, Connect, Lab, Outcome, Storm};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn a_crash_fails_at_most_one_connect_per_client() {
    let Some((lab, mut agent)) = lab_with_agent(false) else { return };
    let clients: Vec<_> = (0..3).map(|_| lab.client(0).expect("a client")).collect();
    let victim = lab.control_plane(0);
    victim.crash().expect("crashed");
    for (number, client) in clients.iter().enumerate() {
        let (mut failures, mut after_failure) = (Failures::default(), None);
        for _ in 0..40 {
            let began = Instant::now();
            let (outcome, took) = timed(client, &vip());
            failures.take(began, &outcome);
            if outcome.ok {
                if failures.count > 0 && after_failure.is_none() {
                    after_failure = Some(took);
                }
            } else {
                assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"), "{outcome:?}");
            }
        }
        let failed = failures.count;
        println!("crash: client {number}: {failed} failed, the next took {after_failure:?}");
        // The promise is 5 ms; the bound leaves room for a busy machine.
        assert!(after_failure.is_none_or(|took| took < MS(2_000)), "{after_failure:?}");
    }
    let status = agent.await_state(victim.tls(), "unhealthy").expect("a verdict");
    println!("crash: {} connects reset", status.counters["connect_reset"]);
    serves_without(&clients[0], victim);
    victim.restart().expect("restarted");
    agent.await_state(victim.tls(), "healthy").expect("readmitted");
    is_used(&clients[0], victim);
}

#[test]
fn a_storm_loses_what_was_under_way_when_a_server_crashes_and_no_more() {
    let Some((lab, mut agent)) = lab_with_agent(false) else { return };
    let client = lab.client(0).expect("a client");
    let connect = Connect { reset_on_close: true, ..vip() };
    let threads = 4;
    let storm = client.storm_start(&Storm { threads, connects: None, connect });
    let storm = storm.expect("a storm");
    let ok = |least| while client.storm_report(storm).expect("a report").ok < least {};
    ok(200);
    let victim = lab.control_plane(0);
    let crash = Instant::now();
    victim.crash().expect("crashed");
    agent.await_state(victim.tls(), "unhealthy").expect("a verdict");
    let verdict = crash.elapsed();
    let so_far = client.storm_report(storm).expect("a report");
    ok(so_far.ok + 500);
    let report = client.storm_stop(storm).expect("a report");
    println!(
        "crash under {threads} threads: {} of {} connects failed {:?}, longest gap {} us",
        report.failed(),
        report.attempts,
        report.errors,
        report.longest_gap_us
    );
    // A thread may have one connect under way at the crash (reset, or cut off at its question),
    // and one that it starts before the first reset is seen.
    let most = threads as u64 + Failures::most(threads, verdict);
    assert!(report.failed() <= most, "{most} in {verdict:?}: {report:?}");
}

#[test]
fn a_power_cut_fails_a_connect_soon_and_the_next_succeeds() {
    let Some((lab, mut agent)) = lab_with_agent(false) else { return };
    let client = lab.client(0).expect("a client");
    let victim = lab.control_plane(0);
    is_used(&client, victim);
    victim.power_off().expect("off");
    let off = Instant::now();
    let mut failures = Vec::new();
    let mut next = None;
    while failures.is_empty() && off.elapsed() < MS(5_000) {
        let (outcome, took) = timed(&client, &vip());
        if !outcome.ok {
            failures.push((took, outcome.error));
            next = Some(timed(&client, &vip()));
        } else if backend_state(&agent, victim.tls()) == "unhealthy" {
            break;
        }
    }
    if let (Some((took, error)), Some((outcome, next))) = (failures.first(), &next) {
        println!("power cut: connect failed after {took:?} with {error:?}, the next took {next:?}");
        // The promise is 300 ms; the bound leaves room for a busy machine.
        assert!(*took < MS(5_000), "{took:?}");
        assert!(outcome.ok && *next < MS(2_000), "{outcome:?} after {next:?}");
    } else {
        println!("power cut: the probes were faster than any connect");
    }
    // The probes are sure before the kernel's suspicion ends, but for a busy machine.
    let mut later = Failures::default();
    while backend_state(&agent, victim.tls()) != "unhealthy" {
        later.take(Instant::now(), &timed(&client, &vip()).0);
    }
    let more = later.count;
    println!("power cut: unhealthy after {:?}, {more} more failed until then", off.elapsed());
    serves_without(&client, victim);
    victim.power_on().expect("on");
    agent.await_state(victim.tls(), "healthy").expect("readmitted");
    is_used(&client, victim);
}

#[test]
fn a_socket_whose_connect_was_cut_dials_again_with_its_own_user_timeout() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    // Only evidence starts a probe, so a client meets the silent server first, however slow it is.
    let rarely = Duration::from_secs(60);
    let configuration = Configuration {
        interval: rarely,
        max_backoff: rarely,
        probe: vec!["sentinel: false".to_owned()],
        ..Configuration::of(&lab)
    };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let client = lab.client(0).expect("a client");
    let healthy = lab.control_plane(2);
    is_used(&client, healthy);
    // Through the frontend again, and past it.
    for (victim, user_timeout, again) in
        [(0, None, vip()), (1, Some(MS(9_000)), Connect::name_of(healthy.tls()))]
    {
        is_used(&client, lab.control_plane(victim));
        lab.control_plane(victim).power_off().expect("off");
        let handle = cut(&client, user_timeout);
        let failed = client.inspect(handle).expect("a socket");
        assert_eq!(failed.user_timeout, user_timeout, "once the connect has failed");
        // On a slow machine suspicion may be over by now, and the frontend would lead there once more.
        agent.await_state(lab.control_plane(victim).tls(), "unhealthy").expect("a verdict");
        let outcome = client.reconnect(handle, false, &Connect { keep: true, ..again });
        let outcome = outcome.expect("an outcome");
        assert!(outcome.ok, "{outcome:?}");
        let handle = outcome.handle.expect("a handle");
        let connected = client.inspect(handle).expect("a socket");
        assert_eq!(connected.user_timeout, user_timeout, "once it is connected");
        client.close(handle).expect("closed");
    }
    let cuts = agent.status().expect("a status").counters["syn_cut"];
    assert!(cuts >= 2, "the kernel programs did it: {cuts}");
}

#[test]
fn nothing_is_sent_to_a_silent_server_between_the_verdict_and_its_return() {
    let Some((lab, mut agent)) = lab_with_agent(false) else { return };
    let client = lab.client(0).expect("a client");
    let victim = lab.control_plane(0);
    let connect = Connect { reset_on_close: true, ..vip() };
    let threads = 2;
    let storm = client.storm_start(&Storm { threads, connects: None, connect });
    let storm = storm.expect("a storm");
    let report = || client.storm_report(storm).expect("a report");
    while !report().servers.contains_key(victim.name()) {}
    let off = Instant::now();
    victim.power_off().expect("off");
    agent.await_state(victim.tls(), "unhealthy").expect("a verdict");
    let verdict = off.elapsed();
    let settled = report();
    while report().ok < settled.ok + 1_000 {}
    let silent = report();
    assert_eq!(silent.servers[victim.name()], settled.servers[victim.name()]);
    victim.power_on().expect("on");
    agent.await_state(victim.tls(), "healthy").expect("readmitted");
    while report().servers[victim.name()] == silent.servers[victim.name()] {}
    let report = client.storm_stop(storm).expect("a report");
    println!(
        "power cut under {threads} threads: {} of {} connects failed {:?}, longest {} us",
        report.failed(),
        report.attempts,
        report.errors,
        report.longest_attempt_us
    );
    // One at its question and one in SYN_SENT, per thread.
    let most = threads as u64 + Failures::most(threads, verdict);
    assert!(report.failed() <= most, "{most} in {verdict:?}: {report:?}");
}

#[test]
fn a_server_that_is_not_ready_gets_no_new_connects_and_keeps_the_old() {
    let Some((lab, mut agent)) = lab_with_agent(true) else { return };
    let client = lab.client(0).expect("a client");
    let victim = lab.control_plane(0);
    for status in [500, 403] {
        let kept = keep(&client, victim);
        victim.readyz(Some(status)).expect("told");
        agent.await_state(victim.tls(), "draining").expect("a verdict");
        serves_without(&client, victim);
        assert!(client.echo(kept, MS(20_000)).expect("an answer"), "{status}: still open");
        victim.readyz(None).expect("told");
        agent.await_state(victim.tls(), "healthy").expect("readmitted");
        is_used(&client, victim);
        client.close(kept).expect("closed");
    }
}

#[test]
fn when_no_server_is_ready_connects_go_on_and_nothing_is_closed() {
    let Some((lab, mut agent)) = lab_with_agent(true) else { return };
    let client = lab.client(0).expect("a client");
    let kept: Vec<_> = lab.control_planes().iter().map(|plane| keep(&client, plane)).collect();
    for plane in lab.control_planes() {
        plane.readyz(Some(500)).expect("told");
    }
    let draining = |status: &Status| status.backends().all(|(_, b)| b.state == "draining");
    let before = agent.await_status("three verdicts", draining).expect("verdicts");
    for _ in 0..50 {
        assert!(timed(&client, &vip()).0.ok);
    }
    let after = agent.status().expect("a status");
    assert_eq!(after.counters["panic"] - before.counters["panic"], 50);
    for handle in kept {
        assert!(client.echo(handle, MS(20_000)).expect("an answer"), "still open");
    }
}

fn lab_with_agent(quick: bool) -> Option<(Lab, Agent)> {
    let lab = Lab::builder().build_or_skip()?;
    let mut configuration = Configuration::of(&lab);
    if quick {
        configuration = configuration.quick();
    }
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    Some((lab, agent))
}

fn vip() -> Connect {
    Connect::name_of((VIP_V4, 443).into())
}

fn timed(client: &Client, connect: &Connect) -> (Outcome, Duration) {
    let outcome = client.connect(connect).expect("an outcome");
    let took = Duration::from_micros(outcome.total_us);
    (outcome, took)
}

fn backend_state(agent: &Agent, server: SocketAddr) -> String {
    let status = agent.status().expect("a status");
    nllb_lab::agent::backend(&status, server).expect("a backend").state.clone()
}

/// A socket whose connect through the VIP met a silent server and was cut.
fn cut(client: &Client, user_timeout: Option<Duration>) -> u64 {
    let connect = Connect { user_timeout, keep: true, ..vip() };
    let cut = wait_until("a connect to a silent server", || {
        let outcome = client.connect(&connect)?;
        let handle = outcome.handle.context("a handle")?;
        if outcome.error.as_deref() == Some("ETIMEDOUT") {
            return Ok(Some(handle));
        }
        client.close(handle)?;
        Ok(None)
    });
    cut.expect("a cut connect")
}

/// A connection through the VIP to this server, that stays open.
fn keep(client: &Client, plane: &ControlPlane) -> u64 {
    let connect = Connect { ask: Ask::Echo, keep: true, ..vip() };
    let kept = wait_until(&format!("a connect to {}", plane.name()), || {
        let outcome = client.connect(&connect)?;
        let handle = outcome.handle.context("a handle")?;
        if outcome.server.as_deref() == Some(plane.name()) {
            return Ok(Some(handle));
        }
        client.close(handle)?;
        Ok(None)
    });
    kept.expect("a connection")
}

/// Suspicion may outlast the verdict that the server is back.
fn is_used(client: &Client, plane: &ControlPlane) {
    let started = Instant::now();
    let handle = keep(client, plane);
    println!("{} used after {:?}", plane.name(), started.elapsed());
    client.close(handle).expect("closed");
}

fn serves_without(client: &Client, plane: &ControlPlane) {
    for _ in 0..100 {
        let (outcome, _) = timed(client, &vip());
        assert!(outcome.ok, "{outcome:?}");
        assert_ne!(outcome.server.as_deref(), Some(plane.name()));
    }
}
