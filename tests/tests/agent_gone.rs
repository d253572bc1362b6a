//! What goes on without the agent: killed, restarted, stopped, taken away.

use std::path::Path;
use std::time::{Duration, Instant};

use nllb_agent::status::Status;
use nllb_common::Counter;
use nllb_lab::agent::backend;
use nllb_lab::apiserver::Settings;
use nllb_lab::client::avoid::Failures;
use nllb_lab::lab::{ControlPlane, VIP_V4};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Ask, Configuration, Connect, Lab, Storm, pins};

#[test]
fn a_storm_of_connects_does_not_notice_that_the_agent_is_killed_and_restarted() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let before = agent.status().expect("a status");
    let links = pins::links(&agent.pins()).expect("links");
    let client = lab.client(0).expect("a client");
    let connect = Connect { reset_on_close: true, ..vip() };
    let storm = client.storm_start(&Storm { threads: 4, connects: None, connect });
    let storm = storm.expect("a storm");
    let more = || {
        let ok = || client.storm_report(storm).expect("a report").ok;
        let enough = ok() + 500;
        while ok() < enough {}
    };
    more();
    for _ in 0..3 {
        agent.kill().expect("killed");
        more();
        let after = agent.restart().expect("restarted");
        more();
        assert!(after.agent.adopted && !before.agent.adopted);
        assert_eq!(identities(&after), identities(&before));
        assert_eq!(pins::links(&agent.pins()).expect("links"), links);
    }
    let report = client.storm_stop(storm).expect("a report");
    println!("3 kills and restarts: {} of {} connects failed", report.failed(), report.attempts);
    println!("3 kills and restarts: longest gap {} us", report.longest_gap_us);
    assert_eq!(report.failed(), 0, "{report:?}");
}

#[test]
fn restarts_send_nobody_to_a_server_known_to_be_dead() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    // Longer than a restart takes on a busy machine: here no lease is to lapse.
    let lease = Duration::from_secs(10);
    let configuration = Configuration { lease, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let dead = lab.control_plane(0);
    dead.power_off().expect("off");
    agent.await_state(dead.tls(), "unhealthy").expect("a verdict");
    let client = lab.client(0).expect("a client");
    let connect = Connect { reset_on_close: true, ..vip() };
    let storm = client.storm_start(&Storm { threads: 1, connects: None, connect });
    let storm = storm.expect("a storm");
    let more = || {
        let ok = || client.storm_report(storm).expect("a report").ok;
        let enough = ok() + 200;
        while ok() < enough {}
    };
    let pins = agent.pins();
    let lapsed = || pins::counter(&pins, Counter::LeaseLapsed).expect("a counter");
    let before = lapsed();
    let restarts = 5;
    for turn in 0..restarts {
        more();
        if turn % 2 == 0 {
            let status = agent.terminate().expect("ended");
            assert_eq!(status.code(), Some(0));
        } else {
            agent.kill().expect("killed");
        }
        more();
        let after = agent.restart().expect("restarted");
        assert!(after.agent.adopted);
        let state = backend(&after, dead.tls()).map(|dead| dead.state.as_str());
        assert_eq!(state, Some("unhealthy"));
    }
    more();
    let report = client.storm_stop(storm).expect("a report");
    println!(
        "{restarts} restarts beside a dead server: {} of {} connects failed {:?}",
        report.failed(),
        report.attempts,
        report.errors
    );
    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(!report.servers.contains_key(dead.name()), "{report:?}");
    assert_eq!(lapsed(), before, "connects without a lease");
}

#[test]
fn a_server_that_no_frontend_uses_keeps_its_id_over_a_restart_and_its_connections_end_when_it_dies()
{
    let versions = |index, settings: &mut Settings| {
        settings.version = if index == 0 { "v1.30.4" } else { "v1.31.2" }.to_owned();
    };
    let Some(lab) = Lab::builder().tune(versions).build_or_skip() else { return };
    let configuration = Configuration { loopback: Vec::new(), ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let client = lab.client(0).expect("a client");
    let old = lab.control_plane(0);
    let kept = wait_until("a connection to it", || {
        let outcome = client.connect(&Connect { ask: Ask::Echo, keep: true, ..vip() })?;
        Ok(outcome.handle.filter(|_| outcome.server.as_deref() == Some(old.name())))
    });
    let kept = kept.expect("a connection");
    let text = agent.text(&configuration);
    let newest = text.replace("policy: random", "policy: random, versionSkew: prefer-newest");
    assert_ne!(newest, text);
    agent.write(&newest).expect("written");
    agent.hang_up().expect("told");
    let is_used = |status: &Status| {
        let mut backends = status.frontends.iter().flat_map(|frontend| &frontend.backends);
        backends.any(|backend| backend.address == old.tls() && backend.used)
    };
    let left_out = |agent: &mut Agent| agent.await_status("who is left out", |s| !is_used(s));
    let before = left_out(&mut agent).expect("left out");
    agent.kill().expect("killed");
    let after = agent.restart().expect("restarted");
    assert!(after.agent.adopted);
    assert_eq!(identities(&after), identities(&before));
    // What it did not write to disk before it was killed it has to hear again.
    left_out(&mut agent).expect("left out");
    old.power_off().expect("off");
    let ended = wait_until("the end of the connection", || Ok(client.inspect(kept)?.error));
    assert_eq!(ended.expect("it ends"), "ECONNABORTED");
}

#[test]
fn without_a_lease_a_crashed_server_is_avoided_after_one_failure() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    agent.kill().expect("killed");
    let pins = agent.pins();
    wait_until("the end of the lease", || {
        client.connect(&vip())?;
        Ok((pins::counter(&pins, Counter::LeaseLapsed)? > 0).then_some(()))
    })
    .expect("evidence alone counts");
    lab.control_plane(0).crash().expect("crashed");
    let (mut failures, connects) = (Failures::default(), 40);
    for _ in 0..connects {
        failures.take(Instant::now(), &client.connect(&vip()).expect("an outcome"));
    }
    println!("without a lease: {} of {connects} connects failed", failures.count);
    let report = agent.restart().expect("restarted");
    assert!(report.agent.adopted);
    agent.await_state(lab.control_plane(0).tls(), "unhealthy").expect("a verdict");
}

#[test]
fn a_server_that_resets_what_it_has_accepted_is_suspect() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let status = agent.status().expect("a status");
    agent.kill().expect("killed");
    let client = lab.client(0).expect("a client");
    // Whichever is nearest: none of them serves what it accepts.
    for server in lab.control_planes() {
        server.freeze().expect("frozen");
    }
    let waiting = Connect { keep: true, ..Connect::to((VIP_V4, 443).into()) };
    let handle = client.connect(&waiting).expect("an outcome").handle.expect("a handle");
    assert!(!client.echo(handle, Duration::from_millis(50)).expect("an answer"));
    for server in lab.control_planes() {
        server.crash().expect("crashed");
    }
    let pins = agent.pins();
    wait_until("a connection that ends before any data came", || {
        Ok((pins::counter(&pins, Counter::Unserved)? > 0).then_some(()))
    })
    .expect("counted");
    let suspect = |id| pins::evidence(&pins, id).expect("evidence").suspect_until_ns > 0;
    assert_eq!(status.backends().filter(|(_, backend)| suspect(backend.id)).count(), 1);
}

#[test]
fn a_server_that_closes_what_it_has_not_answered_is_suspect_whatever_it_accepts_next() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let status = agent.status().expect("a status");
    agent.kill().expect("killed");
    let client = lab.client(0).expect("a client");
    let has_open = |server: &&ControlPlane| server.stats().is_ok_and(|stats| stats.open > 0);
    let open = || lab.control_planes().iter().find(has_open);
    wait_until("the end of the sentinels", || Ok(open().is_none().then_some(()))).expect("ended");
    let silent = Connect { keep: true, ..Connect::to((VIP_V4, 443).into()) };
    let handle = client.connect(&silent).expect("an outcome").handle.expect("a handle");
    let server = wait_until("who accepts it", || Ok(open())).expect("it was accepted");
    let id = backend(&status, server.tls()).expect("known").id;
    let pins = agent.pins();
    let suspect = || pins::evidence(&pins, id).expect("evidence").suspect_until_ns;
    assert_eq!(suspect(), 0);
    // It has read all there was, so its kernel says FIN.
    server.crash().expect("crashed");
    let until = wait_until("a suspicion", || Ok(Some(suspect()).filter(|until| *until > 0)));
    let until = until.expect("it is suspect");
    assert_eq!(pins::counter(&pins, Counter::Unserved).expect("counted"), 1);
    client.close(handle).expect("closed");
    server.restart().expect("restarted");
    wait_until("a connect that it serves", || {
        let outcome = client.connect(&vip())?;
        Ok((outcome.server.as_deref() == Some(server.name())).then_some(()))
    })
    .expect("it is used again");
    assert_eq!(suspect(), until, "a kernel accepts for a process that ends, too");
    assert_eq!(pins::counter(&pins, Counter::Unserved).expect("counted"), 1);
}

#[test]
fn verdicts_hold_as_long_as_the_lease() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let lease = Duration::from_secs(600);
    let configuration = Configuration { lease, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let client = lab.client(0).expect("a client");
    let sick = lab.control_plane(0);
    sick.readyz(Some(500)).expect("told");
    agent.await_state(sick.tls(), "draining").expect("a verdict");
    agent.kill().expect("killed");
    for _ in 0..50 {
        let outcome = client.connect(&vip()).expect("an outcome");
        assert!(outcome.ok && outcome.server.as_deref() != Some(sick.name()), "{outcome:?}");
    }
}

#[test]
fn an_agent_told_to_stop_leaves_the_data_path_in_place() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let status = agent.terminate().expect("ended");
    assert_eq!(status.code(), Some(0));
    for _ in 0..20 {
        let outcome = client.connect(&vip()).expect("an outcome");
        assert!(outcome.ok, "{outcome:?}");
    }
    assert!(!agent.socket().exists() || agent.status().is_err());
}

#[test]
fn uninstall_removes_every_pin_and_link_and_nothing_is_translated_any_more() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    agent.terminate().expect("ended");
    let links = pins::links(&agent.pins()).expect("links");
    assert_eq!(links.len(), 3);
    let pinned = std::fs::read_dir(agent.pins()).expect("pins").count();
    let config = agent.file();
    let output = agent.nllb(&["uninstall".into(), "--config".into(), config.into()]);
    let output = output.expect("ran");
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8_lossy(&output.stdout);
    assert_eq!(lines.lines().count(), pinned + 1, "every pin and their directory: {lines}");
    assert!(is_empty(agent.bpffs()));
    for (hook, id) in links {
        // The kernel frees a link after its last reader.
        wait_until(&format!("the end of {hook}"), || Ok((!pins::link_exists(id)?).then_some(())))
            .expect("gone");
    }
    // Its id is given back a moment before it is detached.
    let gone = Instant::now();
    wait_until("the end of translation", || Ok((!client.connect(&vip())?.ok).then_some(())))
        .expect("not translated");
    println!("uninstalled: not translated {:?} after the links were gone", gone.elapsed());
    let outcome = client.connect(&vip()).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("ENETUNREACH"), "{outcome:?}");
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("a directory").next().is_none()
}

/// What must survive a restart: the ids that maps and sockets speak of.
fn identities(status: &Status) -> Vec<(std::net::SocketAddr, u32, u32)> {
    let backends = status.backends();
    backends.map(|(_, backend)| (backend.address, backend.id, backend.epoch)).collect()
}

fn lab_with_agent() -> Option<(Lab, Agent)> {
    let lab = Lab::builder().build_or_skip()?;
    let lease = Duration::from_millis(300);
    let configuration = Configuration { lease, ..Configuration::of(&lab).quick() };
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    Some((lab, agent))
}

fn vip() -> Connect {
    Connect::name_of((VIP_V4, 443).into())
}
