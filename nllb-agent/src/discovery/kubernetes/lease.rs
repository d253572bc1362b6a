//! A Lease: read from the database, written by version, and watched.
//!
//! Reads and writes go one at a time over a connection that is kept, since a renewal comes twice a second; after a
//! failure the next one is another connection, which the node's own translation may lead to another server. A
//! write replaces the whole object by `PUT` and names the version that it replaces: that is how the API server refuses
//! the second of two, and the verbs get, create and update are those that its flow schema for leader elections
//! puts before other requests. What others wrote into the object stays in it.

use super::client::Connection;
use super::objects::{Mark, Metadata, Object, Reading};
use super::trouble::Trouble;
use super::{Settings, Whose};
use crate::text::printable;
use chrono::{DateTime, SecondsFormat};
use kube::core::WatchEvent;
use nllb_core::ownership::{Record, Write, Written};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// A watch is asked to last so long; another follows at once.
const LASTING: Duration = Duration::from_secs(240);

/// Which Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What a watch saw: the version of the change, and the Lease or that it is gone.
pub type Sight = (String, Option<Record>);

/// Why a request came to nothing, in one line.
pub type Reason = String;

/// Reads and writes a Lease.
pub struct LeaseClient {
    settings: Settings,
    whose: LeaseName,
    connection: Option<Connection>,
}

impl LeaseClient {
    /// One that connects when it is first used.
    #[must_use]
    pub const fn new(settings: Settings, whose: LeaseName) -> Self {
        Self { settings, whose, connection: None }
    }

    /// The Lease as the database has it; `None` when there is none. Needs a runtime with I/O and timers.
    ///
    /// # Errors
    /// When that is not known after `patience`.
    pub async fn read(&mut self, patience: Duration) -> Result<Option<Record>, Reason> {
        let (path, name) = (self.whose.path(), self.whose.name.clone());
        let read = async {
            let found = self.connection().await?.get(&path, &name).await;
            absent_is_none(found)?.as_deref().map(record_of).transpose()
        };
        let read = timeout(patience, read).await.unwrap_or(Err(Trouble::Silent));
        self.conclude(&read);
        read.map_err(|trouble| self.reason(&trouble))
    }

    /// Writes it, at `unix_micros` by this host's clock, which is for people to read.
    pub async fn write(
        &mut self,
        write: &Write,
        duration: Duration,
        unix_micros: i64,
    ) -> (Written, Option<Reason>) {
        let body = body(&self.whose, write, duration, unix_micros);
        let (path, name) = (self.whose.path(), self.whose.name.clone());
        let written = async {
            let connection = self.connection().await?;
            let answer = match write.base {
                Some(_) => connection.replace(&path, &name, body).await?,
                None => connection.create(&path, body).await?,
            };
            record_of(&answer)
        };
        let written = timeout(write.patience, written).await.unwrap_or(Err(Trouble::Silent));
        self.conclude(&written);
        match written {
            Ok(record) => (Written::Done(record), None),
            Err(Trouble::Status(409, _)) => (Written::Conflict, None),
            Err(Trouble::Status(404, _)) => (Written::Absent, None),
            Err(trouble) => {
                let refused = matches!(trouble, Trouble::Forbidden(_) | Trouble::Unauthorized);
                let reason = self.reason(&trouble);
                (if refused { Written::Refused } else { Written::Failed }, Some(reason))
            }
        }
    }

    async fn connection(&mut self) -> Result<&mut Connection, Trouble> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.settings).await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Only what answered is used again.
    fn conclude<T>(&mut self, result: &Result<T, Trouble>) {
        match result {
            Ok(_) | Err(Trouble::Status(404 | 409, _)) => {}
            Err(_) => self.connection = None,
        }
    }

    fn reason(&self, trouble: &Trouble) -> Reason {
        let LeaseName { namespace, name } = &self.whose;
        if let Trouble::Forbidden(said) = trouble {
            let said = printable(said);
            return format!(
                "403: allow the account to get, create, update and watch the Lease {name} in the namespace {namespace} ({said})"
            );
        }
        printable(&trouble.to_string())
    }
}

/// Watches a Lease until nobody takes the news any more; after a trouble again, `pause` later. Needs a runtime with I/O and
/// timers.
pub async fn watch_lease(
    settings: Settings,
    whose: LeaseName,
    pause: Duration,
    news: mpsc::Sender<Sight>,
) {
    let watching = async {
        loop {
            if let Err(trouble) = session(&settings, &whose, &news).await {
                tracing::debug!(%trouble, "the watch of the Lease has ended");
            }
            sleep(pause).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = news.closed() => {}
    }
}

async fn session(
    settings: &Settings,
    whose: &LeaseName,
    news: &mpsc::Sender<Sight>,
) -> Result<(), Trouble> {
    let mut connection = Connection::open(settings).await?;
    let LeaseName { namespace, name } = whose.clone();
    let whose = Whose { namespace, name };
    // Without a version it begins with what there is.
    let mut events = connection.watch::<Lease>(&whose, "", LASTING).await?;
    while let Some(event) = events.next::<Lease>().await? {
        let (lease, is_there) = match event {
            WatchEvent::Added(lease) | WatchEvent::Modified(lease) => (lease, true),
            WatchEvent::Deleted(lease) => (lease, false),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
        };
        let version = lease.metadata.resource_version.clone();
        if news.send((version, is_there.then(|| lease.record()))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

impl LeaseName {
    fn path(&self) -> String {
        format!("{}/namespaces/{}/{}", Lease::GROUP, self.namespace, Lease::PLURAL)
    }
}

/// A Lease, whole.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct Lease {
    metadata: Metadata,
    object: Value,
}

impl TryFrom<Value> for Lease {
    type Error = serde_json::Error;

    fn try_from(object: Value) -> Result<Self, Self::Error> {
        Ok(Self { metadata: serde_json::from_value(object["metadata"].clone())?, object })
    }
}

impl Object for Lease {
    type Item = ();
    type Sought = ();
    const PLURAL: &'static str = "leases";
    const GROUP: &'static str = "/apis/coordination.k8s.io/v1";
    const MARK: Mark = Mark::Field("metadata.name");

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn read(&self, (): &(), _into: &mut Reading<()>) {}
}

impl Lease {
    fn record(mut self) -> Record {
        let spec = &self.object["spec"];
        let holder = spec["holderIdentity"].as_str().unwrap_or_default().to_owned();
        let duration = Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or(0));
        if let Some(metadata) = self.object["metadata"].as_object_mut() {
            // Left out it stays as it is.
            metadata.remove("managedFields");
        }
        let object = self.object.to_string().into();
        Record { version: self.metadata.resource_version, holder, duration, object }
    }
}

fn record_of(answer: &[u8]) -> Result<Record, Trouble> {
    serde_json::from_slice::<Lease>(answer).map(Lease::record).map_err(Trouble::Nonsense)
}

fn absent_is_none<T>(found: Result<T, Trouble>) -> Result<Option<T>, Trouble> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Trouble::Status(404, _)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// The object that is to be.
fn body(whose: &LeaseName, write: &Write, duration: Duration, unix_micros: i64) -> Vec<u8> {
    let Write { base, holder, acquired, patience: _ } = write;
    let time = DateTime::from_timestamp_micros(unix_micros).unwrap_or_default();
    let time = json!(time.to_rfc3339_opts(SecondsFormat::Micros, true));
    let base = base.as_ref().and_then(|base| serde_json::from_str::<Value>(&base.object).ok());
    let mut object = base.filter(Value::is_object).unwrap_or_else(|| {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": whose.namespace, "name": whose.name},
        })
    });
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    let spec = &mut object["spec"];
    let before = spec["holderIdentity"].as_str().is_some_and(|before| !before.is_empty());
    let transitions = spec["leaseTransitions"].as_u64().unwrap_or(0);
    // As leader elections count: to a new holder, and not to nobody.
    let counts = *acquired && !holder.is_empty() && (before || spec["acquireTime"].is_string());
    spec["leaseTransitions"] = json!(transitions + u64::from(counts));
    spec["holderIdentity"] = json!(holder);
    spec["leaseDurationSeconds"] = json!(duration.as_secs().max(1));
    spec["renewTime"] = time.clone();
    if *acquired || !spec["acquireTime"].is_string() {
        spec["acquireTime"] = time;
    }
    object.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::Lease as Known;

    const NOW: i64 = 1_800_000_000_123_456;

    fn whose() -> LeaseName {
        LeaseName { namespace: "kube-system".to_owned(), name: "nllb-vip".to_owned() }
    }

    fn write(base: Option<Record>, holder: &str, acquired: bool) -> Known {
        let patience = Duration::from_millis(400);
        let write = Write { base, holder: holder.to_owned(), acquired, patience };
        let body = body(&whose(), &write, Duration::from_secs(2), NOW);
        serde_json::from_slice(&body).expect("a Lease")
    }

    #[test]
    fn a_new_lease_is_one_that_kubernetes_knows() {
        let lease = write(None, "10.0.0.11", true);
        assert_eq!(lease.metadata.name.as_deref(), Some("nllb-vip"));
        assert_eq!(lease.metadata.resource_version, None);
        let spec = lease.spec.expect("a spec");
        assert_eq!(spec.holder_identity.as_deref(), Some("10.0.0.11"));
        assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(2), Some(0)));
        assert_eq!(spec.renew_time.map(|time| time.0.timestamp_micros()), Some(NOW));
    }

    #[test]
    fn a_renewal_keeps_what_others_wrote_and_names_the_version_that_it_replaces() {
        let answer = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "nllb-vip", "namespace": "kube-system", "resourceVersion": "42",
                "labels": {"team": "infra"}, "managedFields": [{"manager": "kubectl"}]},
            "spec": {"holderIdentity": "10.0.0.11", "leaseDurationSeconds": 15,
                "acquireTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": 7, "strategy": "x"},
        });
        let record = record_of(answer.to_string().as_bytes()).expect("a Lease");
        assert_eq!((record.version.as_str(), record.holder.as_str()), ("42", "10.0.0.11"));
        assert_eq!(record.duration, Duration::from_secs(15));
        let renewed = write(Some(record.clone()), "10.0.0.11", false);
        assert_eq!(renewed.metadata.resource_version.as_deref(), Some("42"));
        assert_eq!(renewed.metadata.labels.expect("labels")["team"], "infra");
        assert_eq!(renewed.metadata.managed_fields, None);
        let spec = renewed.spec.expect("a spec");
        assert_eq!(spec.lease_transitions, Some(7));
        let acquired = spec.acquire_time.map(|time| time.0.timestamp());
        assert_eq!(acquired, Some(1_767_225_600));
        let taken = write(Some(record.clone()), "10.0.0.12", true).spec.expect("a spec");
        assert_eq!(taken.lease_transitions, Some(8));
        let released = write(Some(record), "", true).spec.expect("a spec");
        assert_eq!(
            (released.lease_transitions, released.holder_identity.as_deref()),
            (Some(7), Some(""))
        );
    }

    #[test]
    fn a_lease_without_a_spec_is_held_by_nobody() {
        let record = record_of(br#"{"metadata": {"name": "nllb-vip", "resourceVersion": "1"}}"#);
        let record = record.expect("a Lease");
        assert_eq!((record.holder.as_str(), record.duration), ("", Duration::ZERO));
        let taken = write(Some(record), "10.0.0.12", true).spec.expect("a spec");
        assert_eq!(taken.lease_transitions, Some(0));
    }
}
