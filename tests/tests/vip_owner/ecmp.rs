//! By routers: the example configurations of `deploy/ecmp`, with real routing daemons on the members and on the router, which
//! is also the client.

mod bird;
mod frr;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Ask, Connect, Lab, tools};

use self::bird::Bird;
use self::frr::Frr;
use super::{Stage, said};

/// Addresses of no network: only routes lead to them.
const ROUTED: &str = "10.99.0.100";
const ROUTED_V6: &str = "fd99::100";
const BY_ROUTERS: &str =
    "{ addresses: [10.99.0.100, 'fd99::100'], interface: eth0, ownership: ecmp }";
/// What a withdrawal may take when a host is dead.
const WITHDRAWAL: Duration = Duration::from_secs(1);
/// And when its API server is: the agent's verdict, and a script that starts a daemon's client, on a machine with other work.
const BY_SCRIPT: Duration = Duration::from_secs(2);

#[test]
fn bird_routes_around_a_crashed_api_server_and_a_dead_host() {
    let Some(bird) = Bird::find() else { return };
    routed(&bird, |lab, member| bird.run_member(lab, member));
}

#[test]
fn frr_routes_around_a_crashed_api_server_and_a_dead_host() {
    let (Some(frr), Some(bird)) = (Frr::find(), Bird::find()) else { return };
    routed(&bird, |lab, member| frr.run_member(lab, member));
}

/// Three members that announce, and a router that finds out which do.
fn routed(router: &Bird, member: impl Fn(&Lab, usize) -> (Vec<Process>, PathBuf)) {
    let Some(stage) = Stage::set(BY_ROUTERS) else { return };
    let Stage { lab, agents, client } = &stage;
    let _router = router.run_router(lab);
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
    let hold = |vip: &str| {
        let vip: SocketAddr = vip.parse().expect("an address");
        let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to(vip) };
        client.connect(&connect).expect("an outcome").handle.expect("connected")
    };
    let vips = [format!("{ROUTED}:6443"), format!("[{ROUTED_V6}]:6443")];
    let serves = || vips.iter().all(|vip| stage.carries(hold(vip)));
    let flows: Vec<u64> = vips.iter().flat_map(|vip| (0..12).map(|_| hold(vip))).collect();

    lab.control_plane(0).crash().expect("crashed");
    let crashed = Instant::now();
    await_routes(lab, 2);
    println!("API server crashed: withdrawn after {:?}", crashed.elapsed());
    assert!(crashed.elapsed() < BY_SCRIPT, "{:?}", crashed.elapsed());
    let alive = flows.iter().filter(|flow| stage.carries(**flow)).count();
    println!("{alive} of {} flows live on, those of the crashed server do not", flows.len());
    assert!(alive > 0 && serves());

    lab.control_plane(0).restart().expect("back");
    await_routes(lab, 3);
    lab.control_plane(1).unplug().expect("dead");
    let dead = Instant::now();
    await_routes(lab, 2);
    println!("host dead: withdrawn after {:?}", dead.elapsed());
    assert!(dead.elapsed() < WITHDRAWAL, "{:?}", dead.elapsed());
    assert!(serves());
}

/// Waits until so many members are on the way to the VIP, by both families.
fn await_routes(lab: &Lab, count: usize) {
    let router = lab.node(0).netns();
    let routes = || {
        [("-4", ROUTED), ("-6", ROUTED_V6)]
            .map(|(family, vip)| said(router, "ip", &[family, "route", "show", vip]))
    };
    let have = |routes: [String; 2]| routes.iter().all(|one| one.matches("via ").count() == count);
    let waited = wait_until("the routes", || Ok(have(routes()).then_some(())));
    waited.unwrap_or_else(|error| panic!("{error}: {:?}", routes()));
}

/// A file of `deploy/ecmp` with this lab's addresses.
fn example(name: &str, lab: &Lab, member: usize) -> String {
    let (plane, router) = (lab.control_plane(member), lab.node(0));
    fs::read_to_string(examples().join(name))
        .expect("a file")
        .replace("10.0.0.100", ROUTED)
        .replace("fd00::100", ROUTED_V6)
        .replace("10.0.0.11", &plane.v4().to_string())
        .replace("fd00::11", &plane.v6().to_string())
        .replace("10.0.0.1 ", &format!("{} ", router.v4()))
        .replace("fd00::1 ", &format!("{} ", router.v6()))
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ecmp")
}

/// Writes a script that runs one of `deploy/ecmp` after these lines.
fn script(directory: &Path, name: &str, lines: &str) -> PathBuf {
    let file = directory.join(name);
    fs::write(&file, format!("#!/bin/sh\n{lines}")).expect("written");
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
