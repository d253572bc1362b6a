//! The paths of a server.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, channel::Channel};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::json;

use super::state::State;

type Body = BoxBody<Bytes, Infallible>;

/// Events a slow watcher may be behind before the stream waits for it.
const WATCH_BACKLOG: usize = 16;

/// What a request handler knows of its connection.
pub(super) struct Session {
    pub(super) server: Arc<str>,
    pub(super) token: Arc<str>,
    pub(super) state: Arc<State>,
    pub(super) peer: SocketAddr,
    pub(super) certified: bool,
    pub(super) seen: Mutex<BTreeSet<String>>,
}

pub(super) async fn answer(request: Request<Incoming>, session: Arc<Session>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    session.count(&path);
    let modes = session.state.modes();
    // reason: being slow is what was asked for.
    tokio::time::sleep(modes.slow).await;
    if path == "/readyz" {
        // reason: as above.
        tokio::time::sleep(modes.slow_readyz).await;
    }
    let user = session.user(request.headers().get(AUTHORIZATION));
    let Some(user) = user.or_else(|| modes.anonymous.then_some("system:anonymous")) else {
        return status(StatusCode::UNAUTHORIZED);
    };
    match path.as_str() {
        "/readyz" => {
            let code = StatusCode::from_u16(session.state.readyz());
            status(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        }
        "/livez" | "/healthz" => status(StatusCode::OK),
        "/version" => object(&json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})),
        "/whoami" => object(&json!({
            "server": &*session.server,
            "peer": session.peer.to_string(),
            "user": user,
        })),
        path if path.starts_with("/api/v1/watch/") => watch(&session),
        _ => status(StatusCode::NOT_FOUND),
    }
}

impl Session {
    /// Who sends a request with this `Authorization`; none if it proves nothing.
    fn user(&self, authorization: Option<&HeaderValue>) -> Option<&'static str> {
        let token = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        if token == Some(&*self.token) {
            Some("bearer")
        } else {
            self.certified.then_some("certificate")
        }
    }

    fn count(&self, path: &str) {
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

/// A stream of events, one line each, for as long as the client listens.
fn watch(session: &Arc<Session>) -> Response<Body> {
    let (mut sender, body) = Channel::new(WATCH_BACKLOG);
    let session = Arc::clone(session);
    tokio::spawn(async move {
        for number in 1_u64.. {
            let object = json!({"server": &*session.server, "number": number});
            let event = json!({"type": "BOOKMARK", "object": object});
            if sender.send_data(Bytes::from(format!("{event}\n"))).await.is_err() {
                return;
            }
            // reason: a watch sends an event per interval.
            tokio::time::sleep(session.state.modes().watch_interval).await;
        }
    });
    with_type(Response::new(body.boxed()))
}

fn status(status: StatusCode) -> Response<Body> {
    let text = if status == StatusCode::OK { "ok" } else { status.as_str() };
    let mut response = Response::new(Full::from(text.to_owned()).boxed());
    *response.status_mut() = status;
    response
}

fn object(value: &serde_json::Value) -> Response<Body> {
    with_type(Response::new(Full::from(value.to_string()).boxed()))
}

fn with_type(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
