//! The data path in the status document: what is attached where, and what proves it.

use super::Durations;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Programs and maps in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatapathState {
    /// Directory of the pins.
    pub directory: PathBuf,
    /// The cgroup attached to.
    pub cgroup: PathBuf,
    /// Whether it is the root of the host's cgroup2.
    pub cgroup_is_root: bool,
    /// The links.
    pub links: Vec<Link>,
    /// Cgroups whose effective programs are checked: pid 1's and the kubelet's.
    pub watched: Vec<Watched>,
    /// What keeps it from serving the whole host, one line each.
    pub shortcomings: Vec<String>,
    /// The connect through a reserved frontend.
    pub self_test: SelfTest,
    /// How many times a lost attachment was repaired.
    pub reattached: u64,
    /// Writes to the maps so far.
    pub map_writes: u64,
    /// Rounds of writes that a failing one stopped.
    pub failed_syncs: u64,
    /// How long the last round of writes took; `None` before the first.
    pub last_sync_us: Option<u64>,
    /// How long the rounds took from the decision on, failed ones before them included.
    pub syncs: Durations,
    /// For how long the maps have not been as decided; 0 while they are.
    pub sync_lag_ms: u64,
    /// Why the maps are not what they should be, as long as they are not.
    pub sync_error: Option<String>,
}

/// One program's attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Where it is attached.
    pub hook: String,
    /// Id of the program.
    pub program_id: u32,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
}

/// A cgroup that must be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// Whose it is.
    pub whose: String,
    /// Its path.
    pub path: PathBuf,
    /// Hooks whose program is not effective there.
    pub missing: Vec<String>,
    /// What is wrong there, if anything: the same in words, or why nobody can tell.
    pub problem: Option<String>,
}

/// The self-test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfTest {
    /// Time since the last one; `None` before the first.
    pub age_ms: Option<u64>,
    /// What failed in the last one.
    pub failures: Vec<String>,
    /// How many were made.
    pub runs: u64,
    /// How many of them failed.
    pub failed_runs: u64,
}

impl DatapathState {
    /// What is wrong with the data path, one line each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let links = self.links.iter().filter_map(|Link { hook, program_id: _, problem }| {
            problem.as_ref().map(|problem| format!("{hook}: {problem}"))
        });
        let watched =
            self.watched.iter().filter_map(|Watched { whose, path, missing: _, problem }| {
                problem.as_ref().map(|problem| format!("{whose} ({}): {problem}", path.display()))
            });
        let self_test = self.self_test.failures.iter().map(|line| format!("self-test: {line}"));
        let sync = self.sync_error.iter().map(|line| format!("maps: {line}"));
        let shortcomings = self.shortcomings.iter().cloned();
        links.chain(watched).chain(shortcomings).chain(self_test).chain(sync).collect()
    }
}
