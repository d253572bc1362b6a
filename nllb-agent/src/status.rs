//! The status document: everything a person or a dashboard asks an agent, in one piece.
//!
//! `nllb status` shows it, `/metrics` is rendered from it, and both therefore agree. Times are
//! given relative to the moment the document was made, so no two clocks need to agree either.

mod backend;
mod closing;
mod datapath;
mod discovery;
mod durations;
mod frontend;
mod history;
mod ownership;
mod sandboxes;
mod verdict;
mod vip;

pub use backend::{Backend, Certificate, Evidence, LastProbe, Pool, Run, Sentinel};
pub use closing::{Closing, Journal, TableOnDisk};
pub use datapath::{DatapathState, Link, SelfTest, Watched};
pub use discovery::{Discovery, Source};
pub use durations::{Durations, Failovers};
pub use frontend::{Frontend, FrontendBackend};
pub use history::{BackendHistory, History};
pub use ownership::{VipLease, VipOwnership};
pub use sandboxes::{GuestInterface, GuestState, Sandboxes};
pub use verdict::{Judgement, Verdict};
pub use vip::{Vip, VipMember};

pub use crate::confine::{Confinement, SystemCalls};
pub use crate::telemetry::LogState;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

/// Version of the document: counted up when a field goes or changes its meaning, not when one is added.
pub const SCHEMA: u32 = 1;

/// Where documents come from: whoever wants one sends a request.
pub type StatusSource = mpsc::Sender<StatusRequest>;
/// Somebody wants the status document.
pub type StatusRequest = Request<Status>;
/// Where the history comes from, likewise.
pub type HistorySource = mpsc::Sender<HistoryRequest>;
/// Somebody wants the history.
pub type HistoryRequest = Request<History>;

/// Somebody wants a document.
#[derive(Debug)]
pub struct Request<T>(oneshot::Sender<T>);

impl<T> Request<T> {
    /// A request, and where its answer arrives.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers it. Who asked may have gone away meanwhile; that is fine.
    pub fn answer(self, document: T) {
        drop(self.0.send(document));
    }
}

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of this document, see [`SCHEMA`].
    pub schema: u32,
    /// How all of it is to be taken.
    pub verdict: Judgement,
    /// The agent itself.
    pub agent: Agent,
    /// What it has left of rights and system calls; nothing is known of an agent that does not tell.
    #[serde(default)]
    pub confinement: Confinement,
    /// What it logs.
    pub log: LogState,
    /// Its configuration.
    pub config: ConfigState,
    /// Programs and maps.
    pub datapath: DatapathState,
    /// Sandboxed pods; none where none are to be served.
    #[serde(default)]
    pub sandboxes: Option<Sandboxes>,
    /// How long the verdicts hold.
    pub lease: Lease,
    /// How connections to a dead backend end.
    pub closing: Closing,
    /// How long failovers took.
    pub failovers: Failovers,
    /// The last known backends, as they are kept for the next start.
    pub table_on_disk: TableOnDisk,
    /// What happened, as it is kept for who asks afterwards.
    pub journal: Journal,
    /// Version of this node's kubelet, told by the operator or by the API; `None` when not known.
    pub kubelet_version: Option<String>,
    /// Who answers for the control-plane VIP; `None` where there is none.
    #[serde(default)]
    pub vip_ownership: Option<VipOwnership>,
    /// Where backends come from.
    pub discovery: Discovery,
    /// Frontends, one per address where it is a node address.
    pub frontends: Vec<Frontend>,
    /// Pools and their backends.
    pub pools: Vec<Pool>,
    /// The listeners on loopback frontends.
    pub listeners: Vec<Listener>,
    /// The control-plane VIP, where one is configured.
    #[serde(default)]
    pub vip: Option<Vip>,
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
    /// Servers that nobody resolves, so that addresses from the table on disk stand in.
    pub unresolved: Vec<String>,
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

#[cfg(test)]
pub(crate) mod example;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn the_document_survives_json() {
        let status = example::status();
        let text = serde_json::to_string(&status).expect("JSON");
        assert_eq!(serde_json::from_str::<Status>(&text).expect("the same"), status);
    }

    /// `UPDATE_EXPECTED=1` writes it anew. A field that goes or means something else asks for another
    /// [`SCHEMA`], since programs read this.
    #[test]
    fn the_document_is_as_it_was() {
        let text = serde_json::to_string_pretty(&example::status()).expect("JSON") + "\n";
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/status/example.json");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&file, &text).expect("writable");
        }
        assert_eq!(text, std::fs::read_to_string(&file).expect("readable"));
    }

    #[test]
    fn every_field_is_documented_and_every_documented_field_is_there() {
        let mut status = example::status();
        status.listeners.push(example::listener("[::1]:1", ListenerState::Failed(String::new())));
        documented("## The document", &status);
    }

    #[test]
    fn every_field_of_the_history_is_documented() {
        documented("## The history", &example::history());
    }

    /// The rows of a section of docs/status.md name the fields of the document.
    pub(super) fn documented(section: &str, document: &impl Serialize) {
        let mut fields = BTreeSet::new();
        paths("", &serde_json::to_value(document).expect("JSON"), &mut fields);
        // Null in one item of a list, and there in another.
        let all = fields.clone();
        fields.retain(|path| !all.iter().any(|other| other.starts_with(&format!("{path}."))));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status.md");
        let text = std::fs::read_to_string(file).expect("readable");
        let (_, text) = text.split_once(section).expect("a section");
        let text = text.split("\n## ").next().expect("some text");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let rows: BTreeSet<_> = rows.map(str::to_owned).collect();
        assert_eq!(fields, rows, "left: fields, right: rows of docs/status.md");
    }

    /// The paths of all fields: `pools[].name`. What has any keys is one field, `counters.*`.
    fn paths(at: &str, value: &Value, found: &mut BTreeSet<String>) {
        const FREE: [&str; 5] = ["kernelFeatures", "counters", "closed", "failures", "probes"];
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    if value.is_object() && FREE.contains(&key.as_str()) {
                        found.insert(path + ".*");
                    } else {
                        paths(&path, value, found);
                    }
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                items.iter().for_each(|item| paths(&format!("{at}[]"), item, found));
            }
            Value::Array(_) => {
                found.insert(format!("{at}[]"));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                found.insert(at.to_owned());
            }
        }
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
