//! Services besides the API server's: real name servers behind a VIP that the cluster tells of.

mod lookups;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nllb_agent::status::Status;
use nllb_lab::apiserver::{Endpoint, Objects, Offer, Replica};
use nllb_lab::lab::{VIP_V4, say_skipped};
use nllb_lab::name_server::{self, NameServer, who_answers};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
const POOL: &str = "kube-system/kube-dns:53";
const PORTS: [(&str, u16, &str); 2] = [("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")];
/// Ready; ending, but still answering.
const READY: [bool; 3] = [true, true, false];
const ENDING: [bool; 3] = [false, true, true];
const QUICK: &str = "interval: 200ms, confirmInterval: 50ms, maxBackoff: 400ms, timeout: 1s";
const OVER_TCP: &[&str] = &["+tcp"];

struct Scene {
    servers: Vec<NameServer>,
    agent: Agent,
    lab: Lab,
}

impl Scene {
    /// Three name servers, and an agent on `worker-1` that is told of them by the cluster.
    fn build(topology: &str, probe: &str) -> Option<Self> {
        let Some(program) = name_server::program() else {
            say_skipped("no dnsmasq here");
            return None;
        };
        let lab = Lab::builder().build_or_skip()?;
        let start = |host| NameServer::start(&program, host, lab.directory()).expect("a server");
        let servers = lab.control_planes().iter().map(start).collect();
        let agent = Agent::prepare(&lab, 0).expect("an agent");
        let kubeconfig = agent.write_kubeconfig().expect("written");
        let hosts: Vec<_> = lab.control_planes().iter().map(|one| one.v4().to_string()).collect();
        let sources = format!(
            "hosts: ['{}'], kubernetes: {{kubeconfig: {}}}",
            hosts.join("', '"),
            kubeconfig.display()
        );
        let service = format!(
            "- {{ name: kube-system/kube-dns, topology: {topology}, probe: {{ {probe} }} }}"
        );
        let configuration = Configuration {
            endpoints: Vec::new(),
            control_plane: Some(sources),
            rest: vec!["node: { name: worker-1 }".to_owned(), "services:".to_owned(), service],
            ..Configuration::of(&lab).quick()
        };
        agent.configure(&configuration).expect("written");
        let mut scene = Self { servers, agent, lab };
        scene.offer(&[READY, READY, READY]);
        scene.agent.restart().expect("started");
        Some(scene)
    }

    /// The cluster says that the name servers stand like this, the second one on this very node.
    fn offer(&self, conditions: &[[bool; 3]]) {
        let planes = self.lab.control_planes();
        let places = [("worker-2", "a"), ("worker-1", "a"), ("worker-3", "b")];
        let replicas = planes.iter().zip(places).zip(conditions);
        let replicas: Vec<_> = replicas
            .map(|((plane, place), conditions)| Replica {
                address: plane.v4().into(),
                place,
                conditions: *conditions,
            })
            .collect();
        let offer = Offer { namespace: "kube-system", name: "kube-dns", vip: VIP, ports: &PORTS };
        self.lab.set_objects(self.api().with(&offer, &replicas)).expect("told");
    }

    /// The cluster without the Service.
    fn api(&self) -> Objects {
        let planes = self.lab.control_planes().iter();
        let endpoints: Vec<_> = planes.map(|plane| Endpoint::ready(plane.tls())).collect();
        Objects::kubernetes(&endpoints, &[VIP_V4.into()])
    }

    fn at(&self, server: usize) -> SocketAddr {
        self.lab.control_plane(server).at(53)
    }

    fn await_states(&mut self, states: &[&str]) -> Status {
        let wanted: Vec<(SocketAddr, String)> =
            (0..).zip(states).map(|(one, state)| (self.at(one), (*state).to_owned())).collect();
        let stand = |status: &Status| {
            let pool = status.pools.iter().find(|pool| pool.name == POOL)?;
            let backends = pool.backends.iter();
            Some(backends.map(|one| (one.address, one.state.clone())).collect::<Vec<_>>())
        };
        let good = |status: &Status| stand(status).is_some_and(|found| found == wanted);
        self.agent.await_status(&format!("{POOL} {states:?}"), good).expect("a verdict")
    }

    /// Which servers answer so many questions from the node.
    fn answers(&self, how: &[&str], questions: usize) -> BTreeSet<String> {
        let place = self.lab.node(0).place();
        (0..questions).map(|_| who_answers(&place, VIP, how).expect("an answer")).collect()
    }

    /// Asks until just these answer.
    fn await_answers(&self, how: &[&str], servers: &[&str]) {
        let wanted: BTreeSet<String> = servers.iter().map(|name| (*name).to_owned()).collect();
        let answers = || Ok((self.answers(how, 8) == wanted).then_some(()));
        wait_until(&format!("answers of {servers:?}"), answers).expect("answers");
    }
}

#[test]
fn a_service_is_served_by_the_nearest_that_is_well_and_left_alone_when_it_is_gone() {
    let Some(mut scene) = Scene::build("prefer-node", QUICK) else { return };
    let status = scene.await_states(&["healthy"; 3]);
    let names = status.frontends.iter().filter(|front| front.pool == POOL);
    let names: Vec<_> = names.map(|front| front.name.as_str()).collect();
    assert_eq!(names, ["kube-system/kube-dns:dns-tcp/tcp", "kube-system/kube-dns:dns/udp"]);
    let pool = status.pools.iter().find(|pool| pool.name == POOL).expect("the pool");
    assert_eq!(pool.probe, "dns kubernetes.default.svc.cluster.local");
    let bands: Vec<_> = pool.backends.iter().map(|one| one.band).collect();
    assert_eq!(bands, [1, 0, 2]);
    assert_eq!(scene.answers(OVER_TCP, 8), ["cp1".to_owned()].into(), "its own node's");

    // Health comes before distance, and distance goes on among who is well.
    scene.servers[1].kill().expect("killed");
    scene.await_states(&["healthy", "unhealthy", "healthy"]);
    scene.await_answers(OVER_TCP, &["cp0"]);
    scene.servers[1].restart().expect("started");
    scene.await_states(&["healthy"; 3]);
    scene.await_answers(OVER_TCP, &["cp1"]);

    // One that ends drains while it still answers.
    scene.offer(&[READY, ENDING, READY]);
    scene.await_states(&["healthy", "draining", "healthy"]);
    scene.await_answers(OVER_TCP, &["cp0"]);

    // An agent that starts without its cluster goes by what it knew.
    scene.offer(&[READY, READY]);
    scene.await_states(&["healthy"; 2]);
    scene.agent.terminate().expect("ended");
    scene.agent.restart().expect("started");
    scene.await_states(&["healthy"; 2]);
    scene.await_answers(OVER_TCP, &["cp1"]);

    // Without the Service its address is nobody's: who served it without nllb goes on.
    scene.lab.set_objects(scene.api()).expect("told");
    let gone = |status: &Status| status.pools.iter().all(|pool| pool.name != POOL);
    let status = scene.agent.await_status("no pool of it", gone).expect("gone");
    assert!(status.frontends.iter().all(|front| front.pool != POOL));
    let told = &status.discovery.left_out;
    assert!(told.iter().any(|line| line.contains("has no such Service")), "{told:?}");
    assert!(who_answers(&scene.lab.node(0).place(), VIP, OVER_TCP).is_err());
}
