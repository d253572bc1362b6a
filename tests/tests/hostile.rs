//! An unprivileged process in a pod or on the node that does what it can against the others.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use nllb_agent::status::{Listener, ListenerState, Status};
use nllb_lab::agent::verdicts;
use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Ask, Client, Configuration, Connect, Lab, Place, Storm, netns};

const NOBODY: u32 = 65_534;
/// A port at which nobody answers, not even with a reset.
const SILENT_PORT: u16 = 9_999;
const RESETTING_PORT: u16 = 9_998;
/// Where the agent tells of its health by default.
const HEALTH: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7473);
const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7443);

#[test]
fn resets_and_silence_on_other_ports_of_a_server_change_nothing() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let rules = format!(
        "add table bridge hostile\n\
         add chain bridge hostile every {{ type filter hook forward priority 0; }}\n\
         add rule bridge hostile every tcp dport {SILENT_PORT} drop\n"
    );
    netns::nft(&lab.switch(), &rules).expect("a filter");
    let attack = |attacker: &Client| {
        for plane in lab.control_planes() {
            let reset = Connect::to((plane.v4(), RESETTING_PORT).into());
            let outcome = attacker.connect(&reset).expect("an outcome");
            assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"), "{outcome:?}");
            let silence = impatient((plane.v4(), SILENT_PORT).into());
            assert!(attacker.connect(&silence).expect("an outcome").timed_out);
        }
    };
    let (before, after) = under_attack(&lab, &mut agent, 20, attack);
    let blamed = |status: &Status| {
        ["connect_reset", "connect_aborted", "syn_silence"].map(|name| status.counters[name])
    };
    assert_eq!(blamed(&after), blamed(&before), "no evidence at all");
}

#[test]
fn aborting_ones_own_connects_changes_no_verdict_and_takes_no_server_away() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    // So that there is time to abort a connect in, on a busy machine most of the time.
    for plane in lab.control_planes() {
        plane.delay(Duration::from_millis(20)).expect("delayed");
    }
    let attack = |attacker: &Client| {
        let abort = Connect { timeout: Some(Duration::from_millis(1)), ..impatient(vip()) };
        for _ in 0..10 {
            attacker.connect(&abort).expect("an outcome");
        }
        let reset = Connect { reset_on_close: true, ..Connect::to(vip()) };
        assert!(attacker.connect(&reset).expect("an outcome").ok);
    };
    let (before, after) = under_attack(&lab, &mut agent, 20, attack);
    let aborted = after.counters["connect_aborted"] - before.counters["connect_aborted"];
    println!("{aborted} connects aborted");
    assert!(aborted >= 100, "the attack was real: {aborted}");
}

#[test]
fn resets_and_silence_forged_in_the_pods_own_network_change_no_verdict() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let pod = lab.node(0).pods()[0].netns().to_owned();
    let forge = |action: &str| {
        let rules = format!(
            "add table inet hostile\n\
             add chain inet hostile out {{ type filter hook output priority 0; }}\n\
             flush chain inet hostile out\n\
             add rule inet hostile out tcp dport 6443 {action}\n"
        );
        netns::nft(&pod, &rules).expect("a filter");
    };
    let attack = |attacker: &Client| {
        forge("reject with tcp reset");
        for _ in 0..20 {
            assert!(!attacker.connect(&Connect::to(vip())).expect("an outcome").ok);
        }
        forge("drop");
        assert!(!attacker.connect(&Connect::to(vip())).expect("an outcome").ok);
    };
    let (before, after) = under_attack(&lab, &mut agent, 5, attack);
    for counter in ["connect_reset", "syn_silence"] {
        let blamed = after.counters[counter] - before.counters[counter];
        println!("{counter}: {blamed}");
        assert!(blamed >= 5, "the attack was real: {counter} {blamed}");
        // What the kernel tells by place is the same, or less of it, and reaches the agent a moment later.
        let told = |status: &Status| {
            let backends: u64 = status.backends().map(|(_, one)| one.failures[counter]).sum();
            let frontends: u64 = status.frontends.iter().map(|one| one.failures[counter]).sum();
            (backends, frontends)
        };
        let status = agent.await_status("failures by place", |status| told(status).0 > 0);
        let status = status.expect("told");
        let (backends, frontends) = told(&status);
        assert_eq!(backends, frontends);
        assert!(backends <= status.counters[counter], "{backends} of {:?}", status.counters);
    }
}

#[test]
fn connections_that_ask_nothing_keep_nobody_from_the_health_of_the_agent() {
    let Some((lab, _agent)) = lab_with_agent() else { return };
    let node = lab.node(0);
    let attacker = Client::start(&Place { uid: Some(NOBODY), ..node.place() }).expect("a client");
    let hold = Connect { keep: true, ..Connect::to(HEALTH.into()) };
    for round in 0..5 {
        for _ in 0..64 {
            assert!(attacker.connect(&hold).expect("an outcome").ok);
        }
        let answer = netns::run_in(node.netns(), health).expect("a namespace").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "round {round}: {answer}");
    }
}

#[test]
fn more_bound_connections_than_can_be_relayed_end_none_that_is() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    // So few that a burst costs no time: of them 256 are the agent's own.
    agent.limit_descriptors(300);
    agent.configure(&Configuration::of(&lab).quick()).expect("written");
    agent.restart().expect("started");
    listens(&mut agent);
    let attacker = Client::start(&Place { uid: Some(NOBODY), ..lab.node(0).place() });
    let attacker = attacker.expect("a client");
    let victim = lab.client(0).expect("a client");
    let bound = |ask| Connect {
        bind: Some((Ipv4Addr::LOCALHOST, 0).into()),
        ask,
        keep: true,
        ..Connect::to(LOOPBACK.into())
    };
    let kept = victim.connect(&bound(Ask::Echo)).expect("an outcome");
    let kept = kept.handle.filter(|_| kept.ok).expect("relayed");
    let burst = (0..400).map(|_| {
        let outcome = attacker.connect(&bound(Ask::Nothing)).expect("an outcome");
        outcome.handle.expect("a handle")
    });
    let burst: Vec<_> = burst.collect();
    let full = agent
        .await_status("all of the burst", |status| {
            let listener = listener(status);
            listener.relayed + listener.over_limit > burst.len() as u64
        })
        .expect("looked at");
    let relayed = listener(&full);
    println!("{} relayed, {} closed at once", relayed.active, relayed.over_limit);
    assert!(relayed.over_limit > 0, "{relayed:?}");
    assert_eq!(relayed.state, ListenerState::Listening);
    assert!(victim.echo(kept, Duration::from_secs(30)).expect("an answer"), "still relayed");
    for handle in burst {
        attacker.close(handle).expect("closed");
    }
    let free = agent.await_status("free places", |status| listener(status).active == 1);
    free.expect("all closed");
    let outcome = victim.connect(&bound(Ask::Name)).expect("an outcome");
    assert!(outcome.ok, "{outcome:?}");
    assert!(victim.echo(kept, Duration::from_secs(30)).expect("an answer"), "still relayed");
}

/// Asks for the agent's health.
fn health() -> io::Result<String> {
    let mut stream = TcpStream::connect(HEALTH)?;
    // Longer than the agent takes on a busy machine, and than it would wait for a held connection.
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: nllb\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn listens(agent: &mut Agent) {
    let up = agent.await_status("a listener", |status| {
        status.listeners.iter().all(|listener| listener.state == ListenerState::Listening)
    });
    up.expect("it listens");
}

fn listener(status: &Status) -> Listener {
    let mut listeners = status.listeners.iter();
    let found = listeners.find(|listener| listener.address == LOOPBACK.into());
    found.expect("a listener").clone()
}

/// Attacks while others connect; every one of theirs must succeed, and no verdict may change.
fn under_attack(
    lab: &Lab,
    agent: &mut Agent,
    rounds: usize,
    attack: impl Fn(&Client),
) -> (Status, Status) {
    let pod = lab.node(0).pods()[0].place();
    let attacker = Client::start(&Place { uid: Some(NOBODY), ..pod }).expect("a client");
    let victim = lab.client(0).expect("a client");
    let connect = Connect { reset_on_close: true, ..Connect::name_of(vip()) };
    let before = agent.status().expect("a status");
    let storm = victim.storm_start(&Storm { threads: 2, connects: None, connect });
    let storm = storm.expect("a storm");
    for _ in 0..rounds {
        attack(&attacker);
        let status = agent.status().expect("a status");
        assert_eq!(verdicts(&status), verdicts(&before));
    }
    let so_far = victim.storm_report(storm).expect("a report").ok;
    while victim.storm_report(storm).expect("a report").ok < so_far + 50 {}
    let report = victim.storm_stop(storm).expect("a report");
    println!(
        "under attack: {} of {} connects failed, the longest took {} us",
        report.failed(),
        report.attempts,
        report.longest_attempt_us
    );
    assert_eq!(report.failed(), 0, "{report:?}");
    let after = agent
        .await_status("a probe of each after the attack", |status| {
            status.backends().all(|(_, backend)| {
                backend.last_probe.as_ref().is_some_and(|probe| probe.age_ms < 200)
            })
        })
        .expect("probes");
    assert_eq!(verdicts(&after), verdicts(&before));
    assert_eq!(after.counters["passed_through"], 0, "nobody was left without a server");
    (before, after)
}

fn impatient(address: SocketAddr) -> Connect {
    let timeout = Some(Duration::from_millis(20));
    Connect { nonblocking: true, timeout, ..Connect::to(address) }
}

fn vip() -> SocketAddr {
    (VIP_V4, 443).into()
}

fn lab_with_agent() -> Option<(Lab, Agent)> {
    let lab = Lab::builder().pods(1).build_or_skip()?;
    let agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    Some((lab, agent))
}
