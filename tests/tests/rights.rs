//! What an agent may do: with each capability taken away, and what it gives up itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use nllb_agent::status::{Status, SystemCalls};
use nllb_lab::capability::{BPF, NET_ADMIN, PERFMON, SYS_ADMIN, SYS_PTRACE};
use nllb_lab::lab::{VIP_V4, say_skipped};
use nllb_lab::load::{load, none_fails};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Ask, Client, Configuration, Connect, Lab, Place, netns, pins};

/// What it cannot do without.
const LEAST: [u32; 3] = [NET_ADMIN, PERFMON, BPF];
/// What deploy/systemd gives it.
const ALL: [u32; 5] = [NET_ADMIN, SYS_PTRACE, SYS_ADMIN, PERFMON, BPF];
const DATA_PATH: u8 = 5;

fn without(all: &[u32], one: u32) -> Vec<u32> {
    all.iter().copied().filter(|held| *held != one).collect()
}

#[test]
fn with_any_of_the_three_taken_away_it_does_not_start_and_says_what_it_needs() {
    let Some((_lab, mut agent)) = lab_with_agent() else { return };
    for (one, name) in [(BPF, "CAP_BPF"), (NET_ADMIN, "CAP_NET_ADMIN"), (PERFMON, "CAP_PERFMON")] {
        let says =
            format!("not permitted to load BPF programs without {name}; run as root, or with ");
        let before = agent.log().len();
        agent.limit_capabilities(&without(&LEAST, one));
        agent.spawn().expect("spawned");
        let ended = agent.await_end().expect("ended");
        let said = agent.log().split_off(before);
        assert_eq!(ended.code(), Some(i32::from(DATA_PATH)), "without {one}: {said}");
        assert!(said.lines().last().is_some_and(|line| line.contains(&says)), "{one}: {said}");
        assert!(agent.order("/v1/drain", "{}").is_err(), "nothing listens");
    }
}

#[test]
fn with_the_three_it_serves_the_host_and_names_the_pods_whose_connections_it_cannot_end() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    agent.limit_capabilities(&LEAST);
    let status = agent.restart().expect("started");
    assert_eq!(status.confinement.capabilities, ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]);
    let [_host, pod] = held(&lab);
    let status = agent.await_status("a pod out of reach", |s| !s.closing.unreached.is_empty());
    let status = status.expect("told");
    assert!(status.closing.unreached[0].contains("CAP_SYS_ADMIN"), "{:?}", status.closing);
    assert_eq!(status.closing.mode, "sock-diag");
    drop(pod);

    agent.terminate().expect("ended");
    assert!(agent.restart().expect("started").agent.adopted);
}

#[test]
fn what_an_earlier_version_left_without_pins_takes_cap_sys_admin_once() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let adopts = |agent: &mut Agent, rights: &[u32]| {
        agent.limit_capabilities(rights);
        let status = agent.restart().expect("started");
        assert!(status.agent.adopted);
        agent.terminate().expect("ended");
    };
    agent.restart().expect("started");
    agent.terminate().expect("ended");
    let sets = pins::set_pins(&agent.pins()).expect("pins");
    assert!(!sets.is_empty());
    for pin in &sets {
        fs::remove_file(pin).expect("removed");
    }

    let before = agent.log().len();
    agent.limit_capabilities(&LEAST);
    agent.spawn().expect("spawned");
    assert_eq!(agent.await_end().expect("ended").code(), Some(i32::from(DATA_PATH)));
    let said = agent.log().split_off(before);
    let says =
        "takes CAP_SYS_ADMIN; run as root or with it once, or begin anew after nllb uninstall";
    assert!(said.lines().any(|line| line.contains(says)), "{said}");
    let client = lab.client(0).expect("a client");
    assert!(client.connect(&Connect::name_of((VIP_V4, 443).into())).expect("an outcome").ok);

    adopts(&mut agent, &[&LEAST[..], &[SYS_ADMIN]].concat());
    assert_eq!(pins::set_pins(&agent.pins()).expect("pins"), sets);
    adopts(&mut agent, &LEAST);
    agent.uninstall().expect("removed");
    assert!(!agent.pins().exists());
}

#[test]
fn cap_sys_admin_stands_for_two_of_the_three_and_for_the_third_only_until_sockets_are_to_be_ended()
{
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    for one in LEAST {
        agent.limit_capabilities(&without(&ALL, one));
        let status = agent.restart().expect("started");
        assert_eq!(status.confinement.capabilities.len(), 4, "{:?}", status.confinement);
        let client = lab.client(0).expect("a client");
        assert!(client.connect(&Connect::name_of((VIP_V4, 443).into())).expect("an outcome").ok);
        if one == NET_ADMIN {
            assert_eq!(status.closing.mode, "timeouts");
            let reason = status.closing.reason.unwrap_or_default();
            assert!(reason.contains("CAP_NET_ADMIN"), "{reason}");
        } else {
            assert_eq!((status.closing.mode.as_str(), status.closing.reason), ("sock-diag", None));
        }
        agent.terminate().expect("ended");
    }
}

#[test]
fn without_cap_sys_ptrace_a_namespace_without_a_name_is_out_of_reach_and_with_it_not() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    agent.limit_capabilities(&without(&ALL, SYS_PTRACE));
    agent.restart().expect("started");
    let _held = held(&lab);
    let reached =
        |status: &Status| status.closing.mode == "sock-diag" && status.closing.unreached.is_empty();
    agent.await_status("a name leads there", reached).expect("reached");
    agent.terminate().expect("ended");
    netns::ip(None, &[format!("netns del {}", lab.node(0).pods()[0].netns())]).expect("deleted");
    for (rights, expected) in [(without(&ALL, SYS_PTRACE), false), (ALL.to_vec(), true)] {
        agent.limit_capabilities(&rights);
        agent.restart().expect("started");
        let status = agent.await_status("as the rights are", |it| reached(it) == expected);
        status.unwrap_or_else(|error| panic!("{rights:?}: {error:#}"));
        agent.terminate().expect("ended");
    }
}

#[test]
fn started_by_root_it_keeps_what_it_uses_and_no_thread_gets_more() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let status = agent.restart().expect("started");
    let all = ["NET_BIND_SERVICE", "NET_ADMIN", "SYS_PTRACE", "SYS_ADMIN", "PERFMON", "BPF"];
    assert_confined(&agent, &status, &all);
    // What a reload and an order need is there.
    agent.reload(&Configuration { policy: "maglev", ..Configuration::of(&lab) }).expect("reloaded");
    agent.terminate().expect("ended");

    let configuration = Configuration { close_sockets: "timeouts", ..Configuration::of(&lab) };
    agent.configure(&configuration).expect("written");
    let status = agent.restart().expect("started");
    let expected = ["NET_BIND_SERVICE", "NET_ADMIN", "SYS_ADMIN", "PERFMON", "BPF"];
    assert_confined(&agent, &status, &expected);
}

#[test]
fn told_so_it_limits_no_system_calls_and_says_it() {
    let Some((_lab, mut agent)) = lab_with_agent() else { return };
    agent.run_with(&["--no-seccomp"]);
    let status = agent.restart().expect("started");
    assert_eq!(status.confinement.system_calls, SystemCalls::Free);
    assert!(status.verdict.notes.iter().any(|note| note.contains("--no-seccomp")), "{status:?}");
    for thread in threads(&agent) {
        assert_eq!((thread["Seccomp"].as_str(), thread["NoNewPrivs"].as_str()), ("0", "1"));
    }
}

#[test]
fn its_pins_and_its_socket_are_roots_alone() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    agent.restart().expect("started");
    let pins = fs::metadata(agent.pins()).expect("there");
    assert_eq!((pins.uid(), pins.mode() & 0o7777), (0, 0o700));
    for pin in fs::read_dir(agent.pins()).expect("readable") {
        let pin = pin.expect("readable");
        let meta = pin.metadata().expect("there");
        assert_eq!((meta.uid(), meta.mode() & 0o077), (0, 0), "{}", pin.path().display());
    }
    let socket = fs::metadata(agent.socket()).expect("there");
    assert_eq!((socket.uid(), socket.mode() & 0o777), (0, 0o600));
    let nobody = Place { uid: Some(65_534), ..lab.node(0).place() };
    let look = ["exec".into(), "--".into(), "ls".into(), agent.pins().into()];
    let mut ls = nllb_lab::process::command(&nobody, &look).expect("a command");
    let output = ls.output().expect("run");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"), "{output:?}");
}

#[test]
fn in_all_that_it_does_no_system_call_is_refused() {
    if Command::new("strace").arg("--version").output().is_err() {
        return say_skipped("no strace here; cargo xtask setup as root installs it");
    }
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let calls = lab.directory().join("calls");
    fs::create_dir(&calls).expect("made");
    agent.write_calls(&calls);
    agent.configure(&Configuration::of(&lab).quick()).expect("written");
    agent.restart().expect("started");
    let client = lab.client(0).expect("a client");
    let traffic = load(&lab, &client, (VIP_V4, 443).into());
    // Translated, relayed, drained, closed in a pod, reloaded, asked.
    none_fails(&client, traffic, 20);
    let bound = Connect {
        bind: Some((Ipv4Addr::LOCALHOST, 0).into()),
        ..Connect::name_of((Ipv4Addr::LOCALHOST, 7443).into())
    };
    assert!(client.connect(&bound).expect("an outcome").ok);
    let order = format!("{{\"backend\": \"{}\"}}", lab.control_plane(2).tls());
    assert_eq!(agent.order("/v1/drain", &order).expect("answered").0, 200);
    assert_eq!(agent.order("/v1/undrain", &order).expect("answered").0, 200);
    let held = held(&lab);
    let dead = lab.control_plane(0).tls();
    lab.control_plane(0).power_off().expect("off");
    agent.await_state(dead, "unhealthy").expect("found");
    for (client, handle, server) in &held {
        let ended = || Ok(client.inspect(*handle)?.error);
        if *server == dead {
            assert_eq!(wait_until("its end", ended).expect("it ends"), "ECONNABORTED");
        }
    }
    agent.reload(&Configuration { policy: "maglev", ..Configuration::of(&lab) }).expect("read");
    agent.terminate().expect("ended");

    let refused = refused_calls(&calls);
    assert_eq!(refused, BTreeSet::new(), "to be added to nllb-agent/src/confine/calls.rs");
}

/// The calls that the agent's own filter refused, once it was there.
fn refused_calls(directory: &Path) -> BTreeSet<String> {
    let mut refused = BTreeSet::new();
    let mut seen = 0;
    for file in fs::read_dir(directory).expect("readable") {
        let text = fs::read(file.expect("readable").path()).expect("readable");
        let text = String::from_utf8_lossy(&text).into_owned();
        // Of the first thread all that came after it; the others have it from their start.
        let since = text.split_once("seccomp(").map_or(text.as_str(), |(_, since)| since);
        seen += since.lines().count();
        let lines = since.lines().filter(|line| line.contains(" = -1 EPERM"));
        refused.extend(lines.map(str::to_owned));
    }
    assert!(seen > 1000, "{seen} calls were written");
    refused
}

fn assert_confined(agent: &Agent, status: &Status, expected: &[&str]) {
    let confinement = &status.confinement;
    let names: Vec<_> = expected.iter().map(|name| format!("CAP_{name}")).collect();
    assert_eq!(confinement.capabilities, names);
    assert_eq!(confinement.system_calls, SystemCalls::Filtered);
    assert_eq!(confinement.problems, Vec::<String>::new());
    let numbers = BTreeMap::from([
        ("NET_BIND_SERVICE", 10),
        ("NET_ADMIN", NET_ADMIN),
        ("SYS_PTRACE", SYS_PTRACE),
        ("SYS_ADMIN", SYS_ADMIN),
        ("PERFMON", PERFMON),
        ("BPF", BPF),
    ]);
    let mask: u64 = expected.iter().map(|name| 1 << numbers[name]).sum();
    let threads = threads(agent);
    assert!(threads.len() > 1, "{threads:?}");
    for thread in threads {
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(thread[set], format!("{mask:016x}"), "{set} of {}", thread["Name"]);
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(thread[set], format!("{:016x}", 0), "{set} of {}", thread["Name"]);
        }
        assert_eq!((thread["NoNewPrivs"].as_str(), thread["Seccomp"].as_str()), ("1", "2"));
        assert_eq!(thread["Seccomp_filters"], "3", "of {}", thread["Name"]);
    }
}

/// What the kernel says of each thread of an agent.
fn threads(agent: &Agent) -> Vec<BTreeMap<String, String>> {
    let tasks = format!("/proc/{}/task", agent.id().expect("it runs"));
    let tasks = fs::read_dir(tasks).expect("it runs").flatten();
    let status = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let fields = status.map(|text| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
    });
    fields.collect()
}

/// A connection of the node and one of a pod, to the first server if it can be met.
fn held(lab: &Lab) -> [(Client, u64, std::net::SocketAddr); 2] {
    let first = lab.control_plane(0).tls();
    [lab.client(0), lab.pod_client(0, 0)].map(|client| {
        let client = client.expect("a client");
        let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
        let met = || {
            let outcome = client.connect(&connect)?;
            let (handle, peer) = (outcome.handle.expect("kept"), outcome.peer.expect("a peer"));
            Ok((peer == first).then_some((handle, peer)))
        };
        let (handle, peer) = wait_until("the first server", met).expect("met");
        (client, handle, peer)
    })
}

fn lab_with_agent() -> Option<(Lab, Agent)> {
    let lab = Lab::builder().pods(1).build_or_skip()?;
    let agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&Configuration::of(&lab)).expect("written");
    Some((lab, agent))
}
