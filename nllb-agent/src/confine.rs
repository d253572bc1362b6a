//! What the agent gives up when it starts: rights that it does not need, the way to others, and system calls
//! that it never makes.
//!
//! Who gets hold of a running agent, through a mistake in it or in what it is made of, gets what is left: no program
//! is started, no file system is mounted, no other process is looked into, no kind of socket is opened that the agent has no
//! use for, and once the data path is in place no further program is loaded into the kernel. What cannot be
//! given up is told, and the agent runs all the same: a node's way to its API servers comes first.

mod calls;
mod filter;
mod rights;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

/// What a running agent has left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confinement {
    /// The capabilities that it holds, by name.
    pub capabilities: Vec<String>,
    /// Whether its system calls are limited to those that it needs.
    pub system_calls: SystemCalls,
    /// What it could not give up, one line each.
    pub problems: Vec<String>,
}

/// Whether system calls are limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SystemCalls {
    /// To those that the agent needs.
    Filtered,
    /// Not by the agent, since it was told so or could not; others may have done it.
    #[default]
    Free,
}

/// Lets go at once of the rights that no agent uses, so that what cannot be read again later is not read now. What
/// fails here is told by [`Confinement::enter`].
pub fn begin() {
    let _told_later = rights::keep(rights::USED.union(rights::TO_GO_ON));
}

impl Confinement {
    /// Confines the calling thread and those that it starts from now on, so it is to be called before the first.
    /// `others`: whether processes of others are ever looked into, to end sockets of pods or to find the root of the
    /// cgroups. Without `filter` system calls stay free.
    #[must_use]
    pub fn enter(others: bool, filter: bool) -> Self {
        let mut confinement = Self::default();
        if let Err(error) = rights::gain_no_more() {
            confinement.problem(format!("new privileges stay possible: {error}"));
        }
        confinement.keep(if others { rights::USED } else { rights::ALONE });
        match filter.then(filter::install) {
            Some(Ok(())) => confinement.system_calls = SystemCalls::Filtered,
            Some(Err(error)) => confinement.problem(format!("system calls stay free: {error}")),
            None => info!("system calls stay free, as it was told (--no-seccomp)"),
        }
        confinement
    }

    /// All programs are loaded: no thread can load another one.
    pub fn load_no_more(&mut self) {
        if self.system_calls == SystemCalls::Filtered {
            if let Err(error) = filter::install_no_loading() {
                self.problem(format!("programs for the kernel can still be loaded: {error}"));
            }
        }
    }

    fn keep(&mut self, wanted: rights::Rights) {
        match rights::keep(wanted) {
            Ok(kept) => self.capabilities = rights::names(kept),
            Err(error) => self.problem(format!("capabilities cannot be given up: {error}")),
        }
    }

    fn problem(&mut self, line: String) {
        warn!("{line}");
        self.problems.push(line);
    }
}
