//! By a Lease: takeovers after a crash, a power-off and a freeze, releases, and what an API server that fails does not do.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nllb_lab::apiserver::{Api, Service};
use nllb_lab::wait::wait_until;
use nllb_lab::{Connect, Storm};

use super::{Stage, VIP, vip};

/// What stands under `vip`.
const BY_LEASE: &str = "{ addresses: [10.86.0.100], interface: eth0, lease: { duration: 2s } }";
/// What a takeover may take.
const TAKEOVER: Duration = Duration::from_secs(3);
/// What a release may take.
const RELEASE: Duration = Duration::from_millis(500);

#[test]
fn the_vip_of_an_agent_that_is_killed_is_taken_over_and_flows_live_on() {
    let Some(mut stage) = Stage::set(BY_LEASE) else { return };
    let owner = stage.await_owner(&[]);
    assert_eq!(stage.answered_by(), Some(owner));
    let flows: Vec<u64> = (0..12).map(|_| stage.hold()).collect();
    stage.agents[owner].kill().expect("killed");
    let killed = Instant::now();
    let next = stage.await_owner(&[owner]);
    let taken = killed.elapsed();
    println!("owner's agent killed: taken over after {taken:?}");
    assert!(taken < TAKEOVER, "{taken:?}");
    assert_eq!(stage.answered_by(), Some(next), "the old one is silent");
    assert!(flows.iter().all(|flow| stage.carries(*flow)), "every flow lives on");
    stage.agents[owner].restart().expect("ready");
    assert_eq!(stage.owner(), Some(next), "who is back takes nothing");
}

#[test]
fn the_vip_of_a_host_that_loses_power_is_taken_over() {
    let Some(mut stage) = Stage::set(BY_LEASE) else { return };
    let owner = stage.await_owner(&[]);
    let (host, victims) = (stage.lab.control_plane(owner), owner);
    assert!(stage.served_by(Duration::from_secs(1)).is_some());
    let flows: Vec<u64> = (0..12).map(|_| stage.hold()).collect();
    let patience = Duration::from_millis(200);
    let connect =
        Connect { timeout: Some(patience), answer_timeout: patience, ..Connect::name_of(vip()) };
    let storm = Storm { threads: 2, connects: None, connect };
    let client = stage.lab.client(0).expect("a client");
    let storm = client.storm_start(&storm).expect("started");
    host.power_off().expect("off");
    stage.agents[victims].kill().expect("killed");
    let off = Instant::now();
    let next = stage.await_owner(&[owner]);
    println!("owner powered off: lease taken over after {:?}", off.elapsed());
    wait_until("the VIP to be served", || {
        let report = client.storm_report(storm)?;
        Ok((report.longest_gap_us > 500_000 && stage.served_by(RELEASE).is_some()).then_some(()))
    })
    .expect("served");
    let report = client.storm_stop(storm).expect("a report");
    let gap = Duration::from_micros(report.longest_gap_us);
    println!("owner powered off: no client was served for {gap:?}");
    assert!(gap < TAKEOVER, "{gap:?}");
    assert_eq!(stage.answered_by(), Some(next));
    let alive = flows.iter().filter(|flow| stage.carries(**flow)).count();
    println!("{alive} of {} flows live on, those of the dead host's server do not", flows.len());
    assert!(alive > 0);
}

#[test]
fn a_frozen_agent_answers_no_longer_than_its_lease_holds() {
    let Some(stage) = Stage::set(BY_LEASE) else { return };
    let owner = stage.await_owner(&[]);
    let id = Pid::from_raw(stage.agents[owner].id().expect("runs").cast_signed());
    kill(id, Signal::SIGSTOP).expect("stopped");
    let next = stage.await_owner(&[owner, owner]);
    let answered = stage.answered_by();
    kill(id, Signal::SIGCONT).expect("goes on");
    assert_eq!(answered, Some(next), "the kernel has silenced the frozen one");
    wait_until("it to know", || Ok((stage.owner() == Some(next)).then_some(()))).expect("it knows");
    assert_eq!(stage.answered_by(), Some(next));
}

#[test]
fn a_drained_owner_gives_the_vip_away_at_once_and_gets_it_back_from_nobody() {
    let Some(stage) = Stage::set(BY_LEASE) else { return };
    let owner = stage.await_owner(&[]);
    let flow = stage.hold();
    let order = format!(r#"{{"backend": "{}"}}"#, stage.lab.control_plane(owner).tls());
    let asked = Instant::now();
    let (status, said) = stage.agents[owner].order("/v1/drain", &order).expect("answered");
    assert_eq!(status, 200, "{said}");
    let next = stage.await_owner(&[owner]);
    let taken = asked.elapsed();
    println!("owner drained: taken over after {taken:?}");
    assert!(taken < RELEASE, "{taken:?}");
    assert_eq!(stage.answered_by(), Some(next));
    assert!(stage.carries(flow));
    assert_eq!(stage.agents[owner].order("/v1/undrain", &order).expect("answered").0, 200);
    stage.agents[owner].status().expect("a status");
    assert_eq!(stage.owner(), Some(next));
}

#[test]
fn an_agent_that_is_told_to_end_gives_the_vip_away_before() {
    let Some(mut stage) = Stage::set(BY_LEASE) else { return };
    let owner = stage.await_owner(&[]);
    let asked = Instant::now();
    stage.agents[owner].terminate().expect("ended");
    let next = stage.await_owner(&[owner]);
    let taken = asked.elapsed();
    println!("owner's agent ended: taken over after {taken:?}");
    assert!(taken < Duration::from_secs(1), "{taken:?}");
    assert_eq!(stage.answered_by(), Some(next));
}

#[test]
fn an_owner_whose_own_api_server_crashes_gives_the_vip_away() {
    let Some(stage) = Stage::set(BY_LEASE) else { return };
    let owner = stage.await_owner(&[]);
    stage.lab.control_plane(owner).crash().expect("crashed");
    let crashed = Instant::now();
    let next = stage.await_owner(&[owner]);
    println!("owner's API server crashed: taken over after {:?}", crashed.elapsed());
    assert!(crashed.elapsed() < TAKEOVER);
    assert_eq!(stage.answered_by(), Some(next));
    stage.lab.control_plane(owner).restart().expect("back");
    assert_eq!(stage.owner(), Some(next));
}

#[test]
fn api_servers_that_refuse_the_lease_for_a_while_unseat_nobody_who_can_renew_elsewhere() {
    let Some(mut stage) = Stage::set(BY_LEASE) else { return };
    let owner = stage.await_owner(&[]);
    let planes = stage.lab.control_planes();
    for fault in [Api::Refuse(500), Api::Refuse(429), Api::Refuse(403)] {
        planes[0].set_modes(|modes| modes.leases = Service::all(fault)).expect("told");
        let failures = |stage: &Stage| {
            let lease = stage.agents[owner]
                .status()
                .expect("a status")
                .vip_ownership
                .and_then(|it| it.lease);
            let lease = lease.expect("a Lease");
            (lease.failures, lease.renewals)
        };
        let before = failures(&stage);
        wait_until("renewals", || Ok((failures(&stage).1 > before.1 + 8).then_some(())))
            .expect("renewed");
        assert_eq!(stage.owner(), Some(owner), "{fault:?}");
    }
    planes[0].set_modes(|modes| modes.leases = Service::default()).expect("told");
    let lost = |stage: &Stage, index: usize| {
        stage.agents[index]
            .status()
            .expect("a status")
            .vip_ownership
            .and_then(|it| it.lease)
            .map(|it| it.lost)
    };
    assert_eq!(lost(&stage, owner), Some(0));
    stage.agents.clear();
}

#[test]
fn the_vip_is_served_by_whoever_is_healthy_and_its_owner_is_told_in_status_and_events() {
    let Some(stage) = Stage::set(BY_LEASE) else { return };
    let owner = stage.await_owner(&[]);
    let status = stage.agents[owner].status().expect("a status");
    let lease = status.vip_ownership.and_then(|it| it.lease).expect("a Lease");
    assert_eq!(lease.holder, Some(stage.lab.control_plane(owner).v4().to_string()));
    assert!(lease.remaining_ms.is_some_and(|left| left <= 1800) && lease.announces);
    let mut names: Vec<_> =
        (0..40).filter_map(|_| stage.served_by(Duration::from_secs(1))).collect();
    assert_eq!(names.len(), 40);
    names.sort();
    names.dedup();
    assert!(names.len() > 1, "{names:?}");
    let said = stage.agents[owner].nllb(&[
        "events".into(),
        "--socket".into(),
        stage.agents[owner].socket().into(),
    ]);
    let said = String::from_utf8_lossy(&said.expect("events").stdout).into_owned();
    assert!(said.contains(&VIP.to_string()) && said.contains("taken"), "{said}");
    let check = ["vip".into(), "check".into(), "--socket".into()];
    for agent in &stage.agents {
        let args = [&check[..], &[agent.socket().into()]].concat();
        assert!(agent.nllb(&args).expect("ran").status.success());
    }
}
