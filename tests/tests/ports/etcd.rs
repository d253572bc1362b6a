//! A pool of real etcd: three members that want client certificates.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use nllb_lab::etcd::{self, CLIENTS};
use nllb_lab::pki::Identity;
use nllb_lab::process::Program;
use nllb_lab::{Agent, Connect, Http, Lab};

use super::*;

fn vip() -> SocketAddr {
    (Ipv4Addr::new(10, 96, 1, 1), CLIENTS).into()
}

#[test]
fn members_that_want_client_certificates_leave_and_return() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let Some(program) = etcd::program() else {
        nllb_lab::lab::say_skipped("no etcd here");
        return;
    };
    let planes = lab.control_planes();
    let start = |host| etcd::start(&program, &lab, host, planes).expect("a member");
    let mut members: Vec<Program> = planes.iter().map(start).collect();
    let Identity { certificate, key } = lab.authority().client("nllb").expect("an identity");

    let mut configuration = quick(&lab);
    let line = ", serverName: etcd";
    configuration.frontends.push(frontend("etcd", "vip", vip(), line));
    let probe = |identity: &str| {
        let probe = format!("caFile: $AGENT/ca.pem{identity}");
        pool("etcd", lab.control_planes(), CLIENTS, "profile: etcd,", &probe)
    };
    let identity = ", clientCertificateFile: $AGENT/client.crt, clientKeyFile: $AGENT/client.key";
    configuration.pools.push(probe(identity));
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    let file = |name: &str| agent.file().with_file_name(name);
    fs::write(file("client.crt"), &certificate).expect("written");
    fs::write(file("client.key"), &key).expect("written");
    agent.configure(&configuration).expect("configured");
    agent.restart().expect("ready");
    let all: Vec<_> = lab.control_planes().iter().map(|server| server.at(CLIENTS)).collect();
    await_states(&mut agent, &all, "healthy");
    let up = |status: &Status| {
        all.iter().all(|at| backend(status, *at).is_some_and(|b| b.sentinel.state == "up"))
    };
    agent.await_status("every sentinel up", up).expect("up");

    let client = lab.client(0).expect("a client");
    let http = Http { identity: Some((certificate, key)), ..lab.http("etcd", "/health") };
    let ask = |http: Http| client.connect(&Connect::http(vip(), http)).expect("an outcome");
    let (dead, its_name) = (&mut members[1], lab.control_plane(1).v4().to_string());
    dead.kill().expect("killed");
    await_states(&mut agent, &all[1..2], "unhealthy");
    for _ in 0..20 {
        // Until the others have a new leader they say 503: alive, and nobody is better.
        let outcome = ask(http.clone());
        assert!(outcome.status.is_some(), "{outcome:?}");
    }
    let others = [all[0], all[2]];
    await_states(&mut agent, &others, "healthy");
    dead.restart().expect("started");
    await_states(&mut agent, &all, "healthy");
    // Only its own certificate carries its address.
    let of_it = Http { server_name: its_name, ..http };
    let met = || Ok((ask(of_it.clone()).status == Some(200)).then_some(()));
    wait_until("the member that returned", met).expect("met");

    // Without a client certificate no handshake succeeds, and status says why.
    configuration.pools = vec![probe("")];
    agent.reload(&configuration).expect("reloaded");
    await_states(&mut agent, &all, "unhealthy");
    // Now and then the connection is reset before the alert is read.
    let told = |status: &Status| {
        let probe = backend(status, all[0]).and_then(|b| b.last_probe.as_ref());
        probe.is_some_and(|probe| probe.text.contains("TLS failed"))
    };
    agent.await_status("the reason", told).expect("told");
}
