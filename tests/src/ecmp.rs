//! A control-plane VIP that routers find: the example configurations of `deploy/ecmp`, with a real routing daemon on each
//! member and on the router, which is the lab's first node.

mod bird;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use bird::Bird;

use crate::process::Process;
use crate::vip_stage::{Stage, said};
use crate::wait::wait_until;
use crate::{Lab, tools};

/// The VIP, an address of no network: only routes lead to it.
pub const ROUTED: &str = "10.99.0.100";
/// The same by IPv6.
pub const ROUTED_V6: &str = "fd99::100";
/// What stands under `vip`.
pub const BY_ROUTERS: &str =
    "{ addresses: [10.99.0.100, 'fd99::100'], interface: eth0, ownership: ecmp }";

/// What runs on a member, and the script that switches its routes.
pub type Announcer = (Vec<Process>, PathBuf);

/// Lets every member announce the VIP as long as its agent says so, and the first node route to them. Gives what runs
/// for that.
pub fn announce(
    stage: &Stage,
    router: &Bird,
    member: impl Fn(&Lab, usize) -> Result<Announcer>,
) -> Result<Vec<Process>> {
    let Stage { lab, agents, .. } = stage;
    let mut daemons = vec![router.run_router(lab)?];
    for (index, agent) in agents.iter().enumerate() {
        let (daemon, script) = member(lab, index)?;
        daemons.extend(daemon);
        let words = ["vip", "follow", "--socket"].map(Into::into);
        let words = [&words[..], &[agent.socket().into(), "--".into(), script.into()]].concat();
        daemons.push(agent.start_nllb(&words, &lab.directory().join(format!("follow{index}")))?);
    }
    await_routes(lab, agents.len())?;
    Ok(daemons)
}

/// Waits until so many members are on the way to the VIP, by both families.
pub fn await_routes(lab: &Lab, count: usize) -> Result<()> {
    let router = lab.node(0).netns();
    let routes = || {
        [("-4", ROUTED), ("-6", ROUTED_V6)]
            .map(|(family, vip)| said(router, "ip", &[family, "route", "show", vip]))
    };
    let have = |routes: [String; 2]| routes.iter().all(|one| one.matches("via ").count() == count);
    let waited = wait_until("the routes", || Ok(have(routes()).then_some(())));
    waited.with_context(|| format!("{:?}", routes()))
}

/// A file of `deploy/ecmp` with this lab's addresses.
pub fn example(name: &str, lab: &Lab, member: usize) -> Result<String> {
    let (plane, router) = (lab.control_plane(member), lab.node(0));
    let text = fs::read_to_string(examples().join(name)).context("no such example")?;
    Ok(text
        .replace("10.0.0.100", ROUTED)
        .replace("fd00::100", ROUTED_V6)
        .replace("10.0.0.11", &plane.v4().to_string())
        .replace("fd00::11", &plane.v6().to_string())
        .replace("10.0.0.1 ", &format!("{} ", router.v4()))
        .replace("fd00::1 ", &format!("{} ", router.v6())))
}

/// Where the examples are.
#[must_use]
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ecmp")
}

/// Writes a script of these lines.
pub fn script(directory: &Path, name: &str, lines: &str) -> Result<PathBuf> {
    let file = directory.join(name);
    fs::write(&file, format!("#!/bin/sh\n{lines}"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

/// Where the unpacked libraries of routing daemons are.
#[must_use]
pub fn libraries() -> String {
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
