//! What a thread gives up, to be like one with fewer rights or on an older kernel.

use anyhow::{Context, Result};

use crate::sys;

/// `CAP_NET_ADMIN`: to attach programs, and to end sockets.
pub const NET_ADMIN: u32 = 12;
/// `CAP_SYS_PTRACE`: to look at processes of others.
pub const SYS_PTRACE: u32 = 19;
/// `CAP_SYS_ADMIN`: to enter namespaces, among much else.
pub const SYS_ADMIN: u32 = 21;
/// `CAP_SYS_RESOURCE`: to go beyond limits.
pub const SYS_RESOURCE: u32 = 24;
/// `CAP_PERFMON`: to load programs with the arithmetic that ours have.
pub const PERFMON: u32 = 38;
/// `CAP_BPF`: to load programs, and to read their maps.
pub const BPF: u32 = 39;

/// Every capability up to `CAP_CHECKPOINT_RESTORE`, the newest.
const ALL: std::ops::RangeInclusive<u32> = 0..=40;

/// Leaves these capabilities to the calling thread, and with it to those it starts.
pub fn keep(capabilities: &[u32]) -> Result<()> {
    let others: Vec<_> = ALL.filter(|one| !capabilities.contains(one)).collect();
    sys::drop_capabilities(&others).context("cannot give up capabilities")
}

/// Takes one capability from the calling thread, and from those it starts.
pub fn give_up(capability: u32) -> Result<()> {
    sys::drop_capabilities(&[capability]).context("cannot give up a capability")
}

/// Lets the calling thread, and those it starts, read no cookies of network namespaces from sockets: as
/// on a kernel before 5.14.
pub fn give_up_netns_cookies() -> Result<()> {
    sys::refuse_netns_cookies().context("cannot filter system calls")
}
