//! The clients that run beside a fault see what there is to see.

use std::time::Duration;

use nllb_lab::client::protocol::{Held, LoopReport};
use nllb_lab::lab::ControlPlane;
use nllb_lab::wait::wait_until;
use nllb_lab::{
    Agent, Client, Configuration, ConnectLoop, Lab, Purpose, Traffic, TrafficReport, clock,
};

const MS: u64 = 1_000_000;

#[test]
fn loops_connect_a_thousand_times_a_second_and_name_who_answered() {
    let Some((lab, _agent)) = lab_with_agent() else { return };
    // On a busy machine a server may have no turn for a quarter of a second, which is their usual patience.
    let patience = Duration::from_secs(20);
    let loops = [ConnectLoop::in_turn(), ConnectLoop::on_time()];
    let loops = loops.map(|a_loop| ConnectLoop { patience, ..a_loop }).to_vec();
    let clients = [lab.client(0), lab.pod_client(0, 0), lab.pod_client(0, 1)];
    for client in clients {
        let client = client.expect("a client");
        let traffic = client.traffic(&Traffic { loops: loops.clone(), ..lab.traffic() });
        let traffic = traffic.expect("traffic");
        let begun = clock::now_ns();
        let mut total = [0; 2];
        wait_until("a thousand connects", || {
            let report = client.traffic_mark(traffic)?;
            for (total, LoopReport { attempts, failed, .. }) in total.iter_mut().zip(&report.loops)
            {
                assert_eq!(*failed, 0, "{report:?}");
                *total += attempts;
            }
            Ok((total.iter().min() >= Some(&1_000)).then_some(()))
        })
        .expect("connects");
        let elapsed = (clock::now_ns() - begun) / MS;
        println!("{total:?} connects in {elapsed} ms");
        assert!(total.iter().max() <= Some(&(elapsed + 5)), "{total:?} in {elapsed} ms");
        client.traffic_stop(traffic).expect("stopped");
    }
}

#[test]
fn the_end_of_a_server_is_seen_by_loops_and_by_what_is_held() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.pod_client(0, 0).expect("a client");
    let loops = vec![ConnectLoop::in_turn()];
    let traffic = client.traffic(&Traffic { loops, ..lab.traffic() }).expect("traffic");
    let servers: Vec<_> = lab.control_planes().iter().map(|p| p.name().to_owned()).collect();
    client.traffic_hold(traffic, &servers).expect("held");
    let answered = |report: &TrafficReport| {
        let mut kept = report.held.iter().filter(|held| held.purpose == Purpose::Requests);
        kept.clone().count() == 3 && kept.all(|held| held.answers > 0)
    };
    await_report(&client, traffic, "answers on each connection", answered);

    let victim = lab.control_plane(1);
    let begun = clock::now_ns();
    victim.crash().expect("crashed");
    let mut ended = Vec::new();
    let mut failed = 0;
    await_report(&client, traffic, "the end of two connections", |report| {
        failed += report.loops[0].failed;
        ended.extend(report.held.iter().filter(|held| held.resumed_ns.is_some()).cloned());
        ended.len() >= 2
    });
    for Held { server, end, resumed_ns, .. } in &ended {
        let end = end.as_ref().expect("an end");
        assert!(server == victim.name() && end.at_ns > begun, "{ended:?}");
        assert!(!end.by_this_host() && *resumed_ns >= Some(end.at_ns), "{ended:?}");
    }
    assert_eq!(ended.len(), 2, "one for requests, one watch: {ended:?}");
    println!("{failed} connects failed");
    victim.restart().expect("restarted");
    agent.await_state(victim.tls(), "healthy").expect("readmitted");
    await_report(&client, traffic, "a connect to it", |report| {
        report.loops[0].servers.contains_key(victim.name())
    });
    client.traffic_hold(traffic, &servers).expect("held anew");
    let report = client.traffic_mark(traffic).expect("a report");
    assert_eq!(report.held.len(), 6, "{report:?}");
}

#[test]
fn a_client_that_waits_and_one_that_does_not_see_a_frozen_server_differently() {
    let Some(lab) = Lab::builder().control_planes(1).build_or_skip() else { return };
    let plane = lab.control_plane(0);
    let client = lab.client(0).expect("a client");
    let patience = Duration::from_millis(100);
    let in_turn = ConnectLoop { patience, ..ConnectLoop::in_turn() };
    let on_time = ConnectLoop { patience, ..ConnectLoop::on_time() };
    // Straight to the server: there is nobody to lead it elsewhere.
    let frontend = plane.tls();
    let plan = Traffic { frontend, loops: vec![in_turn, on_time], ..lab.traffic() };
    let traffic = client.traffic(&plan).expect("traffic");
    let works = |report: &TrafficReport| report.loops.iter().all(|l| l.servers.contains_key("cp0"));
    await_report(&client, traffic, "connects", works);
    freeze_until(plane, || {
        let mut failed = [0, 0];
        await_report(&client, traffic, "failures", |report| {
            failed[0] += report.loops[0].failed;
            failed[1] += report.loops[1].failed;
            let errors = report.loops.iter().flat_map(|l| &l.bad).filter_map(|a| a.error.as_ref());
            assert!(errors.clone().all(|error| error == "no answer"), "{report:?}");
            failed[0] >= 2
        });
        assert!(failed[1] > failed[0] * 10, "{failed:?}");
    });
    await_report(&client, traffic, "connects again", works);
}

fn freeze_until(plane: &ControlPlane, done: impl FnOnce()) {
    plane.freeze().expect("frozen");
    done();
    plane.thaw().expect("thawed");
}

fn await_report(
    client: &Client,
    traffic: u64,
    what: &str,
    mut good: impl FnMut(&TrafficReport) -> bool,
) {
    wait_until(what, || Ok(good(&client.traffic_mark(traffic)?).then_some(()))).expect("in time");
}

fn lab_with_agent() -> Option<(Lab, Agent)> {
    let lab = Lab::builder().pods(2).build_or_skip()?;
    let agent = Agent::start(&lab, &Configuration::of(&lab)).expect("an agent");
    Some((lab, agent))
}
