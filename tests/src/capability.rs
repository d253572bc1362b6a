//! Rights that a thread gives up.

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
