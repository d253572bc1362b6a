//! A node is upgraded from an earlier agent, and rolled back to it, under load.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use nllb_agent::datapath::attach::Hook;
use nllb_agent::status::Status;
use nllb_common::ABI_VERSION;
use nllb_lab::lab::{VIP_V4, available_or_say};
use nllb_lab::load::{is_direct, load, none_fails, whoami};
use nllb_lab::{Agent, Ask, Balancer, Client, Configuration, Connect, Lab, agent, pins};
use serde_json::Value;

use crate::await_end;
use crate::former::Former;

/// Connections that are held in a loop's traffic: two with each server.
const HELD: u64 = 6;
/// Connections that a client keeps beside.
const KEPT: u64 = 5;

#[test]
fn an_earlier_data_path_is_adopted_and_given_back_and_nobody_notices() {
    let Some(mut node) = Node::build(None) else { return };
    assert_eq!(node.former.layout, ABI_VERSION);
    node.start_former();
    let (client, traffic) = node.load((VIP_V4, 443).into());
    node.hold(&client, traffic);
    let kept = keep(&client);
    let drained = node.lab.control_plane(0).tls();
    node.nllb(&["drain", &drained.to_string()]);
    node.await_former("all counted", |document| active(document) == HELD + KEPT);
    none_fails(&client, traffic, 200);
    let pins = node.agent.pins();
    let before = [pins::links(&pins), pins::maps(&pins)].map(|ids| ids.expect("ids"));
    let programs = pins::programs(&pins).expect("ids");

    for _ in 0..2 {
        let status = node.start_this();
        assert!(status.agent.adopted, "{status:?}");
        assert!(agent::backend(&status, drained).expect("a backend").drained);
        none_fails(&client, traffic, 200);
        node.await_this("all counted", |status| active_in(status) == HELD + KEPT);
        let after = [pins::links(&pins), pins::maps(&pins)].map(|ids| ids.expect("ids"));
        for (before, after) in before.iter().zip(&after) {
            // The newer one may have more.
            let kept = before.iter().all(|(name, id)| after.get(name) == Some(id));
            assert!(kept, "links and maps are the same: {before:?} {after:?}");
        }
        let newer = pins::programs(&pins).expect("ids");
        assert!(newer.iter().all(|(name, id)| programs[name] != *id), "{newer:?} {programs:?}");

        let document = node.start_former();
        assert_eq!(document["agent"]["adopted"], true, "{document}");
        assert!(is_drained(&document, drained), "{document}");
        none_fails(&client, traffic, 200);
        node.await_former("all counted", |document| active(document) == HELD + KEPT);
    }

    node.nllb(&["undrain", &drained.to_string()]);
    node.await_former("a backend in service", |document| !is_drained(document, drained));
    node.start_this();
    none_fails(&client, traffic, 200);
    client.traffic_stop(traffic).expect("stopped");
    node.await_this("those that are kept", |status| active_in(status) == KEPT);
    kept.into_iter().for_each(|handle| client.close(handle).expect("closed"));
    node.await_this("none", |status| active_in(status) == 0);
}

#[test]
fn programs_that_an_earlier_agent_does_not_know_do_no_harm_and_go_with_the_next_one() {
    let Some(mut node) = Node::build(None) else { return };
    let without = Configuration::of(&node.lab).quick();
    let mut with = without.clone();
    with.frontends.push(
        "{ name: dns, kind: vip, protocol: udp, addresses: ['10.96.0.10:53'], pool: apiserver }"
            .to_owned(),
    );
    node.start_former();
    let pins = node.agent.pins();
    let links = || pins::links(&pins).expect("ids").len();
    let (client, traffic) = node.load((VIP_V4, 443).into());
    assert_eq!(links(), Hook::ALWAYS.len());
    let all = Hook::ALWAYS.len() + Hook::DATAGRAMS.len();
    for _ in 0..2 {
        node.agent.configure(&with).expect("written");
        assert!(node.start_this().agent.adopted);
        assert_eq!(links(), all);
        none_fails(&client, traffic, 200);
        node.agent.configure(&without).expect("written");
        assert_eq!(node.start_former()["agent"]["adopted"], true);
        none_fails(&client, traffic, 200);
        assert_eq!(links(), all, "what it does not know it leaves");
    }
    assert!(node.start_this().agent.adopted);
    assert_eq!(links(), 3);
    none_fails(&client, traffic, 200);
}

#[test]
fn an_earlier_data_path_of_another_layout_is_replaced_and_replaces_again() {
    let Some(mut node) = Node::build(Some(ABI_VERSION - 1)) else { return };
    // Behind the loopback address another balancer serves while nothing is translated; nobody else knows the VIP.
    let vip: SocketAddr = (VIP_V4, 443).into();
    let local: SocketAddr = (Ipv4Addr::LOCALHOST, 7443).into();
    let servers: Vec<_> = node.lab.control_planes().iter().map(|plane| plane.tls()).collect();
    let _balancer = Balancer::start(node.lab.node(0), local, &servers).expect("a balancer");
    let document = node.start_former();
    assert_eq!(document["agent"]["abiVersion"], node.former.layout);
    let (by_vip, vip_traffic) = node.load(vip);
    node.hold(&by_vip, vip_traffic);
    let (by_local, local_traffic) = node.load(local);
    node.hold(&by_local, local_traffic);
    let drained = servers[0];
    node.nllb(&["drain", &drained.to_string()]);
    let all = |node: &Node| {
        none_fails(&by_vip, vip_traffic, 100);
        none_fails(&by_local, local_traffic, 100);
        assert!(is_direct(&whoami(&node.lab, &by_local, local), local));
    };
    all(&node);
    let (earlier, here) = (node.pins_of_former(), node.agent.pins());
    let links = pins::links(&earlier).expect("links");
    assert_eq!(links.len(), 3);

    let status = node.start_this();
    assert!(!status.agent.adopted, "maps that would be misread are not taken over");
    assert!(agent::backend(&status, drained).expect("a backend").drained, "by the table on disk");
    all(&node);
    assert!(here.exists() && !earlier.exists());
    await_end(links);
    // What was opened before is nobody's, and its end is not counted.
    let kept = keep(&by_vip);
    node.await_this("the new ones", |status| active_in(status) >= KEPT);
    kept.into_iter().for_each(|handle| by_vip.close(handle).expect("closed"));
    all(&node);

    // The way back is the same, as long as the earlier one knows the maps by name.
    let document = node.start_former();
    assert_eq!(document["agent"]["adopted"], false, "{document}");
    assert!(is_drained(&document, drained), "{document}");
    all(&node);
    // The earlier one leaves the pins of sets, which it does not know. They go when this one is back.
    assert!(earlier.exists());
    assert_eq!(pins::link_pins(&here).expect("pins"), Vec::<PathBuf>::new());
    node.start_this();
    let [published, pinned] = pins::sets(&here).expect("the sets");
    assert_eq!(published, pinned);
    all(&node);

    // And the way that leaves nothing behind in any case: stop, remove, start.
    node.agent.terminate().expect("ended");
    let links = pins::links(&here).expect("links");
    by_vip.traffic_stop(vip_traffic).expect("stopped");
    let file = node.agent.file();
    let removed = node.agent.nllb(&["uninstall".into(), "--config".into(), file.into()]);
    assert!(removed.expect("ran").status.success());
    assert!(!here.exists());
    await_end(links);
    assert!(!is_direct(&whoami(&node.lab, &by_local, local), local), "by the other balancer");
    none_fails(&by_local, local_traffic, 100);
    let document = node.start_former();
    assert!(is_drained(&document, drained), "{document}");
    assert!(is_direct(&whoami(&node.lab, &by_local, local), local));
    none_fails(&by_local, local_traffic, 100);
    by_local.traffic_stop(local_traffic).expect("stopped");
    let _kept = keep(&by_vip);
    node.await_former("the new ones", |document| active(document) == KEPT);
}

/// A node with an agent that is replaced by another, and back.
struct Node {
    agent: Agent,
    lab: Lab,
    former: Former,
}

impl Node {
    fn build(layout: Option<u32>) -> Option<Self> {
        if !available_or_say() {
            return None;
        }
        let former = Former::build_or_skip(layout)?;
        let lab = Lab::builder().build_or_skip()?;
        let agent = Agent::prepare(&lab, 0).expect("an agent");
        agent.configure(&Configuration::of(&lab).quick()).expect("written");
        Some(Self { agent, lab, former })
    }

    /// Starts the earlier agent in the place of the one that runs.
    fn start_former(&mut self) -> Value {
        let program = self.former.program.clone();
        self.stop();
        self.agent.run_program(&program);
        self.agent.spawn().expect("spawned");
        let document = self.await_former("the earlier agent", |document| {
            let probed = |backend: &Value| !backend["lastProbe"].is_null();
            document["datapath"]["selfTest"]["failures"] == serde_json::json!([])
                && !document["datapath"]["selfTest"]["ageMs"].is_null()
                && backends(document).all(probed)
        });
        assert_eq!(document["agent"]["version"], self.former.version);
        document
    }

    /// Starts the agent of this commit in the place of the one that runs.
    fn start_this(&mut self) -> Status {
        self.stop();
        self.agent.run_own_program();
        self.agent.restart().expect("started")
    }

    fn stop(&mut self) {
        if self.agent.id().is_some() {
            assert!(self.agent.terminate().expect("ended").success());
        }
    }

    fn await_former(&mut self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        self.agent.await_document(what, good).expect("a document")
    }

    fn await_this(&mut self, what: &str, good: impl Fn(&Status) -> bool) {
        self.agent.await_status(what, good).expect("a status");
    }

    /// Runs a command of the running agent's program.
    fn nllb(&self, args: &[&str]) {
        let socket = self.agent.socket();
        let args = args.iter().map(Into::into).chain(["--socket".into(), socket.into()]);
        let output = self.agent.nllb(&args.collect::<Vec<_>>()).expect("ran");
        assert!(output.status.success(), "{output:?}");
    }

    fn pins_of_former(&self) -> PathBuf {
        self.agent.bpffs().join(format!("v{}", self.former.layout))
    }

    fn load(&self, frontend: SocketAddr) -> (Client, u64) {
        let client = self.lab.client(0).expect("a client");
        let traffic = load(&self.lab, &client, frontend);
        (client, traffic)
    }

    /// Holds connections with every server.
    fn hold(&self, client: &Client, traffic: u64) {
        let names = self.lab.control_planes().iter().map(|plane| plane.name().to_owned());
        client.traffic_hold(traffic, &names.collect::<Vec<_>>()).expect("held");
    }
}

fn keep(client: &Client) -> Vec<u64> {
    let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
    let open = |_| {
        let outcome = client.connect(&connect).expect("an outcome");
        assert!(outcome.ok, "{outcome:?}");
        outcome.handle.expect("a handle")
    };
    (0..KEPT).map(open).collect()
}

fn backends(document: &Value) -> impl Iterator<Item = &Value> {
    let pools = document["pools"].as_array().into_iter().flatten();
    pools.flat_map(|pool| pool["backends"].as_array().into_iter().flatten())
}

fn is_drained(document: &Value, server: SocketAddr) -> bool {
    let mut all = backends(document);
    all.any(|one| one["address"] == server.to_string() && one["drained"] == true)
}

fn active(document: &Value) -> u64 {
    backends(document).filter_map(|one| one["evidence"]["active"].as_u64()).sum()
}

fn active_in(status: &Status) -> u64 {
    active(&serde_json::to_value(status).expect("JSON"))
}
