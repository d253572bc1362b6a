//! `nllb doctor` against faults that are really there.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use nllb_common::ABI_VERSION;
use nllb_lab::foreign::Foreign;
use nllb_lab::lab::{Builder, TOKEN, shared_names};
use nllb_lab::{Agent, Balancer, Configuration, Lab};
use serde_json::Value;

/// Beyond what a doctor may take (15 s): the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a doctor said.
struct Found {
    code: i32,
    checks: Vec<Value>,
}

impl Found {
    /// Verdict and finding of a check.
    fn check(&self, name: &str) -> (&str, &str) {
        let check = self.checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no check {name} in {:#?}", self.checks));
        let word = |key: &str| check[key].as_str().unwrap_or_default();
        (word("verdict"), word("found"))
    }

    /// The names of the checks that failed.
    fn failed(&self) -> Vec<&str> {
        let failed = self.checks.iter().filter(|check| check["verdict"] == "fail");
        failed.map(|check| check["name"].as_str().expect("a name")).collect()
    }
}

fn doctor(agent: &Agent, more: &[OsString]) -> Found {
    let mut args: Vec<OsString> = ["doctor", "-o", "json", "--config"].map(OsString::from).into();
    args.push(agent.file().into());
    args.extend(more.iter().cloned());
    let begun = Instant::now();
    let output = agent.nllb(&args).expect("it runs");
    let took = begun.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let checks = report["checks"].as_array().expect("a list").clone();
    for check in &checks {
        let wants_fix = matches!(check["verdict"].as_str(), Some("fail" | "warn"));
        assert_eq!(check["fix"].is_string(), wants_fix, "{check}");
    }
    println!("{took:?}, exit code {:?}", output.status.code());
    Found { code: output.status.code().expect("an exit code"), checks }
}

/// Prints what people are shown; gives the exit code.
fn show(agent: &Agent) -> Option<i32> {
    let args = ["doctor".into(), "--socket".into(), agent.socket().into()];
    let output = agent.nllb(&args).expect("it runs");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output.status.code()
}

fn lab_with_agent(builder: Builder) -> Option<(Lab, Agent)> {
    let lab = builder.build_or_skip()?;
    let agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    Some((lab, agent))
}

#[test]
fn a_healthy_node_has_no_fault_and_its_pods_neither() {
    let Some((lab, agent)) = lab_with_agent(Lab::builder().pods(1)) else { return };
    let pod = lab.pod_client(0, 0).expect("a client");
    let pid = pod.id().to_string();
    let found = doctor(&agent, &["--from-pid".into(), pid.into()]);
    assert_eq!(found.failed(), [""; 0], "{:#?}", found.checks);
    let of_host = |check: &&Value| check["verdict"] == "warn" && check["group"] != "host";
    let warned: Vec<_> = found.checks.iter().filter(of_host).collect();
    assert!(warned.is_empty(), "{warned:#?}");
    assert!([0, 3].contains(&found.code), "3: some sysctl of this machine");
    for plane in lab.control_planes() {
        let address = plane.tls();
        for step in [
            "tcp",
            "tls",
            "https /readyz",
            "certificate",
            "anonymous auth",
            "mtu",
            "version",
            "from a pod",
        ] {
            assert_eq!(found.check(&format!("{address} {step}")).0, "pass");
        }
    }
    for name in
        ["agent", "links", "effective", "self-test", "lease", "clock", "listener 127.0.0.1:7443"]
    {
        assert_eq!(found.check(name).0, "pass", "{:?}", found.check(name));
    }
    assert_eq!(show(&agent), Some(found.code), "its configuration is the agent's");
}

#[test]
fn each_step_of_the_way_to_a_backend_fails_by_itself() {
    let Some((lab, mut agent)) = lab_with_agent(Lab::builder()) else { return };
    let [off, frozen, well] = [0, 1, 2].map(|index| lab.control_plane(index));
    off.power_off().expect("off");
    frozen.freeze().expect("frozen");
    for plane in [off, frozen] {
        agent.await_state(plane.tls(), "unhealthy").expect("a verdict");
    }
    let found = doctor(&agent, &[]);
    assert_eq!(found.code, 10);
    let (tcp, tls) = (format!("{} tcp", off.tls()), format!("{} tls", frozen.tls()));
    assert_eq!(found.failed(), [tcp.as_str(), tls.as_str()]);
    assert_eq!(found.check(&format!("{} tcp", frozen.tls())).0, "pass");
    assert_eq!(found.check(&format!("{} https /readyz", well.tls())).0, "pass");
    assert!(found.check("frontend kubernetes").1.starts_with("1 of 3"));
    assert_eq!(show(&agent), Some(10));

    well.power_off().expect("off");
    frozen.power_off().expect("off");
    let found = doctor(&agent, &[]);
    assert_eq!(found.check(&format!("{} tcp", well.tls())).0, "fail");
}

#[test]
fn a_certificate_for_another_name_says_which_name_is_missing() {
    let names = |index| if index == 1 { vec!["other.example".to_owned()] } else { shared_names() };
    let Some(lab) = Lab::builder().names(names).build_or_skip() else { return };
    let mut configuration = Configuration::of(&lab).quick();
    configuration.probe.push("serverName: kubernetes".to_owned());
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    let found = doctor(&agent, &[]);
    let address = lab.control_plane(1).tls();
    let failed = [format!("{address} tls"), format!("{address} certificate")];
    assert_eq!(found.failed(), failed.each_ref().map(String::as_str));
    let (_, text) = found.check(&failed[1]);
    assert!(
        text.contains("frontend kubernetes: its certificate does not cover 10.96.0.1"),
        "{text}"
    );
    assert!(text.contains("other.example"), "{text}");
}

#[test]
fn a_clock_that_is_wrong_is_found_on_this_host_or_on_another() {
    let Some((lab, agent)) = lab_with_agent(Lab::builder()) else { return };
    let ahead = |index: usize, seconds| {
        lab.control_plane(index).set_modes(|modes| modes.ahead = seconds).expect("set");
    };
    ahead(1, -3600);
    let found = doctor(&agent, &[]);
    let (verdict, text) = found.check("clock");
    assert!(verdict == "fail" && text.contains(&lab.control_plane(1).tls().to_string()), "{text}");
    (0..3).for_each(|index| ahead(index, 3600));
    let found = doctor(&agent, &[]);
    let (verdict, text) = found.check("clock");
    assert!(verdict == "fail" && text.starts_with("this host is "), "{text}");
}

#[test]
fn a_way_that_loses_full_packets_is_told_from_a_slow_server() {
    let Some((lab, agent)) = lab_with_agent(Lab::builder()) else { return };
    let plane = lab.control_plane(0);
    plane.drop_larger_to(Some(1000)).expect("set");
    let found = doctor(&agent, &[]);
    let name = format!("{} mtu", plane.tls());
    assert_eq!(found.failed(), [name.as_str()]);
    assert_eq!(found.check(&format!("{} https /readyz", plane.tls())).0, "pass");
    plane.drop_larger_to(None).expect("set");
    assert_eq!(doctor(&agent, &[]).check(&name).0, "pass");
}

#[test]
fn what_others_attached_and_left_is_found_without_an_agent() {
    let Some((lab, mut agent)) = lab_with_agent(Lab::builder()) else { return };
    agent.terminate().expect("ended");
    let found = doctor(&agent, &[]);
    assert_eq!(found.check("agent").0, "fail", "its pins are there");
    assert_eq!((found.check("links").0, found.check("self-test").0), ("pass", "skip"));
    let backend = format!("{} https /readyz", lab.control_plane(0).tls());
    assert_eq!(found.check(&backend).0, "pass", "nothing of that needs an agent");

    let other = agent.bpffs().join(format!("v{}", ABI_VERSION - 1));
    fs::rename(agent.pins(), &other).expect("renamed");
    let found = doctor(&agent, &[]);
    let (verdict, text) = found.check("other versions");
    assert!(verdict == "fail" && text.contains(&other.display().to_string()), "{text}");
    assert_eq!((found.check("links").0, found.check("agent").0), ("warn", "warn"));

    agent.uninstall().expect("uninstalled");
    let selfish = Foreign::passing("selfish").expect("loaded");
    selfish.attach_alone(lab.node(0).cgroup()).expect("attached");
    let found = doctor(&agent, &[]);
    let (verdict, text) = found.check("exclusive programs");
    assert!(verdict == "fail" && text.contains("selfish"), "{text}");
    assert_eq!(found.failed(), ["exclusive programs"]);
}

#[test]
fn an_api_server_on_loopback_alone_and_a_balancer_in_the_way_are_found() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let node = lab.node(0);
    let servers: Vec<_> = lab.control_planes().iter().map(|plane| plane.tls()).collect();
    let local = Balancer::start(node, ([127, 0, 0, 1], 6443).into(), &servers);
    let taken = Balancer::start(node, ([127, 0, 0, 1], 7443).into(), &servers);
    let _running = (local.expect("it listens"), taken.expect("it listens"));
    let own = (node.v4(), 6443).into();
    let configuration = Configuration::of(&lab);
    let endpoints = [configuration.endpoints.clone(), vec![own]].concat();
    let agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&Configuration { endpoints, ..configuration }).expect("written");
    let found = doctor(&agent, &[]);
    let (verdict, text) = found.check(&format!("{own} tcp"));
    assert!(verdict == "fail" && text.contains("listens on loopback alone"), "{text}");
    let (verdict, text) = found.check("listener 127.0.0.1:7443");
    assert!(verdict == "warn" && text.contains("nllb-lab (process "), "{text}");
}

#[test]
fn a_bundle_of_a_running_agent_is_whole_and_for_root_alone() {
    let Some((lab, agent)) = lab_with_agent(Lab::builder()) else { return };
    let file = lab.directory().join("bundle.tar.gz");
    let found = doctor(&agent, &["--bundle".into(), file.clone().into()]);
    assert_eq!(fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);
    let directory = lab.directory().join("unpacked");
    fs::create_dir(&directory).expect("created");
    let status =
        std::process::Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(&directory).status();
    assert!(status.expect("tar runs").success());
    let part = |name: &str| {
        let text = fs::read_to_string(directory.join("nllb-bundle").join(name)).expect(name);
        assert!(!text.contains(TOKEN), "{name}");
        text
    };
    let report: Value = serde_json::from_str(&part("doctor.json")).expect("JSON");
    assert_eq!(report["checks"].as_array().map(Vec::len), Some(found.checks.len()));
    let status: Value = serde_json::from_str(&part("status.json")).expect("JSON");
    assert_eq!(status["agent"]["pid"], agent.id().expect("it runs"));
    let backend = lab.control_plane(2).tls().to_string();
    for (name, has) in [
        ("configuration.json", backend.as_str()),
        ("maps.txt", &backend),
        ("metrics.txt", "nllb_"),
        ("events.json", "started"),
        ("host.txt", "net.ipv4.tcp_syn_retries"),
    ] {
        assert!(part(name).contains(has), "{name} without {has}");
    }
    let again = ["doctor".into(), "--bundle".into(), file.into()];
    let refused = agent.nllb(&again).expect("it runs");
    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
}
