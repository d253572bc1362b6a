//! An agent that is killed at every boundary between two of its calls that change maps, pins and links, in the middle
//! of a first set-up, an adoption and a change of configuration. Each time the kernel holds something that makes sense,
//! the next agent goes on from there, and then its status and the maps agree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nllb_agent::status::Status;
use nllb_lab::agreement::Held;
use nllb_lab::client::protocol::LoopReport;
use nllb_lab::guard::{Call, Guard};
use nllb_lab::lab::VIP_V4;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Client, Configuration, Connect, ConnectLoop, Lab, Traffic, pins};

/// Far more calls than any of these changes takes.
const MOST_CALLS: usize = 300;

#[test]
fn a_first_set_up_that_was_killed_anywhere_is_completed_by_the_next_agent() {
    let Some(lab) = Lab::builder().control_planes(2).build_or_skip() else { return };
    // Datagrams have eight links more.
    let datagrams =
        "{ name: udp, kind: vip, protocol: udp, addresses: ['10.96.0.10:53'], pool: apiserver }";
    let frontends = vec![datagrams.to_owned()];
    let configuration = Configuration { loopback: Vec::new(), frontends, ..small(&lab) };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&configuration).expect("configured");
    let client = lab.client(0).expect("a client");
    let mut calls = Vec::new();
    // The last one stays until the end.
    let mut guard;
    for left in 0..MOST_CALLS {
        guard = agent.spawn_guarded(Some(left)).expect("started");
        let Some(before) = killed(&mut agent, &guard, is_ready) else { break };
        calls.push(before);
        // Not translated, or to a server; nothing else.
        let outcome = client.connect(&vip()).expect("an outcome");
        let untranslated = outcome.error.as_deref() == Some("ENETUNREACH");
        assert!(outcome.ok || untranslated, "{outcome:?} before {before:?}, call {left}");
        // Before there are any pins there is nothing to look at.
        if let Ok(held) = Held::read(&agent.pins()) {
            assert_eq!(held.dangling(), [""; 0], "before {before:?}, call {left}");
        }
        agent.restart().expect("restarted");
        agree(&mut agent);
        let outcome = client.connect(&vip()).expect("an outcome");
        assert!(outcome.ok, "{outcome:?} after {before:?}, call {left}");
        agent.kill().expect("killed");
        agent.uninstall().expect("removed");
    }
    told("a first set-up", &calls);
    agree(&mut agent);
}

#[test]
fn an_adoption_that_was_killed_anywhere_fails_no_connect_and_is_completed_by_the_next_agent() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &small(&lab)).expect("an agent");
    let client = lab.client(0).expect("a client");
    let clients = Clients::start(&lab, &client);
    let mut history = History::default();
    let before = history.look(&agent);
    let mut calls = Vec::new();
    // The last one stays until the end.
    let mut guard;
    for left in 0..MOST_CALLS {
        agent.kill().expect("killed");
        guard = agent.spawn_guarded(Some(left)).expect("started");
        let Some(call) = killed(&mut agent, &guard, is_ready) else { break };
        calls.push(call);
        assert_eq!(history.look(&agent), before, "before {call:?}, call {left}");
        clients.go_on();
        let status = agent.restart().expect("restarted");
        assert!(status.agent.adopted);
        agree(&mut agent);
        assert_eq!(history.look(&agent), before, "after {call:?}, call {left}");
        clients.go_on();
    }
    told("an adoption", &calls);
    agree(&mut agent);
    clients.go_on();
}

#[test]
fn a_change_of_the_maps_that_was_killed_anywhere_fails_no_connect_and_is_completed_by_the_next_agent()
 {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let servers: Vec<SocketAddr> = lab.control_planes().iter().map(|it| it.tls()).collect();
    let one = Configuration { endpoints: servers[..2].to_vec(), ..small(&lab) };
    // Another server under an id that may have been another's, and frontends that come and go.
    let other = Configuration {
        endpoints: servers[1..].to_vec(),
        vip: vec![(VIP_V4, 443).into(), (VIP_V4, 6443).into()],
        loopback: Vec::new(),
        ..one.clone()
    };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&one).expect("configured");
    let mut guard = agent.spawn_guarded(None).expect("started");
    ready(&mut agent);
    let client = lab.client(0).expect("a client");
    let clients = Clients::start(&lab, &client);
    let mut history = History::default();
    let mut calls = Vec::new();
    for left in 0..MOST_CALLS {
        let generation = agent.status().expect("a status").config.generation;
        agent.configure(&other).expect("configured");
        guard.arm(left);
        agent.hang_up().expect("told");
        let in_force = |status: &Status| status.config.generation > generation;
        let Some(call) = killed(&mut agent, &guard, in_force) else { break };
        calls.push(call);
        history.look(&agent);
        clients.go_on();
        guard = agent.spawn_guarded(None).expect("started");
        ready(&mut agent);
        agree(&mut agent);
        history.look(&agent);
        clients.go_on();
        agent.reload(&one).expect("reloaded");
        agree(&mut agent);
        history.look(&agent);
        clients.go_on();
    }
    told("a change", &calls);
    agree(&mut agent);
    history.look(&agent);
    clients.go_on();
}

/// Few frontends, so that there are few calls; a lease that no restart outlives.
fn small(lab: &Lab) -> Configuration {
    let (vip, loopback) = (vec![(VIP_V4, 443).into()], vec![([127, 0, 0, 1], 7443).into()]);
    let lease = Duration::from_secs(60);
    Configuration { vip, loopback, lease, ..Configuration::of(lab).quick() }
}

fn vip() -> Connect {
    Connect::name_of((VIP_V4, 443).into())
}

/// Before which call the agent was killed; none when it has come as far as `good` without, and is safe from then on.
fn killed(agent: &mut Agent, guard: &Guard, good: impl Fn(&Status) -> bool) -> Option<Call> {
    let ended = wait_until("an end or a good status", || {
        if let Some((call, _)) = guard.killed() {
            return Ok(Some(Some(call)));
        }
        ensure!(agent.is_running(), "the agent has ended by itself:\n{}", agent.log());
        if !agent.status().is_ok_and(|status| good(&status)) {
            return Ok(None);
        }
        guard.disarm();
        Ok(Some(guard.killed().map(|(call, _)| call)))
    });
    let call = ended.expect("one of both")?;
    agent.await_end().expect("it has ended");
    Some(call)
}

/// Waits until status and maps agree.
fn agree(agent: &mut Agent) {
    let pins = agent.pins();
    let mut last = Vec::new();
    let agreed = wait_until("status and maps that agree", || {
        let status: Status = told_by_the_command_line(agent)?;
        last = Held::read(&pins)?.differences(&status);
        Ok(last.is_empty().then_some(()))
    });
    assert!(agreed.is_ok(), "{agreed:?}: {last:#?}\n{}", agent.log());
    let [published, pinned] = pins::sets(&pins).expect("the sets");
    assert_eq!(published, pinned, "pins of sets that no pool has, or sets without pins");
}

fn told_by_the_command_line(agent: &Agent) -> Result<Status> {
    let socket = agent.socket().into_os_string();
    let output =
        agent.nllb(&["status".into(), "-o".into(), "json".into(), "--socket".into(), socket])?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

fn ready(agent: &mut Agent) {
    agent.await_status("a ready agent", is_ready).expect("ready");
}

/// Who has had which id with which epoch: never two.
#[derive(Default)]
struct History(BTreeMap<(u32, u32), SocketAddr>);

impl History {
    /// Looks at the maps, which make sense by themselves; gives who has which id now.
    fn look(&mut self, agent: &Agent) -> BTreeMap<(u32, u32), SocketAddr> {
        let held = Held::read(&agent.pins()).expect("the maps");
        assert_eq!(held.dangling(), [""; 0]);
        let [published, pinned] = pins::sets(&agent.pins()).expect("the sets");
        assert!(published.is_subset(&pinned), "{published:?} of {pinned:?} are pinned");
        let now: BTreeMap<_, _> = held.identities().collect();
        for (identity, address) in &now {
            let known = self.0.entry(*identity).or_insert(*address);
            assert_eq!(known, address, "{identity:?} was another's");
        }
        now
    }
}

/// A client that connects all the while.
struct Clients<'a> {
    client: &'a Client,
    traffic: u64,
}

impl<'a> Clients<'a> {
    fn start(lab: &Lab, client: &'a Client) -> Self {
        let (interval, patience) = (Duration::from_millis(5), Duration::from_secs(20));
        let loops = vec![ConnectLoop { interval, patience, ..ConnectLoop::in_turn() }];
        let traffic = client.traffic(&Traffic { loops, ..lab.traffic() }).expect("traffic");
        Self { client, traffic }
    }

    /// None has failed, and some more succeed.
    fn go_on(&self) {
        let mut made = 0;
        wait_until("more connects", || {
            for LoopReport { attempts, failed, bad, .. } in
                self.client.traffic_mark(self.traffic)?.loops
            {
                assert_eq!(failed, 0, "{bad:?}");
                made += attempts;
            }
            Ok((made >= 20).then_some(()))
        })
        .expect("connects");
    }
}

fn told(what: &str, calls: &[Call]) {
    println!("{what}: killed before each of {} calls: {calls:?}", calls.len());
    assert!(!calls.is_empty() && calls.len() < MOST_CALLS, "{} calls", calls.len());
}

/// Everything is set up, and every server has been asked.
fn is_ready(status: &Status) -> bool {
    status.obstacles().is_empty() && status.backends().all(|(_, it)| it.last_probe.is_some())
}
