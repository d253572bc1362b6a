//! Attachment: taken over, repaired, refused.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nllb_lab::foreign::Foreign;
use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Configuration, Connect, Lab, netns, pins};

const SELF_TEST_INTERVAL: Duration = Duration::from_millis(100);

#[test]
fn a_new_agent_puts_its_programs_under_the_links_of_the_old_one() {
    let Some((lab, mut agent)) = lab_with_agent(Lab::builder()) else { return };
    let links = pins::links(&agent.pins()).expect("links");
    assert_eq!(links.len(), 3);
    let before = agent.status().expect("a status");
    agent.terminate().expect("ended");
    let after = agent.restart().expect("restarted");
    assert!(after.agent.adopted);
    assert_eq!(pins::links(&agent.pins()).expect("links"), links, "the same links");
    for (old, new) in before.datapath.links.iter().zip(&after.datapath.links) {
        assert_ne!(old.program_id, new.program_id, "another program under {}", new.hook);
    }
    assert!(connect(&lab).ok);
}

#[test]
fn a_link_that_somebody_detached_is_noticed_and_attached_again() {
    is_repaired(|pin| pins::detach(pin).expect("detached"), false);
}

#[test]
fn a_link_whose_pin_somebody_removed_is_noticed_and_attached_again() {
    is_repaired(|pin| std::fs::remove_file(pin).expect("removed"), false);
}

#[test]
fn a_link_that_is_detached_and_unpinned_is_noticed_and_attached_again() {
    let wreck = |pin: &Path| {
        pins::detach(pin).expect("detached");
        std::fs::remove_file(pin).expect("removed");
    };
    is_repaired(wreck, true);
}

#[test]
fn a_self_test_that_cannot_pass_is_made_at_its_interval_until_it_can() {
    let Some((lab, mut agent)) = lab_with_agent(Lab::builder()) else { return };
    let loopback = |verb: &str| {
        // With its routes: nothing of 127.0.0.0/8 can be dialled without it.
        let line = format!("addr {verb} 127.0.0.1/8 dev lo");
        netns::ip(Some(lab.node(0).netns()), &[line]).expect("changed");
    };
    loopback("del");
    let failing = agent.await_status("a failing self-test", |status| {
        !status.datapath.self_test.failures.is_empty()
    });
    let before = failing.expect("it fails").datapath;
    let since = Instant::now();
    let enough = before.self_test.runs + 10;
    let tried = agent.await_status("ten more", |s| s.datapath.self_test.runs >= enough);
    let after = tried.expect("it is tried again").datapath;
    let (runs, elapsed) = (after.self_test.runs - before.self_test.runs, since.elapsed());
    println!("{runs} self-tests in {elapsed:?}");
    let most = elapsed.as_millis() / SELF_TEST_INTERVAL.as_millis() + 3;
    assert!(u128::from(runs) <= most, "{runs} self-tests in {elapsed:?}");
    assert_eq!(after.self_test.failed_runs - before.self_test.failed_runs, runs);
    assert_eq!(after.reattached, before.reattached, "nothing was detached");
    assert!(connect(&lab).ok, "others do not feel it");
    loopback("add");
    let proven = agent.await_status("a proof", |status| status.obstacles().is_empty());
    assert_eq!(proven.expect("proven").datapath.reattached, before.reattached);
}

#[test]
fn a_program_that_admits_no_other_is_named_and_nothing_is_attached() {
    let Some(lab) = Lab::builder().control_planes(1).build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&Configuration::of(&lab)).expect("written");
    let selfish = Foreign::passing("selfish").expect("loaded");
    selfish.attach_alone(lab.node(0).cgroup()).expect("attached");
    let args = ["run".into(), "--config".into(), agent.file().into()];
    let output = agent.nllb(&args).expect("ran");
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{errors}");
    assert_eq!(output.status.code(), Some(5), "{errors}");
    let last = errors.lines().last().unwrap_or_default();
    assert!(last.contains("selfish") && last.contains("connect4"), "{errors}");
    assert!(last.contains(&lab.node(0).cgroup().display().to_string()), "{errors}");
    assert_eq!(pins::link_pins(&agent.pins()).unwrap_or_default(), Vec::<PathBuf>::new());
    agent.spawn().expect("spawned");
    assert_eq!(agent.await_end().expect("ended").code(), Some(5), "and again");
}

#[test]
fn a_loopback_frontend_of_scope_all_is_for_pods_too() {
    let Some(lab) = Lab::builder().pods(1).build_or_skip() else { return };
    let configuration = Configuration { loopback_scope: "all", ..Configuration::of(&lab) };
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    let loopback: [SocketAddr; 2] =
        [(Ipv4Addr::LOCALHOST, 7443).into(), (Ipv6Addr::LOCALHOST, 7443).into()];
    for client in [lab.client(0), lab.pod_client(0, 0)] {
        let client = client.expect("a client");
        for address in loopback {
            let outcome = client.connect(&Connect::name_of(address)).expect("an outcome");
            assert!(outcome.ok, "{address}: {outcome:?}");
        }
    }
    drop(agent);
}

/// Breaks each link in turn; the self-test must notice, repair, count and show it.
fn is_repaired(wreck: impl Fn(&Path), is_new: bool) {
    let Some((lab, mut agent)) = lab_with_agent(Lab::builder()) else { return };
    let mut repaired = 0;
    for pin in pins::link_pins(&agent.pins()).expect("pins") {
        let before = pins::links(&agent.pins()).expect("links");
        let name = pin.file_name().expect("a name").to_string_lossy().into_owned();
        let failed = agent.status().expect("a status").datapath.self_test.failed_runs;
        wreck(&pin);
        let status = agent
            .await_status("a repair", |status| {
                status.datapath.reattached > repaired && status.obstacles().is_empty()
            })
            .expect("repaired");
        repaired = status.datapath.reattached;
        assert!(status.datapath.self_test.failed_runs > failed, "{name} was noticed");
        let after = pins::links(&agent.pins()).expect("links");
        assert_eq!(after.len(), 3);
        if is_new {
            assert_ne!(after[&name], before[&name], "{name} is another");
        }
        assert!(connect(&lab).ok, "{name}");
    }
    assert!(agent.log().contains("not fully attached"));
}

fn connect(lab: &Lab) -> nllb_lab::Outcome {
    let client = lab.client(0).expect("a client");
    client.connect(&Connect::name_of((VIP_V4, 443).into())).expect("an outcome")
}

fn lab_with_agent(builder: nllb_lab::lab::Builder) -> Option<(Lab, Agent)> {
    let lab = builder.build_or_skip()?;
    let configuration =
        Configuration { self_test_interval: SELF_TEST_INTERVAL, ..Configuration::of(&lab).quick() };
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    Some((lab, agent))
}
