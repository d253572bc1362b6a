//! Reloads and refusals.

use std::net::SocketAddr;
use std::process::Output;
use std::time::{Duration, Instant};

use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Configuration, Connect, Lab, Storm};

#[test]
fn a_reload_swaps_the_servers_and_fails_no_connect() {
    let Some((lab, mut agent, configuration)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let connect = Connect { reset_on_close: true, ..vip() };
    let storm = client.storm_start(&Storm { threads: 2, connects: None, connect });
    let storm = storm.expect("a storm");
    let report = || client.storm_report(storm).expect("a report");
    for turn in 0..10 {
        let endpoints = configuration.endpoints[turn % 2..=turn % 2 + 1].to_vec();
        let status = agent
            .reload(&Configuration { endpoints: endpoints.clone(), ..configuration.clone() })
            .expect("reloaded");
        assert_eq!(addresses(&status), endpoints);
        let before = report();
        while report().ok < before.ok + 50 {}
    }
    let report = client.storm_stop(storm).expect("a report");
    println!("10 reloads: {} of {} connects failed", report.failed(), report.attempts);
    assert_eq!(report.failed(), 0, "{report:?}");

    let only = vec![lab.control_plane(2).tls()];
    agent.reload(&Configuration { endpoints: only, ..configuration }).expect("reloaded");
    for _ in 0..20 {
        let outcome = client.connect(&vip()).expect("an outcome");
        assert_eq!(outcome.server.as_deref(), Some("cp2"), "{outcome:?}");
    }
}

#[test]
fn a_changed_file_is_applied_without_a_signal() {
    let Some((lab, mut agent, configuration)) = lab_with_agent() else { return };
    let before = agent.status().expect("a status").config.generation;
    let vip: Vec<SocketAddr> = vec![(VIP_V4, 8443).into()];
    agent.configure(&Configuration { vip: vip.clone(), ..configuration }).expect("written");
    let status = agent.await_status("a reload", |status| status.config.generation > before);
    assert_eq!(status.expect("a status").frontends[0].addresses, vip);
    let client = lab.client(0).expect("a client");
    assert!(client.connect(&Connect::name_of(vip[0])).expect("an outcome").ok);
    let outcome = client.connect(&self::vip()).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("ENETUNREACH"), "no frontend any more");
}

#[test]
fn five_hundred_addresses_are_swapped_for_five_hundred_others_and_back() {
    let Some((lab, mut agent, configuration)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let addresses = |third: u8| -> Vec<SocketAddr> {
        let hosts = (third..third + 2).flat_map(|third| (1..=250).map(move |last| (third, last)));
        hosts.map(|(third, last)| SocketAddr::from(([10, 97, third, last], 443))).collect()
    };
    let (one, other) = (addresses(0), addresses(100));
    assert_eq!(one.len(), 500);
    for (vip, gone) in [(&one, &other), (&other, &one), (&one, &other)] {
        let started = Instant::now();
        let next = Configuration { vip: vip.clone(), ..configuration.clone() };
        let status = agent.reload(&next).expect("reloaded");
        println!("reloaded in {:?}: {:?} us", started.elapsed(), status.datapath.last_sync_us);
        assert_eq!(status.config.last_reload_error, None);
        assert_eq!(status.datapath.sync_error, None);
        assert_eq!(status.datapath.failed_syncs, 0);
        assert_eq!(status.frontends[0].addresses, *vip);
        for address in [vip[0], vip[250], vip[499]] {
            let outcome = client.connect(&Connect::name_of(address)).expect("an outcome");
            assert!(outcome.ok, "{address}: {outcome:?}");
        }
        let outcome = client.connect(&Connect::name_of(gone[499])).expect("an outcome");
        assert_eq!(outcome.error.as_deref(), Some("ENETUNREACH"), "no frontend: {outcome:?}");
    }
}

#[test]
fn reloads_without_pause_do_not_keep_the_lease_from_being_renewed() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let lease = Duration::from_secs(5);
    let one = Configuration { lease, ..Configuration::of(&lab).quick() };
    let other = Configuration { endpoints: one.endpoints[..2].to_vec(), ..one.clone() };
    let mut agent = Agent::start(&lab, &one).expect("an agent");
    let started = Instant::now();
    let mut left = Vec::new();
    while started.elapsed() < 2 * lease {
        let next = if left.len() % 2 == 0 { &other } else { &one };
        let status = agent.reload(next).expect("reloaded");
        assert!(status.lease.remaining_ms > 0, "lapsed after {:?}", started.elapsed());
        left.push(status.lease.remaining_ms);
    }
    println!("{} reloads, at least {:?} ms of the lease left", left.len(), left.iter().min());
    // Several in the time from one renewal to the next, which is a third of the lease.
    assert!(left.len() >= 20, "{left:?}");
}

#[test]
fn a_bad_configuration_is_refused_and_the_old_one_stays() {
    let Some((lab, mut agent, configuration)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let good = agent.text(&configuration);
    let many: Vec<_> =
        (1..=u8::MAX).map(|last| SocketAddr::from(([10, 97, 0, last], 443))).collect();
    let more = (1..=u8::MAX).map(|last| SocketAddr::from(([10, 97, 1, last], 443)));
    let again = (1..=u8::MAX).map(|last| SocketAddr::from(([10, 97, 2, last], 443)));
    let too_many = Configuration {
        vip: many.into_iter().chain(more).chain(again).collect(),
        ..configuration.clone()
    };
    for (text, words) in [
        (good.replace("kind: vip", "kind: vipp"), ["config.yaml:4", "kind"]),
        (good.replace("lease:", "leese:"), ["config.yaml:", "leese"]),
        (good.replace("timeout: ", "timeout: -"), ["config.yaml:", "timeout"]),
        ("no: such: thing".to_owned(), ["config.yaml:1:", "unknown key"]),
        (agent.text(&too_many), ["frontends", "limit of 1020"]),
    ] {
        agent.write(&text).expect("written");
        agent.hang_up().expect("told");
        let status = agent
            .await_status(&format!("a refusal with {words:?}"), |status| {
                let error = status.config.last_reload_error.as_deref().unwrap_or_default();
                !error.is_empty() && words.iter().all(|word| error.contains(word))
            })
            .expect("refused");
        println!("refused: {:?}", status.config.last_reload_error);
        assert_eq!(status.config.generation, 1);
        assert_eq!(addresses(&status), configuration.endpoints);
        assert!(client.connect(&vip()).expect("an outcome").ok, "the old one stays");
    }
    agent.write(&good).expect("written");
    agent.hang_up().expect("told");
    agent
        .await_status("no error", |status| status.config.last_reload_error.is_none())
        .expect("all is well again");
}

#[test]
fn what_takes_effect_only_at_a_start_is_refused_by_name() {
    let Some((_lab, mut agent, configuration)) = lab_with_agent() else { return };
    let text = agent.text(&configuration).replace("admin.sock", "other.sock");
    agent.write(&text).expect("written");
    let named = agent.await_status("a refusal", |status| {
        status.config.last_reload_error.as_ref().is_some_and(|error| error.contains("admin"))
    });
    named.expect("refused");
}

#[test]
fn an_agent_with_a_bad_configuration_ends_with_one_line_and_applies_nothing() {
    let Some(lab) = Lab::builder().control_planes(1).build_or_skip() else { return };
    let agent = Agent::prepare(&lab, 0).expect("an agent");
    let good = agent.text(&Configuration::of(&lab));
    agent.write(&good.replace("10.96.0.1:443", "10.96.0.1")).expect("written");
    let output = run(&agent);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("config.yaml:4") && errors.contains("addresses"), "{errors}");
    assert!(!agent.pins().exists(), "nothing is applied");
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() {
    let Some((lab, agent, _)) = lab_with_agent() else { return };
    let before = agent.status().expect("a status");
    let output = run(&agent);
    assert!(!output.status.success(), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{}: {errors}", output.status);
    let last = errors.lines().last().unwrap_or_default();
    assert!(last.contains("admin.sock"), "{errors}");
    let after = agent.status().expect("a status");
    assert_eq!(after.agent.pid, before.agent.pid);
    assert_eq!(after.datapath.links, before.datapath.links, "the programs are the first's");
    let client = lab.client(0).expect("a client");
    assert!(client.connect(&vip()).expect("an outcome").ok);
}

fn run(agent: &Agent) -> Output {
    let args = ["run".into(), "--config".into(), agent.file().into()];
    agent.nllb(&args).expect("ran")
}

fn addresses(status: &nllb_agent::status::Status) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> = status.backends().map(|(_, backend)| backend.address).collect();
    addresses.sort_unstable();
    addresses
}

fn lab_with_agent() -> Option<(Lab, Agent, Configuration)> {
    let lab = Lab::builder().build_or_skip()?;
    let configuration = Configuration::of(&lab).quick();
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    Some((lab, agent, configuration))
}

fn vip() -> Connect {
    Connect::name_of((VIP_V4, 443).into())
}
