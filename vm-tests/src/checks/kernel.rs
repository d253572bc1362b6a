//! How the kernel was built, started or set.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::machine::{Machine, has_ipv6, write};

const TYPES: &str = "/sys/kernel/btf";
const HARDEN: &str = "/proc/sys/net/core/bpf_jit_harden";

/// Started with `ipv6.disable=1`: frontends of IPv6 in the configuration are in nobody's way.
pub(super) fn without_ipv6() -> Result<()> {
    ensure!(!has_ipv6(), "this kernel has IPv6");
    Machine::start("no-ipv6")?.translates()?;
    Ok(())
}

/// A kernel that does not tell its types: nothing of them is in the file system.
pub(super) fn without_types() -> Result<()> {
    mount(Some("none"), TYPES, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .context("cannot hide the types")?;
    let translated = Machine::start("no-types").and_then(|mut machine| machine.translates());
    umount(TYPES).context("cannot show the types again")?;
    translated.map(drop)
}

/// Constants are blinded, for root too.
pub(super) fn hardened_jit() -> Result<()> {
    write(HARDEN, "2")?;
    let translated = Machine::start("hardened").and_then(|mut machine| machine.translates());
    write(HARDEN, "0")?;
    translated.map(drop)
}

/// What users without privileges may do changes nothing for who has them.
pub(super) fn unprivileged_bpf(value: &str) -> Result<()> {
    write("/proc/sys/kernel/unprivileged_bpf_disabled", value)?;
    Machine::start("unprivileged")?.translates()?;
    Ok(())
}

/// As a shell or a container runtime of the time of Linux 5.10 starts it, where maps of others count as well.
pub(super) fn little_locked_memory() -> Result<()> {
    const USUAL: u64 = 64 << 10;
    // 256 KiB of somebody else's, who is the same user.
    let others = Array::<MapData, u64>::create(1 << 15, 0).context("no map of somebody else")?;
    let (_, most) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, USUAL.min(most), most).context("cannot limit")?;
    Machine::start("little-memory")?.translates()?;
    drop(others);
    Ok(())
}
