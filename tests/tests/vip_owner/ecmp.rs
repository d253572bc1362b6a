//! By routers: the example configurations of `deploy/ecmp`, with real routing daemons on the members and on the router, which
//! is also the client.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Ask, Connect, Lab, netns, tools};

use super::{Stage, said};

/// An address of no network: only routes lead to it.
const ROUTED: &str = "10.99.0.100";
const BY_ROUTERS: &str = "{ addresses: [10.99.0.100], interface: eth0, ownership: ecmp }";
/// What a withdrawal may take.
const WITHDRAWAL: Duration = Duration::from_secs(1);
const ROUTER_CONF: &str = r#"
log stderr all;
router id $ROUTER;
protocol device { }
protocol bfd { interface "eth0" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }
protocol kernel { merge paths on; ipv4 { import none; export all; }; }
template bgp host { local $ROUTER as 65000; bfd; ipv4 { import all; export none; }; }
"#;

#[test]
fn bird_routes_around_a_crashed_api_server_and_a_dead_host() {
    let Some(bird) = Bird::find() else { return };
    routed(|lab, member| bird.run_member(lab, member), |lab| bird.run_router(lab));
}

/// Three members that announce, and a router that finds out which do.
fn routed(
    member: impl Fn(&Lab, usize) -> (Vec<Process>, PathBuf),
    router: impl Fn(&Lab) -> Process,
) {
    let Some(stage) = Stage::set(BY_ROUTERS) else { return };
    let Stage { lab, agents, client } = &stage;
    let _router = router(lab);
    let mut daemons = Vec::new();
    for (index, agent) in agents.iter().enumerate() {
        let (daemon, script) = member(lab, index);
        daemons.extend(daemon);
        let words = ["vip", "follow", "--socket"].map(Into::into);
        let words = [&words[..], &[agent.socket().into(), "--".into(), script.into()]].concat();
        let errors = lab.directory().join(format!("follow{index}"));
        daemons.push(agent.start_nllb(&words, &errors).expect("follows"));
    }
    await_routes(lab, 3);
    let vip = format!("{ROUTED}:6443").parse().expect("an address");
    let hold = Connect { ask: Ask::Echo, keep: true, ..Connect::to(vip) };
    let hold = || client.connect(&hold).expect("an outcome").handle.expect("connected");
    let flows: Vec<u64> = (0..12).map(|_| hold()).collect();

    lab.control_plane(0).crash().expect("crashed");
    let crashed = Instant::now();
    await_routes(lab, 2);
    println!("API server crashed: withdrawn after {:?}", crashed.elapsed());
    assert!(crashed.elapsed() < WITHDRAWAL, "{:?}", crashed.elapsed());
    let alive = flows.iter().filter(|flow| stage.carries(**flow)).count();
    println!("{alive} of {} flows live on, those of the crashed server do not", flows.len());
    assert!(alive > 0 && stage.carries(hold()));

    lab.control_plane(0).restart().expect("back");
    await_routes(lab, 3);
    lab.control_plane(1).unplug().expect("dead");
    let dead = Instant::now();
    await_routes(lab, 2);
    println!("host dead: withdrawn after {:?}", dead.elapsed());
    assert!(dead.elapsed() < WITHDRAWAL, "{:?}", dead.elapsed());
    assert!(stage.carries(hold()));
}

/// Waits until so many members are on the way to the VIP.
fn await_routes(lab: &Lab, count: usize) {
    let routes = || said(lab.node(0).netns(), "ip", &["route", "show", ROUTED]);
    let is_so = || Ok((routes().matches("via ").count() == count).then_some(()));
    let waited = wait_until("the routes", is_so);
    waited.unwrap_or_else(|error| panic!("{error}: {}", routes()));
}

struct Bird {
    program: PathBuf,
}

impl Bird {
    fn find() -> Option<Self> {
        let program = tools::find("bird", "bird2");
        if program.is_none() {
            nllb_lab::lab::say_skipped("no bird: cargo xtask setup");
        }
        Some(Self { program: program? })
    }

    fn client(&self) -> PathBuf {
        self.program.with_file_name("birdc")
    }

    fn run(&self, netns: &str, directory: &Path, conf: &str) -> Process {
        fs::create_dir_all(directory).expect("a directory");
        let file = directory.join("bird.conf");
        fs::write(&file, conf).expect("written");
        let log = fs::File::create(directory.join("log")).expect("a log");
        let mut command = Command::new(&self.program);
        command.arg("-f").arg("-c").arg(file).arg("-s").arg(directory.join("bird.ctl"));
        command.arg("-P").arg(directory.join("pid")).env("LD_LIBRARY_PATH", libraries());
        command.stdin(Stdio::null()).stderr(log);
        netns::run_in(netns, || Process::start(command)).expect("a namespace").expect("runs")
    }

    fn run_router(&self, lab: &Lab) -> Process {
        let node = lab.node(0);
        let mut conf = ROUTER_CONF.replace("$ROUTER", &node.v4().to_string());
        for plane in lab.control_planes() {
            let (name, address) = (plane.name(), plane.v4());
            conf.push_str(&format!(
                "protocol bgp {name} from host {{ neighbor {address} as 65010; }}\n"
            ));
        }
        self.run(node.netns(), &lab.directory().join("bird-router"), &conf)
    }

    /// As in `deploy/ecmp`, with this lab's addresses.
    fn run_member(&self, lab: &Lab, index: usize) -> (Vec<Process>, PathBuf) {
        let plane = lab.control_plane(index);
        let directory = lab.directory().join(format!("bird-{}", plane.name()));
        let conf = example("bird.conf")
            .replace("log syslog all", "log stderr all")
            .replace("10.0.0.100", ROUTED)
            .replace("10.0.0.11", &plane.v4().to_string())
            .replace("10.0.0.1 ", &format!("{} ", lab.node(0).v4()));
        let process = self.run(plane.netns(), &directory, &conf);
        let client = self.client();
        let bin = client.parent().expect("a directory").display().to_string();
        let socket = directory.join("bird.ctl");
        let variables = format!("BIRD_SOCKET={}", socket.display());
        (vec![process], script(&directory, "bird.sh", &bin, &variables))
    }
}

/// A file of `deploy/ecmp`.
fn example(name: &str) -> String {
    fs::read_to_string(examples().join(name)).expect("a file")
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ecmp")
}

/// Runs a script of `deploy/ecmp` with the unpacked programs.
fn script(directory: &Path, name: &str, bin: &str, variables: &str) -> PathBuf {
    let file = directory.join(name);
    let own = examples().join(name);
    let text = format!(
        "#!/bin/sh\nexport PATH={bin}:$PATH LD_LIBRARY_PATH={} {variables}\nexec {} \"$@\"\n",
        libraries(),
        own.display()
    );
    fs::write(&file, text).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("set");
    file
}

/// Where the unpacked libraries are.
fn libraries() -> String {
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let packages =
        ["libssh-gcrypt-4", "frr", "libyang2", "libjson-c5", "libc-ares2", "libprotobuf-c1"];
    let roots = packages.iter().filter_map(|package| tools::unpacked(&format!("debian/{package}")));
    let directories = roots.flat_map(|root| {
        [format!("usr/lib/{machine}"), format!("usr/lib/{machine}/frr")].map(|path| root.join(path))
    });
    let directories: Vec<_> = directories.map(|path| path.display().to_string()).collect();
    directories.join(":")
}
