//! What a thread gives up, to be like one with fewer rights or on an older kernel.

use anyhow::{Context, Result};

use crate::sys;

/// `CAP_SYS_PTRACE`: to look at processes of others.
pub const SYS_PTRACE: u32 = 19;
/// `CAP_SYS_ADMIN`: to enter namespaces, among much else.
pub const SYS_ADMIN: u32 = 21;

/// Takes capabilities from the calling thread, and with it from those it starts.
pub fn give_up(capabilities: &[u32]) -> Result<()> {
    sys::drop_capabilities(capabilities).context("cannot give up capabilities")
}

/// Lets the calling thread, and those it starts, read no cookies of network namespaces from sockets: as
/// on a kernel before 5.14.
pub fn give_up_netns_cookies() -> Result<()> {
    sys::refuse_netns_cookies().context("cannot filter system calls")
}
