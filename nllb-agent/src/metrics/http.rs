//! The loopback listener for machines: /metrics, /healthz, /readyz.
//!
//! Tasks: one accepts, one per connection answers; all end with the future of [`Listener::serve`].
//! Healthy means that the driver answers; ready that the data path is proven and a probe has ended.

use crate::metrics;
use crate::serve::{self, Answer};
use crate::status::{Status, StatusSource};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A scraper, a kubelet's probe and a person: a few connections at once are plenty.
const MOST_CONNECTIONS: usize = 16;
/// Pause after a failed accept, so that a lasting cause does not eat the processor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The open listener.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Listens at `address`.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: TcpListener::from_std(listener)? })
    }

    /// The address, with the port that the kernel chose where 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped.
    pub async fn serve(self, source: StatusSource) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: waiting is all there is to do.
                    tracing::warn!(%error, "the HTTP listener cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let source = source.clone();
            connections.spawn(async move {
                serve::connection(stream, |request| route(request, source.clone())).await;
                drop(place);
            });
        }
    }
}

async fn route(request: Request<Incoming>, source: StatusSource) -> Answer {
    let answer: fn(&Status) -> Answer = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => metrics_text,
        (&Method::GET, "/healthz") => |_| serve::text(StatusCode::OK, "ok"),
        (&Method::GET, "/readyz") => readiness,
        (&Method::GET, _) => {
            return serve::text(StatusCode::NOT_FOUND, "here are /metrics, /healthz and /readyz");
        }
        _ => return serve::text(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
    };
    match serve::status(&source).await {
        Some(status) => answer(&status),
        None => serve::text(StatusCode::SERVICE_UNAVAILABLE, "the agent is stuck or stopping"),
    }
}

fn metrics_text(status: &Status) -> Answer {
    match metrics::render(status) {
        Ok(text) => serve::answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(error) => serve::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn readiness(status: &Status) -> Answer {
    let obstacles = status.obstacles();
    if obstacles.is_empty() {
        return serve::text(StatusCode::OK, "ok");
    }
    serve::text(StatusCode::SERVICE_UNAVAILABLE, &obstacles.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{StatusRequest, example};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    async fn get(address: SocketAddr, uri: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        let request = format!("GET {uri} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    /// Serves these documents, one per request, then stops answering.
    fn listener(documents: Vec<Status>) -> SocketAddr {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.address().expect("bound");
        let (source, mut requests) = mpsc::channel::<StatusRequest>(1);
        tokio::spawn(listener.serve(source));
        tokio::spawn(async move {
            for document in documents {
                requests.recv().await.expect("a request").answer(document);
            }
        });
        address
    }

    #[tokio::test]
    async fn metrics_health_and_readiness_come_from_the_status_document() {
        let mut unready = example::status();
        unready.datapath.self_test.failures = vec!["not translated".to_owned()];
        let documents = vec![example::status(), unready.clone(), unready, example::status()];
        let address = listener(documents);
        let ready = get(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("\r\n\r\nok\n"), "{ready}");
        let unready = get(address, "/readyz").await;
        assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
        assert!(unready.ends_with("\r\n\r\nself-test: not translated\n"), "{unready}");
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("content-type: application/openmetrics-text"), "{metrics}");
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
        let stuck = get(address, "/healthz").await;
        assert!(stuck.starts_with("HTTP/1.1 503"), "{stuck}");
    }
}
