//! Weak networks: what is lost on the way is not the server's fault.
//!
//! The lab's relay delays frames and loses some of them, by draws that are the same in every run.
//! Ten minutes of it in virtual time are a test of the core.

use std::thread::sleep;
use std::time::Duration;

use nllb_agent::status::Status;
use nllb_lab::agent::backend;
use nllb_lab::lab::{ControlPlane, VIP_V4};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Connect, Lab, clock, netns, pins};

use crate::scene::{MS, Scene, default};

#[test]
fn five_percent_loss_with_200_ms_round_trips_change_no_state_and_close_nothing() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    for server in lab.control_planes() {
        server.weaken(MS(100), 50).expect("weakened");
    }
    let configuration = Configuration::of(&lab);
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let all_healthy =
        |status: &Status| status.backends().all(|(_, backend)| backend.state == "healthy");
    let before = agent.await_status("healthy servers", all_healthy).expect("healthy");
    // reason: what shall be seen is that nothing happens.
    sleep(Duration::from_secs(40));
    let after = agent.status().expect("a status");
    for server in lab.control_planes() {
        let of = |status| backend(status, server.tls()).expect("a backend").clone();
        let (before, after) = (of(&before), of(&after));
        assert_eq!(after.transitions, before.transitions, "{after:?}\n{}", agent.log());
        assert!(after.rtt_us >= Some(190_000), "{after:?}");
    }
}

#[test]
fn a_lost_syn_costs_its_client_a_tenth_of_a_second_and_the_server_nothing() {
    let Some(scene) = Scene::start(default, false) else { return };
    let server = scene.server(0);
    let status = scene.agent.status().expect("a status");
    let before = backend(&status, server.tls()).expect("a backend").clone();
    lose_one_syn(&scene.lab, server);
    let client = scene.lab.pod_client(0, 0).expect("a client");
    let connect = Connect::name_of((VIP_V4, 443).into());
    let outcome = wait_until("a SYN that is lost", || {
        let outcome = client.connect(&connect)?;
        assert!(outcome.ok, "{outcome:?}");
        let lost = outcome.server.as_deref() == Some(server.name()) && outcome.connect_us > 70_000;
        Ok(lost.then_some(outcome))
    });
    println!("with a lost SYN: {} us", outcome.expect("noticed").connect_us);
    // A pod's handshake ends no suspicion: a probe's does, or a quarter of a second.
    let evidence = wait_until("the end of the suspicion", || {
        let evidence = pins::evidence(&scene.agent.pins(), before.id)?;
        Ok((evidence.suspect_until_ns <= clock::now_ns()).then_some(evidence))
    });
    let evidence = evidence.expect("no suspicion");
    let suspected = evidence.suspect_until_ns.saturating_sub(evidence.last_event_ns);
    assert!(Duration::from_nanos(suspected) <= MS(250), "{evidence:?}");
    let status = scene.agent.status().expect("a status");
    let after = backend(&status, server.tls()).expect("a backend");
    assert_eq!(after.transitions, before.transitions, "{after:?}\n{}", scene.agent.log());
}

/// The next SYN of a pod to a server vanishes; those of the node's own, the probes', do not.
fn lose_one_syn(lab: &Lab, server: &ControlPlane) {
    let (port, pod) = (server.name(), lab.node(0).pods()[0].v4());
    let script = format!(
        "add table bridge loss\n\
         add chain bridge loss {port} {{ type filter hook forward priority 0; }}\n\
         add rule bridge loss {port} oifname {port} ip saddr {pod} tcp flags & (syn | ack) == syn \
         limit rate 1/hour burst 1 packets drop\n"
    );
    netns::nft(&lab.switch(), &script).expect("a rule");
}
