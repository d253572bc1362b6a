//! Lists and watches of the objects in a namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::http::{Body, Session, object, with_type};
use super::objects::{History, Objects};
use super::settings::{Api, Modes, Service};

/// Events a slow watcher may be behind before the stream waits for it.
const BACKLOG: usize = 16;
/// How long a watch lasts when the client does not say.
const LASTS: Duration = Duration::from_secs(1800);

/// The kinds of objects.
#[derive(Clone, Copy)]
pub(super) enum Collection {
    EndpointSlices,
    Services,
    /// Those of all namespaces.
    Pods,
}

impl Collection {
    pub(super) fn at(path: &str) -> Option<Self> {
        if path == "/api/v1/pods" {
            return Some(Self::Pods);
        }
        match namespaced(path)? {
            ("/apis/discovery.k8s.io/v1", _, "endpointslices") => Some(Self::EndpointSlices),
            ("/api/v1", _, "services") => Some(Self::Services),
            _ => None,
        }
    }

    const fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::EndpointSlices => ("EndpointSliceList", "discovery.k8s.io/v1"),
            Self::Services => ("ServiceList", "v1"),
            Self::Pods => ("PodList", "v1"),
        }
    }

    const fn service(self, modes: &Modes) -> Service {
        match self {
            Self::EndpointSlices => modes.slices,
            Self::Services => modes.services,
            Self::Pods => modes.pods,
        }
    }

    /// The objects that a client asks for, by name.
    fn select(self, objects: &Objects, query: &Query) -> BTreeMap<String, Value> {
        let all = match self {
            Self::EndpointSlices => &objects.slices,
            Self::Services => &objects.services,
            Self::Pods => &objects.pods,
        };
        let selected = all.iter().filter(|object| query.wants(object)).map(|object| {
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] = json!(objects.version.to_string());
            let metadata = &object["metadata"];
            (format!("{}/{}", metadata["namespace"], metadata["name"]), object)
        });
        selected.collect()
    }
}

/// Group, namespace and kind of a path.
fn namespaced(path: &str) -> Option<(&str, &str, &str)> {
    let (group, rest) = path.split_once("/namespaces/")?;
    let (namespace, kind) = rest.split_once('/')?;
    Some((group, namespace, kind))
}

/// What a client asks for.
struct Query {
    namespace: String,
    parameters: BTreeMap<String, String>,
}

impl Query {
    fn of(request: &Request<Incoming>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let parameters = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let namespace = namespaced(request.uri().path()).map_or("", |(_, namespace, _)| namespace);
        Self { namespace: namespace.to_owned(), parameters }
    }

    fn get(&self, key: &str) -> &str {
        self.parameters.get(key).map_or("", String::as_str)
    }

    fn is(&self, key: &str) -> bool {
        matches!(self.get(key), "true" | "1")
    }

    /// Selectors are of the form `key=value`, which is all that anybody here sends.
    fn wants(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let label = self.get("labelSelector").split_once('=');
        let field = self.get("fieldSelector").split_once('=');
        let of_field = |field| match field {
            "metadata.name" => &metadata["name"],
            "spec.nodeName" => &object["spec"]["nodeName"],
            _ => &Value::Null,
        };
        // What a test makes up is in every namespace.
        let namespace = &metadata["namespace"];
        (namespace.is_null() || self.namespace.is_empty() || *namespace == self.namespace)
            && label.is_none_or(|(key, value)| metadata["labels"][key] == value)
            && field.is_none_or(|(field, value)| of_field(field) == value)
    }
}

/// The answer to who lists or watches.
pub(super) async fn answer(
    collection: Collection,
    request: &Request<Incoming>,
    session: &Arc<Session>,
) -> Response<Body> {
    let query = Query::of(request);
    let watches = query.is("watch");
    if watches {
        session.count(&format!("{}?watch", request.uri().path()));
    }
    let mut modes = session.state.follow_modes();
    let how = |modes: &Modes| {
        let Service { lists, watches: watching } = collection.service(modes);
        if watches { watching } else { lists }
    };
    // It ends when the state is gone, which the session holds.
    let answers = modes.wait_for(|modes| watches || how(modes) != Api::Silent).await;
    let api = answers.map_or(Api::Serve, |modes| how(&modes));
    if let Api::Refuse(code) = api {
        return refusal(code, "so it was told");
    }
    if watches {
        return watch(collection, query, session);
    }
    let (kind, version) = collection.kind();
    let objects = session.state.follow_objects();
    let objects = objects.borrow();
    let items: Vec<_> = collection.select(objects.newest(), &query).into_values().collect();
    let metadata = json!({"resourceVersion": objects.newest().version.to_string()});
    let list = json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items});
    if api == Api::Garble {
        let text = list.to_string();
        return with_type(Response::new(half(&text).boxed()));
    }
    object(&list)
}

fn half(text: &str) -> http_body_util::Full<Bytes> {
    Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]).into()
}

/// An error as the real server words it.
pub(super) fn refusal(code: u16, message: &str) -> Response<Body> {
    let mut response = object(&status(code, message));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
    response
}

fn status(code: u16, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "message": message, "reason": "ToldSo",
    })
}

fn watch(collection: Collection, query: Query, session: &Arc<Session>) -> Response<Body> {
    let version = query.get("resourceVersion").parse().unwrap_or(0);
    let newest = session.state.follow_objects().borrow().newest().version;
    if version > newest {
        return refusal(504, "Too large resource version");
    }
    let lasts = query.get("timeoutSeconds").parse().map_or(LASTS, Duration::from_secs);
    let (events, body) = Channel::new(BACKLOG);
    let watch = Watch { collection, query, events, version };
    tokio::spawn(watch.run(Arc::clone(session), Instant::now() + lasts));
    with_type(Response::new(body.boxed()))
}

/// A watch under way.
struct Watch {
    collection: Collection,
    query: Query,
    events: Sender<Bytes>,
    /// What the client knows; 0 for nothing.
    version: u64,
}

/// The client has gone, or has been told that it is over.
struct Over;

impl Watch {
    async fn run(mut self, session: Arc<Session>, until: Instant) {
        let mut objects = session.state.follow_objects();
        let mut modes = session.state.follow_modes();
        loop {
            let now = *modes.borrow_and_update();
            let done = match self.collection.service(&now).watches {
                Api::Serve => {
                    let events = self.due(&objects.borrow_and_update());
                    self.send_all(events).await
                }
                Api::Silent => {
                    // Both end only with the server.
                    let _ = modes.changed().await;
                    continue;
                }
                Api::Garble => self.send("{\"type\":\"ADD\n".into()).await.and(Err(Over)),
                Api::Refuse(410) => self.gone().await,
                Api::Refuse(_) => Err(Over),
            };
            if done.is_err() {
                return;
            }
            // reason: bookmarks and timeouts are times.
            let bookmark = Instant::now() + now.bookmark_interval;
            tokio::select! {
                _ = objects.changed() => {}
                _ = modes.changed() => {}
                () = sleep_until(until) => return,
                () = sleep_until(bookmark) => {
                    if self.query.is("allowWatchBookmarks") && self.bookmark().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// What has happened since the version that the client knows; `None` when that is gone.
    fn due(&mut self, history: &History) -> Option<Vec<(&'static str, Value)>> {
        let nothing = Objects::default();
        let states: Vec<_> = match self.version {
            0 => vec![&nothing, history.newest()],
            version => history.since(version)?.collect(),
        };
        let mut events = Vec::new();
        for pair in states.windows(2) {
            let [old, new] = [0, 1].map(|at| self.collection.select(pair[at], &self.query));
            for (name, object) in &new {
                match old.get(name) {
                    None => events.push(("ADDED", object.clone())),
                    Some(before) if without_version(before) != without_version(object) => {
                        events.push(("MODIFIED", object.clone()));
                    }
                    Some(_) => {}
                }
            }
            for (_, object) in old.into_iter().filter(|(name, _)| !new.contains_key(name)) {
                let mut object = object;
                object["metadata"]["resourceVersion"] = json!(pair[1].version.to_string());
                events.push(("DELETED", object));
            }
            self.version = pair[1].version;
        }
        Some(events)
    }

    async fn send_all(&mut self, events: Option<Vec<(&'static str, Value)>>) -> Result<(), Over> {
        let Some(events) = events else { return self.gone().await };
        for (kind, object) in events {
            self.send(format!("{}\n", json!({"type": kind, "object": object}))).await?;
        }
        Ok(())
    }

    async fn bookmark(&mut self) -> Result<(), Over> {
        let (kind, version) = self.collection.kind();
        let kind = kind.trim_end_matches("List");
        let metadata = json!({"resourceVersion": self.version.to_string()});
        let object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        self.send(format!("{}\n", json!({"type": "BOOKMARK", "object": object}))).await
    }

    async fn gone(&mut self) -> Result<(), Over> {
        let object = status(410, "too old resource version");
        self.send(format!("{}\n", json!({"type": "ERROR", "object": object}))).await.and(Err(Over))
    }

    async fn send(&mut self, line: String) -> Result<(), Over> {
        self.events.send_data(line.into()).await.map_err(|_| Over)
    }
}

fn without_version(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = Value::Null;
    object
}
