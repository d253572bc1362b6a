//! A pool for each kind of probe: who leaves, and who comes back.

use std::net::{Ipv4Addr, SocketAddr};

use nllb_lab::apiserver::Speaks;
use nllb_lab::lab::ControlPlane;
use nllb_lab::{Agent, Client, Lab};

use super::*;

/// What is spoken on a port, and how the agent asks there.
struct Of {
    name: &'static str,
    port: u16,
    speaks: Speaks,
    probe: &'static str,
    /// Whether it tells a ready server from one that is not, and a frozen one from a live one.
    sees: (bool, bool),
    tls: bool,
}

const TRUST: &str = "caFile: $AGENT/ca.pem";

const KINDS: [Of; 5] = [
    Of {
        name: "http",
        port: 8001,
        speaks: Speaks::Http,
        probe: "kind: http, path: /readyz",
        sees: (true, true),
        tls: false,
    },
    Of {
        name: "tcp",
        port: 8002,
        speaks: Speaks::Tcp,
        probe: "kind: tcp",
        sees: (false, false),
        tls: false,
    },
    Of {
        name: "tls",
        port: 8003,
        speaks: Speaks::Tls,
        probe: "kind: tls, caFile: $AGENT/ca.pem",
        sees: (false, true),
        tls: true,
    },
    Of {
        name: "grpc",
        port: 8004,
        speaks: Speaks::Grpc,
        probe: "kind: grpc, tls: false, service: lab",
        sees: (true, true),
        tls: false,
    },
    Of {
        name: "grpc-tls",
        port: 8005,
        speaks: Speaks::GrpcTls,
        probe: "kind: grpc, caFile: $AGENT/ca.pem",
        sees: (true, true),
        tls: true,
    },
];

impl Of {
    fn vip(&self) -> SocketAddr {
        (Ipv4Addr::new(10, 96, 1, 1), self.port).into()
    }

    fn at(&self, servers: &[ControlPlane]) -> Vec<SocketAddr> {
        servers.iter().map(|server| server.at(self.port)).collect()
    }
}

struct Scene {
    agent: Agent,
    client: Client,
    lab: Lab,
}

fn scene() -> Option<Scene> {
    let builder = KINDS.iter().fold(Lab::builder(), |lab, of| lab.port(of.port, of.speaks));
    let lab = builder.build_or_skip()?;
    let mut configuration = quick(&lab);
    for of in &KINDS {
        // The certificates carry the Service's name, and not every address that is dialled.
        let name = if of.tls { ", serverName: kubernetes" } else { "" };
        configuration.frontends.push(frontend(of.name, "vip", of.vip(), name));
        configuration.pools.push(pool(of.name, lab.control_planes(), of.port, "", of.probe));
    }
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    for of in &KINDS {
        await_states(&mut agent, &of.at(lab.control_planes()), "healthy");
    }
    let client = lab.client(0).expect("a client");
    Some(Scene { agent, client, lab })
}

#[test]
fn a_server_that_is_not_ready_leaves_where_the_question_shows_it_and_returns() {
    let Some(Scene { mut agent, client, lab }) = scene() else { return };
    let [sick, well @ ..] = lab.control_planes() else { panic!("servers") };
    sick.readyz(Some(500)).expect("not ready");
    let asked = KINDS.iter().filter(|of| of.sees.0);
    for of in asked.clone() {
        await_states(&mut agent, &[sick.at(of.port)], "draining");
        let met = met(&client, of.vip(), 20);
        assert!(!met.contains(sick.name()), "{}: {met:?}", of.name);
        await_states(&mut agent, &of.at(well), "healthy");
    }
    for of in KINDS.iter().filter(|of| !of.sees.0) {
        await_states(&mut agent, &of.at(lab.control_planes()), "healthy");
        await_meeting(&client, of.vip(), sick);
    }
    sick.readyz(None).expect("ready");
    for of in asked {
        await_states(&mut agent, &[sick.at(of.port)], "healthy");
        await_meeting(&client, of.vip(), sick);
    }
}

#[test]
fn a_server_that_dies_leaves_every_pool_and_returns() {
    let Some(Scene { mut agent, client, lab }) = scene() else { return };
    let [dead, well @ ..] = lab.control_planes() else { panic!("servers") };
    dead.crash().expect("crashed");
    for of in &KINDS {
        let status = await_states(&mut agent, &[dead.at(of.port)], "unhealthy");
        let probe = backend(&status, dead.at(of.port)).and_then(|b| b.last_probe.as_ref());
        assert_eq!(probe.map(|probe| probe.outcome.as_str()), Some("refused"), "{}", of.name);
        await_states(&mut agent, &of.at(well), "healthy");
        let met = met(&client, of.vip(), 20);
        assert!(!met.contains(dead.name()), "{}: {met:?}", of.name);
    }
    dead.restart().expect("back");
    for of in &KINDS {
        await_states(&mut agent, &[dead.at(of.port)], "healthy");
        await_meeting(&client, of.vip(), dead);
    }
}

#[test]
fn a_frozen_server_leaves_where_it_must_answer() {
    let Some(Scene { mut agent, client: _, lab }) = scene() else { return };
    let frozen = lab.control_plane(0);
    frozen.freeze().expect("frozen");
    for of in KINDS.iter().filter(|of| of.sees.1) {
        let status = await_states(&mut agent, &[frozen.at(of.port)], "unhealthy");
        let reason = &backend(&status, frozen.at(of.port)).expect("there").reason;
        assert!(reason.contains("connect accepted, but no answer"), "{}: {reason}", of.name);
    }
    // The kernel accepts for it, so that whoever asks nothing notices nothing.
    for of in KINDS.iter().filter(|of| !of.sees.1) {
        let ready = |status: &Status| {
            let probes = &backend(status, frozen.at(of.port)).expect("there").probes;
            probes.get("ready").copied().unwrap_or(0)
        };
        let before = ready(&agent.status().expect("a status"));
        let more = |status: &Status| ready(status) > before + 5;
        agent.await_status("more probes", more).expect("probed");
        await_states(&mut agent, &[frozen.at(of.port)], "healthy");
    }
    frozen.thaw().expect("thawed");
    for of in &KINDS {
        await_states(&mut agent, &[frozen.at(of.port)], "healthy");
    }
}

#[test]
fn certificates_are_read_where_there_are_any_and_status_says_where_not() {
    let Some(Scene { agent, lab, .. }) = scene() else { return };
    let status = agent.status().expect("a status");
    for of in &KINDS {
        let seen = backend(&status, lab.control_plane(0).at(of.port)).expect("there");
        assert_eq!(seen.certificate.is_some(), of.tls, "{}", of.name);
        assert_eq!(seen.sentinel.state, "off", "{}", of.name);
        let frontend = status.frontends.iter().find(|f| f.name == of.name).expect("there");
        assert_eq!(frontend.checks_certificates, of.tls, "{}", of.name);
        let pool = status.pools.iter().find(|pool| pool.name == of.name).expect("there");
        assert!(pool.probe.starts_with(of.name.trim_end_matches("-tls")), "{}", pool.probe);
    }
}

#[test]
fn a_frontend_that_the_certificates_do_not_cover_keeps_its_servers_and_says_so() {
    let Some(lab) = Lab::builder().port(8003, Speaks::Tls).build_or_skip() else { return };
    let mut configuration = quick(&lab);
    let vip = (Ipv4Addr::new(10, 96, 1, 1), 8003).into();
    configuration.frontends.push(frontend("tls", "vip", vip, ""));
    let probe = format!("kind: tls, {TRUST}");
    configuration.pools.push(pool("tls", lab.control_planes(), 8003, "", &probe));
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let overruled = |status: &Status| {
        let frontend = status.frontends.iter().find(|f| f.name == "tls").expect("there");
        let reasons = frontend.backends.iter().filter_map(|b| b.reason.as_ref());
        let told = reasons.filter(|reason| reason.contains("does not cover 10.96.1.1"));
        told.count() == 3 && frontend.backends.iter().all(|b| b.used)
    };
    agent.await_status("certificates judged", overruled).expect("judged");
}
