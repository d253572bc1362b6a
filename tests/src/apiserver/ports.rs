//! Other ports of a control-plane host, each with what is spoken there: the same server, its name and its
//! readiness, over plain HTTP, bare TCP, bare TLS, or gRPC.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connection::{Server, serve_http1};
use super::http::Body;
use super::state::{Phase, State};
use tokio::sync::watch;

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");
const OK: HeaderValue = HeaderValue::from_static("0");
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

/// A port beside the API server's own. Raw clients may use it too.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Port {
    /// Where.
    pub listen: Vec<SocketAddr>,
    /// What is spoken there.
    pub speaks: Speaks,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Speaks {
    /// All that an API server does, over TLS.
    Https,
    /// The same without TLS.
    Http,
    /// Nothing.
    Tcp,
    /// TLS and then nothing.
    Tls,
    /// `grpc.health.v1`, serving while `/readyz` is 200.
    Grpc,
    /// The same over TLS.
    GrpcTls,
}

impl Speaks {
    pub(super) const fn has_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls | Self::GrpcTls)
    }
}

impl Server {
    /// Serves a connection of a port without TLS.
    pub(super) async fn plain(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        speaks: Speaks,
        phase: &mut watch::Receiver<Phase>,
    ) -> io::Result<()> {
        match speaks {
            Speaks::Http => serve_http1(stream, self.session(peer, false), phase).await,
            Speaks::Grpc => health(stream, Arc::clone(&self.state)).await,
            Speaks::Tcp | Speaks::Https | Speaks::Tls | Speaks::GrpcTls => hold(&mut stream).await,
        }
    }
}

/// Takes what comes until the client ends it.
pub(super) async fn hold<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    tokio::io::copy(stream, &mut tokio::io::sink()).await.map(drop)
}

/// Serves health checks.
pub(super) async fn health<S>(stream: S, state: Arc<State>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(checked(request, &state).await) }
    });
    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
}

async fn checked(request: Request<Incoming>, state: &State) -> Response<Body> {
    let path = request.uri().path().to_owned();
    state.count(|stats| *stats.requests.entry(path.clone()).or_default() += 1);
    // What is asked about makes no difference; an incomplete question is the client's affair.
    let _question = request.into_body().collect().await;
    let body = if path == HEALTH {
        let status = if state.readyz() == 200 { SERVING } else { NOT_SERVING };
        let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]);
        let trailers = HeaderMap::from_iter([(GRPC_STATUS, OK)]);
        Full::new(message).with_trailers(async { Some(Ok(trailers)) }).boxed()
    } else {
        Full::new(Bytes::new()).boxed()
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if path != HEALTH {
        response.headers_mut().insert(GRPC_STATUS, UNIMPLEMENTED);
    }
    response
}
