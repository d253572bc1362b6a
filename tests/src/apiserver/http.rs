//! The paths of a server.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::Notify;

use super::cluster::{self, Cluster};
use super::collections::{self, Collection};
use super::leases;
use super::settings::Api;
use super::state::State;
use super::watches;

pub(super) type Body = BoxBody<Bytes, Infallible>;

/// Who sends no credentials. They may watch, which the real ones may not: clients of the lab that
/// watch need none then.
const ANONYMOUS: &str = "system:anonymous";
const WATCHES: &str = "/api/v1/watch/";
const NODES: &str = "/api/v1/nodes/";
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// What a request handler knows of its connection.
pub(super) struct Session {
    pub(super) server: Arc<str>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) state: Arc<State>,
    pub(super) peer: SocketAddr,
    pub(super) certified: bool,
    pub(super) seen: Mutex<BTreeSet<String>>,
    /// Wakes the connection to say GOAWAY.
    pub(super) goaway: Notify,
}

pub(super) async fn answer(request: Request<Incoming>, session: Arc<Session>) -> Response<Body> {
    let ahead = session.state.modes().ahead;
    let mut response = content(request, session).await;
    if ahead != 0 {
        let skew = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemTime::now();
        let theirs = if ahead > 0 { now + skew } else { now - skew };
        let date = HeaderValue::try_from(httpdate::fmt_http_date(theirs));
        response.headers_mut().extend(date.ok().map(|date| (DATE, date)));
    }
    response
}

async fn content(request: Request<Incoming>, session: Arc<Session>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    session.count(&path);
    let modes = session.state.modes();
    // reason: being slow is what was asked for.
    tokio::time::sleep(modes.slow).await;
    if path == "/readyz" {
        // reason: as above.
        tokio::time::sleep(modes.slow_readyz).await;
        session.state.readyz_answers().await;
    }
    if session.state.draws_goaway() {
        session.goaway.notify_one();
    }
    let authorization = request.headers().get(AUTHORIZATION);
    let user = session.user(authorization);
    let Some(user) = user.or_else(|| modes.anonymous.then_some(ANONYMOUS)) else {
        return status(StatusCode::UNAUTHORIZED);
    };
    if let Some(collection) = Collection::at(&path) {
        if authorization.is_some() && user == ANONYMOUS {
            return collections::refusal(401, "Unauthorized");
        }
        if user == ANONYMOUS {
            return collections::refusal(403, "anonymous may not");
        }
        return collections::answer(collection, &request, &session).await;
    }
    if leases::at(&path).is_some() {
        if user == ANONYMOUS {
            return collections::refusal(403, "anonymous may not");
        }
        let root = session.state.leases().to_owned();
        return leases::answer(request, &root, &session).await;
    }
    if path == EVENTS && request.method() == Method::POST {
        return session.take_event(request, user, modes.events).await;
    }
    match path.as_str() {
        "/readyz" => {
            let code = StatusCode::from_u16(session.state.readyz());
            status(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        }
        // What fails the one by force, as a dead etcd does, fails the other as well; a shutdown does not.
        "/healthz" => {
            let code = modes.readyz.and_then(|code| StatusCode::from_u16(code).ok());
            status(code.unwrap_or(StatusCode::OK))
        }
        "/livez" | "/ping" => status(StatusCode::OK),
        "/version" => object(&cluster::version(&session.cluster.version)),
        "/whoami" => object(&json!({
            "server": &*session.server,
            "peer": session.peer.to_string(),
            "user": user,
        })),
        path if path.starts_with("/api/v1/") && user == ANONYMOUS && !path.starts_with(WATCHES) => {
            status(StatusCode::FORBIDDEN)
        }
        "/api/v1/nodes" => object(&cluster::nodes(modes.nodes, request.uri().query())),
        path if path.starts_with(WATCHES) => {
            with_type(Response::new(watches::body(path, &session)))
        }
        path if path.starts_with(NODES) => {
            if let Api::Refuse(code) = modes.node {
                return collections::refusal(code, "so it was told");
            }
            let (name, version) = (&path[NODES.len()..], &session.cluster.kubelet_version);
            let objects = session.state.follow_objects();
            let zone = objects.borrow().newest().zones.get(name).cloned();
            object(&cluster::node(name, version, zone.as_ref()))
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

impl Session {
    /// Who sends a request with this `Authorization`; none if it proves nothing.
    fn user(&self, authorization: Option<&HeaderValue>) -> Option<&'static str> {
        let token = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        if token == Some(&*self.state.token()) {
            Some("bearer")
        } else {
            self.certified.then_some("certificate")
        }
    }

    /// Takes an Event, as an API server does from who may create them.
    async fn take_event(&self, request: Request<Incoming>, user: &str, how: Api) -> Response<Body> {
        if user == ANONYMOUS {
            return collections::refusal(403, "anonymous may not");
        }
        if let Api::Refuse(code) = how {
            return collections::refusal(code, "so it was told");
        }
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        let event = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
        let Some(event) = event else { return collections::refusal(400, "this is no object") };
        let mut answer = object(&event);
        *answer.status_mut() = StatusCode::CREATED;
        self.state.count(|stats| stats.events.push(event));
        answer
    }

    pub(super) fn count(&self, path: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seen.insert(path.to_owned());
        self.state.count(|stats| {
            *stats.requests.entry(path.to_owned()).or_default() += 1;
            if first {
                *stats.connections.entry(path.to_owned()).or_default() += 1;
            }
        });
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let text = if status == StatusCode::OK { "ok" } else { status.as_str() };
    let mut response = Response::new(Full::from(text.to_owned()).boxed());
    *response.status_mut() = status;
    response
}

pub(super) fn object(value: &serde_json::Value) -> Response<Body> {
    with_type(Response::new(Full::from(value.to_string()).boxed()))
}

pub(super) fn with_type(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
