//! Leases: read, made, replaced by version, and watched, at every server of a lab alike.
//!
//! The database of the servers is a directory that they share: each version of a Lease is a file that is made at
//! once and only if it is not there yet, so of two writes that replace the same version one fails, whichever
//! servers they go through, and whether a server is killed meanwhile.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::collections::refusal;
use super::http::{Body, Session, object, with_type};
use super::settings::{Api, Service};

const GROUP: &str = "/apis/coordination.k8s.io/v1/namespaces/";
/// Events a slow watcher may be behind before the stream waits for it.
const BACKLOG: usize = 16;
/// How soon a watch sees a change.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The versions of one Lease.
pub(super) struct Store {
    directory: PathBuf,
}

/// Namespace and name of a path; without a name all of the namespace are meant.
pub(super) fn at(path: &str) -> Option<(&str, Option<&str>)> {
    let (namespace, rest) = path.strip_prefix(GROUP)?.split_once('/')?;
    match rest.split_once('/') {
        Some(("leases", name)) => Some((namespace, Some(name))),
        None if rest == "leases" => Some((namespace, None)),
        _ => None,
    }
}

/// The answer to a request at such a path.
pub(super) async fn answer(
    request: Request<Incoming>,
    root: &Path,
    session: &Arc<Session>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let Some((namespace, name)) = at(&path) else { return refusal(404, "no such path") };
    let Service { lists, watches } = session.state.modes().leases;
    let query = request.uri().query().unwrap_or_default();
    let is_watch = query.contains("watch=");
    match if is_watch { watches } else { lists } {
        Api::Serve => {}
        Api::Refuse(code) => return refusal(code, "so it was told"),
        Api::Garble | Api::Silent => std::future::pending().await,
    }
    if is_watch {
        let selector = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector="));
        let name = selector.and_then(|selector| selector.rsplit("%3D").next());
        let store = Store::new(root, namespace, name.unwrap_or_default());
        return watch(store);
    }
    let method = request.method().clone();
    let body = request.into_body().collect().await.map(|body| body.to_bytes());
    let body: Option<Value> = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
    let named = body.as_ref().and_then(|body| body["metadata"]["name"].as_str());
    let Some(name) = name.or(named) else { return refusal(400, "which one") };
    let store = Store::new(root, namespace, name);
    let (version, now) = store.newest();
    match (method, body, now) {
        (Method::GET, _, Some(lease)) => object(&lease),
        (Method::GET | Method::PUT, _, None) => refusal(404, "not found"),
        (Method::POST, Some(lease), None) => store.add(version, lease),
        (Method::POST, Some(_), Some(_)) => refusal(409, "already exists"),
        (Method::PUT, Some(lease), Some(now)) => {
            let [theirs, ours] = [&lease, &now].map(|one| &one["metadata"]["resourceVersion"]);
            if theirs != ours {
                return refusal(409, "the object has been modified");
            }
            store.add(version, lease)
        }
        _ => refusal(405, "no such verb"),
    }
}

impl Store {
    /// The versions of this one, below a directory that servers share.
    pub(super) fn new(root: &Path, namespace: &str, name: &str) -> Self {
        Self { directory: root.join(format!("{namespace}.{name}")) }
    }

    fn file(&self, version: u64) -> PathBuf {
        self.directory.join(version.to_string())
    }

    /// The newest version and what it is; nothing when it is gone, or was never there.
    pub(super) fn newest(&self) -> (u64, Option<Value>) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let versions = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
        let version = versions.max().unwrap_or(0);
        (version, self.read(version).flatten())
    }

    /// A version, when it is there; nothing in it when it is that of a deletion.
    fn read(&self, version: u64) -> Option<Option<Value>> {
        let text = fs::read(self.file(version)).ok()?;
        Some(serde_json::from_slice(&text).ok().filter(|value: &Value| !value.is_null()))
    }

    /// Makes the version after this one.
    fn add(&self, version: u64, mut lease: Value) -> Response<Body> {
        lease["metadata"]["resourceVersion"] = json!((version + 1).to_string());
        match self.put(version + 1, &lease) {
            Ok(true) => object(&lease),
            Ok(false) => refusal(409, "the object has been modified"),
            Err(error) => refusal(500, &error.to_string()),
        }
    }

    /// Whether this write was the first of that version. A file that is there before it is complete would be read
    /// half, so it is made under another name.
    pub(super) fn put(&self, version: u64, lease: &Value) -> std::io::Result<bool> {
        fs::create_dir_all(&self.directory)?;
        let mut unfinished = NamedTempFile::new_in(&self.directory)?;
        unfinished.write_all(lease.to_string().as_bytes())?;
        match unfinished.persist_noclobber(self.file(version)) {
            Ok(_) => Ok(true),
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(failed) => Err(failed.error),
        }
    }
}

/// What there is, and then every change.
fn watch(store: Store) -> Response<Body> {
    let (mut events, body) = Channel::new(BACKLOG);
    tokio::spawn(async move {
        let (mut version, mut last) = store.newest();
        let mut due = last.clone().map(|lease| ("ADDED", lease));
        loop {
            if let Some((kind, lease)) = due.take() {
                let line = format!("{}\n", json!({"type": kind, "object": lease}));
                if events.send_data(line.into()).await.is_err() {
                    return;
                }
            }
            // reason: other processes write the files, and a directory tells nobody for free.
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(next) = store.read(version + 1) else { continue };
            version += 1;
            due = match (&last, &next) {
                (None, Some(lease)) => Some(("ADDED", lease.clone())),
                (Some(_), Some(lease)) => Some(("MODIFIED", lease.clone())),
                (Some(lease), None) => {
                    let mut lease = lease.clone();
                    lease["metadata"]["resourceVersion"] = json!(version.to_string());
                    Some(("DELETED", lease))
                }
                (None, None) => None,
            };
            last = next;
        }
    });
    with_type(Response::new(body.boxed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_writes_of_a_version_one_wins() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::new(root.path(), "kube-system", "nllb-vip");
        assert_eq!(store.newest(), (0, None));
        assert!(store.put(1, &json!({"a": 1})).expect("written"));
        assert!(!store.put(1, &json!({"a": 2})).expect("refused"));
        assert_eq!(store.newest(), (1, Some(json!({"a": 1}))));
        assert!(store.put(2, &Value::Null).expect("deleted"));
        assert_eq!(store.newest(), (2, None));
    }

    #[test]
    fn paths_of_leases_are_told_from_others() {
        let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        assert_eq!(at(path), Some(("kube-system", None)));
        assert_eq!(at(&format!("{path}/nllb-vip")), Some(("kube-system", Some("nllb-vip"))));
        assert_eq!(at("/api/v1/namespaces/default/services"), None);
    }
}
