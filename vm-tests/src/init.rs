//! The first process of a guest: mounts what a distribution mounts, loads modules, reaps, and powers off.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;

use crate::protocol::{MODULES, PROGRAMS};

/// File systems: type, where, options.
const MOUNTS: [(&str, &str, &str); 8] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", "mode=0700"),
    ("securityfs", "/sys/kernel/security", ""),
];

/// Does everything that a guest is for, and ends the guest.
pub(crate) fn run() -> ! {
    if let Err(error) = live() {
        eprintln!("nllb-vm: {error:#}");
    }
    let ended: nix::Result<Infallible> = reboot(RebootMode::RB_POWER_OFF);
    // The kernel panics when its first process ends, which is an end as well.
    panic!("cannot power off: {ended:?}");
}

fn live() -> Result<()> {
    for (kind, path, options) in MOUNTS {
        fs::create_dir_all(path).with_context(|| format!("cannot create {path}"))?;
        mount(Some(kind), path, Some(kind), MsFlags::empty(), Some(options))
            .with_context(|| format!("cannot mount {path}"))?;
    }
    load_modules()?;
    // As a distribution's services have it; one check has less.
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).context("no limit")?;
    let status = Command::new("/bin/ip").args(["link", "set", "lo", "up"]).status();
    status.context("cannot run ip")?;
    let driver = Command::new("/proc/self/exe")
        .arg("drive")
        .env_clear()
        .env("PATH", "/bin")
        .env("HOME", "/root")
        .env("NLLB_LAB_PROGRAM", Path::new(PROGRAMS).join("nllb-lab"))
        .spawn()
        .context("cannot run the driver")?;
    reap_until(Pid::from_raw(driver.id().try_into()?))
}

fn load_modules() -> Result<()> {
    let directory = Path::new(MODULES);
    let order = fs::read_to_string(directory.join("order")).context("no list of modules")?;
    for name in order.lines() {
        let file = File::open(directory.join(name)).with_context(|| format!("no module {name}"))?;
        match finit_module(file, &CString::default(), ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            // Without IPv6 some cannot be had; what needs one tells.
            Err(error) => eprintln!("nllb-vm: module {name}: {error}"),
        }
    }
    Ok(())
}

/// Who loses its parent becomes our child.
fn reap_until(driver: Pid) -> Result<()> {
    loop {
        let told = wait().context("cannot wait")?;
        let over = matches!(told, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
        if over && told.pid() == Some(driver) {
            return Ok(());
        }
    }
}
