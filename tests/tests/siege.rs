//! What users without rights can do against a node, all at once and from all the places where they can be, while the
//! node's own clients connect. Apart from `hostile.rs`, whose tests share a machine and would be besieged as well.

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nllb_agent::status::Status;
use nllb_lab::agent::verdicts;
use nllb_lab::lab::VIP_V4;
use nllb_lab::load::{load, none_fails};
use nllb_lab::process::Process;
use nllb_lab::usage::{descriptors, rss_mib};
use nllb_lab::{Agent, Client, Configuration, Connect, Lab, Place, Storm};

const NOBODY: u32 = 65_534;
/// Where the agent tells of its health by default.
const HEALTH: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7473);
const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7443);

/// Connects of the node's own clients during the attack.
const CONNECTS: u64 = 2_000;
/// Connects of an attacker for each 50 of these.
const BURST: u64 = 100;
/// What the agent may take for as long as it goes on: connections to its doors, and relayed ones.
const MORE_DESCRIPTORS: usize = 200;
const MORE_MIB: f64 = 16.0;
const MORE_LOG: usize = 64 << 10;

#[test]
fn everything_at_once_from_everywhere_costs_the_nodes_clients_nothing() {
    let Some(lab) = Lab::builder().pods(1).build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab)).expect("an agent");
    open_wide(&agent);
    let client = lab.client(0).expect("a client");
    let traffic = load(&lab, &client, vip());
    let servers: Vec<_> = lab.control_planes().iter().map(|it| it.name().to_owned()).collect();
    client.traffic_hold(traffic, &servers).expect("held");
    none_fails(&client, traffic, 100);
    let before = agent.status().expect("a status");
    let pid = agent.id().expect("it runs");
    let taken = || (rss_mib(pid).expect("it runs"), descriptors(pid).expect("it runs"));
    let ((memory, files), log) = (taken(), logged(&agent));

    let attack = Attack::begin(&lab, &agent);
    let (mut done, mut looks, mut late) = (0, 0, 0);
    let (mut most_memory, mut most_files) = (memory, files);
    let mut failed = 0;
    while done < CONNECTS || looks < 20 {
        failed += attack.strike();
        done += none_fails(&client, traffic, 50);
        let status = agent.status().expect("a status");
        assert_eq!(verdicts(&status), verdicts(&before), "{}", changes(&agent));
        looks += 1;
        late += u64::from(!is_on_time(&status));
        let (memory, files) = taken();
        (most_memory, most_files) = (most_memory.max(memory), most_files.max(files));
    }
    println!(
        "{done} connects beside {failed} of the attackers' that failed, {late} of {looks} looks late, \
         resident {memory:.1} to {most_memory:.1} MiB, {files} to {most_files} descriptors, {} bytes logged by default",
        logged(&agent) - log
    );
    attack.end();
    // The machine is loaded with more than it can do, so the agent may be late now and then, and is not kept from it.
    assert!(late * 2 < looks, "{late} of {looks}");
    assert!(most_memory < memory + MORE_MIB, "{most_memory} MiB");
    assert!(most_files < files + MORE_DESCRIPTORS, "{most_files}");
    assert!(logged(&agent) < log + MORE_LOG, "{} bytes", logged(&agent) - log);

    none_fails(&client, traffic, 100);
    let after = agent.await_status("an agent on time", is_on_time).expect("on time");
    assert_eq!(verdicts(&after), verdicts(&before));
    assert_eq!(after.counters["passed_through"], before.counters["passed_through"]);
    let more = |name: &str| after.counters[name] - before.counters[name];
    for counter in ["connect_reset", "connect_aborted", "event_suppressed"] {
        println!("{counter}: {}", more(counter));
        assert!(more(counter) > 0, "the attack was real: {counter}");
    }
    let settled = agent.await_status("descriptors given back", |_| taken().1 <= files + 20);
    settled.expect("closed");
}

/// What the agent logged about states.
fn changes(agent: &Agent) -> String {
    let log = agent.log();
    let lines = log.lines().filter(|line| line.contains("changed its state"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The lease holds, and every server was asked within twice the interval.
fn is_on_time(status: &Status) -> bool {
    let asked = |age: u64| age < 2_000;
    let probed = status
        .backends()
        .all(|(_, backend)| backend.last_probe.as_ref().is_some_and(|probe| asked(probe.age_ms)));
    status.lease.remaining_ms > 0 && probed
}

/// Opens the admin socket to everybody, as a careless administrator would.
fn open_wide(agent: &Agent) {
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
    };
    mode(&agent.socket(), 0o666);
    for directory in agent.socket().ancestors().skip(1).take(2) {
        mode(directory, 0o755);
    }
}

/// Who attacks: some whenever they are told to, since the servers are on the same machine and are not who is attacked,
/// and some without pause.
struct Attack {
    clients: Vec<(Client, Vec<Connect>)>,
    floods: Vec<(&'static str, Process)>,
}

impl Attack {
    fn begin(lab: &Lab, agent: &Agent) -> Self {
        let node = lab.node(0);
        let nobody = |place: Place| Place { uid: Some(NOBODY), ..place };
        let backends: Vec<_> = lab.control_planes().iter().map(|plane| plane.tls().ip()).collect();
        // In networks of their own they rule: one answers every SYN with a reset, one with nothing, and one says
        // that it is whoever is dialled.
        let addresses = backends.iter().map(|ip| format!("ip addr add {ip}/32 dev lo; "));
        let every = format!("ip link set lo up; {}", addresses.collect::<String>());
        let silent = format!(
            "{every} nft 'add table inet a; add chain inet a o {{ type filter hook output priority 0; }}; \
             add rule inet a o tcp dport 6443 drop'"
        );
        let bogus = format!("{every} ip addr add {VIP_V4}/32 dev lo");
        let apart = |script: &str| Place {
            apart: true,
            prepare: Some(script.to_owned()),
            netns: None,
            ..nobody(node.place())
        };
        let reset = Connect { reset_on_close: true, ..Connect::to(vip()) };
        let impatient = |address, ms| {
            let timeout = Some(Duration::from_millis(ms));
            Connect { nonblocking: true, timeout, ..Connect::to(address) }
        };
        let half_open = impatient(vip(), 1);
        let nowhere = impatient((VIP_V4, 4433).into(), 20);
        let relayed = Connect {
            bind: Some((Ipv4Addr::LOCALHOST, 0).into()),
            reset_on_close: true,
            ..Connect::to(LOOPBACK.into())
        };
        let common = [reset.clone(), half_open.clone(), nowhere];
        let on_node = [&common[..], &[relayed]].concat();
        let places = [
            (nobody(node.place()), on_node),
            (nobody(node.pods()[0].place()), common.to_vec()),
            (apart(&every), vec![reset.clone()]),
            (apart(&silent), vec![half_open]),
            (apart(&bogus), vec![reset]),
        ];
        let clients = places.map(|(place, connects)| {
            let client = Client::start(&place).expect("a client");
            if place.prepare.as_ref() == Some(&bogus) {
                let listeners = backends.iter().map(|ip| SocketAddr::new(*ip, 6443));
                for address in listeners.chain([vip()]) {
                    client.listen_tcp(address, "bogus").expect("it listens");
                }
            }
            (client, connects)
        });
        let socket = agent.socket().display().to_string();
        let health = SocketAddr::from(HEALTH).to_string();
        let doors = [("admin socket", socket, "/v1/status"), ("metrics", health, "/metrics")];
        let floods = doors.map(|(name, at, path)| {
            let args = ["flood".into(), at.into(), path.into()];
            (name, Process::spawn(&nobody(node.place()), &args, None).expect("spawned"))
        });
        Self { clients: clients.into(), floods: floods.into() }
    }

    /// So many connects of each kind from each place, all at once. Gives how many failed, as most of them are to.
    fn strike(&self) -> u64 {
        let begin = |(client, connects): &(Client, Vec<Connect>)| {
            let begin = |connect: &Connect| {
                let storm = Storm { threads: 1, connects: Some(BURST), connect: connect.clone() };
                client.storm_start(&storm).expect("a storm")
            };
            connects.iter().map(begin).collect::<Vec<_>>()
        };
        let begun: Vec<_> = self.clients.iter().map(begin).collect();
        let all = self.clients.iter().zip(begun);
        let reports = all.flat_map(|((client, _), storms)| {
            storms.into_iter().map(|storm| client.storm_wait(storm).expect("a report"))
        });
        reports.map(|report| report.failed()).sum()
    }

    fn end(self) {
        for (name, mut flood) in self.floods {
            drop(flood.take_stdin());
            let mut said = String::new();
            flood.take_stdout().expect("a pipe").read_to_string(&mut said).expect("its count");
            println!("{name}: asked and heard {said}");
            assert!(!said.starts_with("0 "), "the attack was real");
        }
    }
}

/// Bytes of what an agent logs by default.
fn logged(agent: &Agent) -> usize {
    let log = agent.log();
    let told = log.lines().filter(|line| !line.contains(" DEBUG ") && !line.contains(" TRACE "));
    told.map(str::len).sum()
}

fn vip() -> SocketAddr {
    (VIP_V4, 443).into()
}
