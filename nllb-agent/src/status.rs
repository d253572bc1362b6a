//! The status document: everything a person or a dashboard asks an agent, in one piece.
//!
//! `nllb status` shows it, `/metrics` is rendered from it, and both therefore agree. Times are
//! given relative to the moment the document was made, so no two clocks need to agree either.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

/// Where documents come from: whoever wants one sends a request.
pub type StatusSource = mpsc::Sender<StatusRequest>;

/// Somebody wants the document.
#[derive(Debug)]
pub struct StatusRequest(oneshot::Sender<Status>);

impl StatusRequest {
    /// A request, and where its answer arrives.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<Status>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers it. Who asked may have gone away meanwhile; that is fine.
    pub fn answer(self, status: Status) {
        drop(self.0.send(status));
    }
}

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The agent itself.
    pub agent: Agent,
    /// Its configuration.
    pub config: ConfigState,
    /// Programs and maps.
    pub datapath: DatapathState,
    /// How long the verdicts hold.
    pub lease: Lease,
    /// Frontends, one per address where it is a node address.
    pub frontends: Vec<Frontend>,
    /// Pools and their backends.
    pub pools: Vec<Pool>,
    /// The listeners on loopback frontends.
    pub listeners: Vec<Listener>,
    /// What the kernel programs counted, by label.
    pub counters: BTreeMap<String, u64>,
}

/// The agent itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Version of the program.
    pub version: String,
    /// Version of the maps' layout.
    pub abi_version: u32,
    /// Process id.
    pub pid: u32,
    /// Time since it started.
    pub uptime_ms: u64,
    /// Whether it took over what an earlier agent left.
    pub adopted: bool,
    /// Kernel features beyond what is required, by name.
    pub kernel_features: BTreeMap<String, bool>,
}

/// Which configuration is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigState {
    /// The file.
    pub path: PathBuf,
    /// Counts the configurations applied; the first is 1.
    pub generation: u64,
    /// Time since this one was applied.
    pub age_ms: u64,
    /// Why the newest file was refused, as long as it is not in force.
    pub last_reload_error: Option<String>,
}

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
    /// What is wrong there, if anything.
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

/// The agent's proof of life in the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Its length when renewed.
    pub length_ms: u64,
    /// What is left of it.
    pub remaining_ms: u64,
}

/// An address that clients dial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frontend {
    /// Its name in the configuration.
    pub name: String,
    /// Its id in the maps.
    pub id: u32,
    /// vip, loopback or node-address.
    pub kind: String,
    /// What is dialled.
    pub addresses: Vec<SocketAddr>,
    /// Who serves it.
    pub pool: String,
    /// host or all.
    pub scope: String,
    /// pass-through or fail.
    pub on_empty: String,
    /// For a node address: the backend whose own it is.
    pub home: Option<SocketAddr>,
    /// The backends as seen from here.
    pub backends: Vec<FrontendBackend>,
}

/// A backend as seen from a frontend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendBackend {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the kernel chooses among it for this frontend.
    pub used: bool,
    /// What its certificate says, where that is not simply yes.
    pub reason: Option<String>,
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its backends.
    pub backends: Vec<Backend>,
}

/// An API server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its address.
    pub address: SocketAddr,
    /// Its id in the maps.
    pub id: u32,
    /// Epoch of that id.
    pub epoch: u32,
    /// The agent's verdict.
    pub state: String,
    /// For how long.
    pub state_age_ms: u64,
    /// Why.
    pub reason: String,
    /// Latency class.
    pub band: u8,
    /// Share within the class.
    pub weight: u16,
    /// Changes of state so far.
    pub transitions: u64,
    /// Outcomes in a row that ask for another state.
    pub run: Option<Run>,
    /// The kernel's evidence.
    pub evidence: Option<Evidence>,
    /// The last probe that ended.
    pub last_probe: Option<LastProbe>,
    /// Time to the next probe; `None` while one is under way.
    pub next_probe_ms: Option<u64>,
    /// Probes so far, by outcome.
    pub probes: BTreeMap<String, u64>,
    /// The last certificate seen.
    pub certificate: Option<Certificate>,
}

/// Outcomes in a row, still too few.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// up or down.
    pub direction: String,
    /// How many there are.
    pub count: u32,
    /// How many it takes.
    pub needed: u32,
}

/// What the kernel saw of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// For how long it is still suspect; 0 when it is not.
    pub suspect_ms: u64,
    /// Failed connects in a row.
    pub fail_streak: u32,
    /// Smoothed round-trip time of the last handshake; `None` when there was none.
    pub srtt_us: Option<u32>,
    /// Translated connections established now.
    pub active: u64,
    /// Translated connections established so far.
    pub established: u64,
    /// Time since the last one was established.
    pub last_answer_age_ms: Option<u64>,
}

/// A probe that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastProbe {
    /// How long ago.
    pub age_ms: u64,
    /// What came of it, in one word.
    pub outcome: String,
    /// The same in a sentence.
    pub text: String,
    /// Round-trip time of the TCP handshake.
    pub rtt_us: Option<u64>,
    /// Time the whole probe took.
    pub latency_us: u64,
}

/// What matters of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// DNS names and IP addresses it is for.
    pub names: Vec<String>,
    /// First second of its validity, unix time.
    pub not_before: i64,
    /// Last second of its validity, unix time.
    pub not_after: i64,
    /// Who issued it.
    pub issuer: String,
    /// Whom it names.
    pub subject: String,
}

/// The listener for sockets that cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// The loopback frontend's address.
    pub address: SocketAddr,
    /// Whether it listens.
    pub state: ListenerState,
    /// Connections being relayed now.
    pub active: u64,
    /// Connections relayed so far.
    pub relayed: u64,
    /// Connections closed because dialling led back to the listener.
    pub loops: u64,
    /// Connections closed because dialling failed.
    pub failed: u64,
    /// Connections closed because there were too many.
    pub over_limit: u64,
}

/// Whether a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "reason")]
pub enum ListenerState {
    /// Not tried yet.
    Starting,
    /// It does.
    Listening,
    /// Another program has the address. Translation goes on without the listener.
    OwnedByOther,
    /// The address cannot be bound for another reason, or no connection can be accepted now.
    Failed(String),
}

impl Status {
    /// Every backend with the name of its pool.
    pub fn backends(&self) -> impl Iterator<Item = (&str, &Backend)> {
        self.pools.iter().flat_map(|pool| pool.backends.iter().map(|b| (pool.name.as_str(), b)))
    }

    /// What stands in the way of readiness, one line each; nothing when the agent is ready.
    #[must_use]
    pub fn obstacles(&self) -> Vec<String> {
        let mut lines = self.datapath.problems();
        if self.datapath.self_test.age_ms.is_none() {
            lines.push("self-test: not run yet".to_owned());
        }
        if self.backends().all(|(_, backend)| backend.last_probe.is_none()) {
            lines.push("probes: none has ended yet".to_owned());
        }
        lines
    }
}

impl DatapathState {
    /// What is wrong with the data path, one line each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let links = self.links.iter().filter_map(|Link { hook, program_id: _, problem }| {
            problem.as_ref().map(|problem| format!("{hook}: {problem}"))
        });
        let watched = self.watched.iter().filter_map(|Watched { whose, path, problem }| {
            problem.as_ref().map(|problem| format!("{whose} ({}): {problem}", path.display()))
        });
        let self_test = self.self_test.failures.iter().map(|line| format!("self-test: {line}"));
        let sync = self.sync_error.iter().map(|line| format!("maps: {line}"));
        let shortcomings = self.shortcomings.iter().cloned();
        links.chain(watched).chain(shortcomings).chain(self_test).chain(sync).collect()
    }
}

#[cfg(test)]
pub(crate) mod example;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_survives_json() {
        let status = example::status();
        let text = serde_json::to_string(&status).expect("JSON");
        assert_eq!(serde_json::from_str::<Status>(&text).expect("the same"), status);
    }

    #[test]
    fn an_agent_is_ready_once_the_data_path_is_proven_and_a_probe_has_ended() {
        let mut status = example::status();
        assert_eq!(status.obstacles(), Vec::<String>::new());
        status.datapath.self_test.age_ms = None;
        status.datapath.links[0].problem = Some("not attached".to_owned());
        for backend in status.pools.iter_mut().flat_map(|pool| &mut pool.backends) {
            backend.last_probe = None;
        }
        let lines =
            ["sock_ops: not attached", "self-test: not run yet", "probes: none has ended yet"];
        assert_eq!(status.obstacles(), lines);
    }
}
