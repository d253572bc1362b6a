//! How a host, or a container on it, has its cgroups mounted.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount, umount};
use nllb_lab::wait::wait_until;
use nllb_lab::{Connect, cgroup};

use crate::machine::{Machine, VIP, write};
use crate::private;

const CGROUPS: &str = "/sys/fs/cgroup";

/// As systemd mounts both versions: the second one beside the controllers of the first.
struct Hybrid;

impl Hybrid {
    fn mount() -> Result<Self> {
        umount(CGROUPS).context("cannot unmount the cgroups")?;
        let this = Self;
        mount_at("tmpfs", CGROUPS, "mode=0755")?;
        for (kind, name, options) in
            [("cgroup2", "unified", ""), ("cgroup", "cpu", "cpu"), ("cgroup", "net_cls", "net_cls")]
        {
            let path = format!("{CGROUPS}/{name}");
            fs::create_dir(&path)?;
            mount_at(kind, &path, options)?;
        }
        Ok(this)
    }
}

impl Drop for Hybrid {
    fn drop(&mut self) {
        for name in ["unified", "cpu", "net_cls", ""] {
            // The next check says so if it is in its way.
            let _ = umount(format!("{CGROUPS}/{name}").trim_end_matches('/'));
        }
        let _ = mount_at("cgroup2", CGROUPS, "");
    }
}

fn mount_at(kind: &str, path: &str, options: &str) -> Result<()> {
    mount(Some(kind), path, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount {kind} at {path}"))
}

/// Both versions of cgroups.
pub(super) fn hybrid() -> Result<()> {
    let _hybrid = Hybrid::mount()?;
    let mut machine = Machine::start("hybrid")?;
    let status = machine.translates()?;
    ensure!(status.datapath.cgroup == Path::new("/sys/fs/cgroup/unified"));
    ensure!(status.datapath.cgroup_is_root);
    Ok(())
}

/// A class of traffic on a cgroup of the first version. Before Linux 5.15 all sockets then belong to the root
/// of the second version for as long as the machine runs, so this comes last.
pub(super) fn traffic_classes() -> Result<()> {
    let _hybrid = Hybrid::mount()?;
    let class = "/sys/fs/cgroup/net_cls/class";
    fs::create_dir(class)?;
    write(&format!("{class}/net_cls.classid"), "0x10001")?;
    write(&format!("{class}/cgroup.procs"), "0")?;
    let mut machine = Machine::start("classes")?;
    machine.translates()?;
    drop(machine);
    write("/sys/fs/cgroup/net_cls/cgroup.procs", "0")?;
    // Whoever is on the way out of it leaves it busy.
    let gone = wait_until("an empty class", || Ok(fs::remove_dir(class).ok()));
    gone.context("the class stays")
}

/// A container with a cgroup namespace of its own that sees the host's processes: the root is found.
pub(super) fn private_namespace() -> Result<()> {
    let mut machine = Machine::prepare("private")?;
    machine.agent.run_program(&private::program(false)?);
    machine.agent.restart()?;
    let status = machine.translates()?;
    ensure!(status.datapath.cgroup_is_root, "{:?}", status.datapath.cgroup);
    drop(machine);
    cgroup::remove(Path::new(private::BOX))
}

/// The same without the host's processes: the root cannot be found, and that is told.
pub(super) fn private_namespace_without_a_view() -> Result<()> {
    let mut machine = Machine::prepare("private-pids")?;
    machine.agent.run_program(&private::program(true)?);
    machine.agent.spawn()?;
    let status = machine.agent.await_status("what is wrong", |status| {
        status.datapath.self_test.age_ms.is_some() && !status.datapath.shortcomings.is_empty()
    })?;
    ensure!(!status.datapath.cgroup_is_root, "{:?}", status.datapath.cgroup);
    let told = status.obstacles();
    println!("{told:?}");
    ensure!(told.iter().any(|line| line.contains("not the root")), "{told:?}");
    // Who is outside of it is not served.
    let outcome = machine.dial(Connect::to(VIP.into()))?;
    ensure!(outcome.error.as_deref() == Some("ENETUNREACH"), "{outcome:?}");
    machine.agent.run_own_program();
    let asked =
        machine.agent.nllb(&["status".into(), "--socket".into(), machine.agent.socket().into()])?;
    println!("{}", String::from_utf8_lossy(&asked.stdout));
    ensure!(asked.status.code() == Some(3), "nllb status: {}", asked.status);
    machine.agent.kill()?;
    let bpffs = machine.agent.bpffs().to_owned();
    // It holds the lock of the pins until it has followed its parent.
    wait_until("an end of the agent", || Ok(nllb_agent::datapath::uninstall(&bpffs).ok()))?;
    drop(machine);
    cgroup::remove(Path::new(private::BOX))
}
