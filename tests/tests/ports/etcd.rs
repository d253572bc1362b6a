//! A pool of real etcd: three members that want client certificates.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use nllb_lab::lab::ControlPlane;
use nllb_lab::pki::Identity;
use nllb_lab::process::Process;
use nllb_lab::{Agent, Connect, Http, Lab, Place, tools};

use super::*;

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;

/// A member's process, and how to start it again.
struct Member {
    process: Process,
    place: Place,
    args: Vec<OsString>,
    log: PathBuf,
}

impl Member {
    fn start(program: &Path, lab: &Lab, server: &ControlPlane) -> Result<Self> {
        let directory = lab.directory().join(format!("etcd-{}", server.name()));
        fs::create_dir(&directory)?;
        let write = |name: &str, content: &str| -> Result<String> {
            let file = directory.join(name);
            fs::write(&file, content)?;
            Ok(file.display().to_string())
        };
        let names = [server.v4().to_string(), "etcd".to_owned()];
        let Identity { certificate, key } = lab.authority().server(server.name(), &names)?;
        let clients = format!("https://{}", server.at(CLIENTS));
        let peers = |server: &ControlPlane| format!("http://{}", server.at(PEERS));
        let member = |server: &ControlPlane| format!("{}={}", server.name(), peers(server));
        let members = lab.control_planes().iter().map(member).collect::<Vec<_>>().join(",");
        let options = [
            ("--name", server.name().to_owned()),
            ("--data-dir", directory.join("data").display().to_string()),
            ("--listen-client-urls", clients.clone()),
            ("--advertise-client-urls", clients),
            ("--listen-peer-urls", peers(server)),
            ("--initial-advertise-peer-urls", peers(server)),
            ("--initial-cluster", members),
            ("--cert-file", write("server.crt", &certificate)?),
            ("--key-file", write("server.key", &key)?),
            ("--trusted-ca-file", write("ca.crt", lab.authority().pem())?),
        ];
        let before = ["exec".into(), "--".into(), program.into()];
        // Its gateway would dial the port with the server's certificate, which is none of a client.
        let flags = ["--client-cert-auth", "--enable-grpc-gateway=false"].map(OsString::from);
        let options = options.into_iter().flat_map(|(key, value)| [key.into(), value.into()]);
        let args: Vec<OsString> = before.into_iter().chain(options).chain(flags).collect();
        let (place, log) = (Place::in_netns(server.netns()), directory.join("log"));
        let process = Process::spawn(&place, &args, Some(&log))?;
        Ok(Self { process, place, args, log })
    }

    fn kill(&mut self) {
        self.process.kill().expect("killed");
    }

    fn restart(&mut self) {
        self.process = Process::spawn(&self.place, &self.args, Some(&self.log)).expect("started");
    }
}

fn vip() -> SocketAddr {
    (Ipv4Addr::new(10, 96, 1, 1), CLIENTS).into()
}

#[test]
fn members_that_want_client_certificates_leave_and_return() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let Some(program) = tools::find("etcd", "etcd-server") else {
        nllb_lab::lab::say_skipped("no etcd here");
        return;
    };
    let start = |server| Member::start(&program, &lab, server).expect("a member");
    let mut members: Vec<Member> = lab.control_planes().iter().map(start).collect();
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
    dead.kill();
    await_states(&mut agent, &all[1..2], "unhealthy");
    for _ in 0..20 {
        // Until the others have a new leader they say 503: alive, and nobody is better.
        let outcome = ask(http.clone());
        assert!(outcome.status.is_some(), "{outcome:?}");
    }
    let others = [all[0], all[2]];
    await_states(&mut agent, &others, "healthy");
    dead.restart();
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
