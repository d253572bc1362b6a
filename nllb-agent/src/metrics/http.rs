//! The loopback listener for machines: /metrics, /healthz, /readyz.
//!
//! Tasks: one accepts, one per connection answers; all end with the future of [`Listener::serve`].
//! Healthy means that the driver answers; ready that the data path is proven and a probe has ended.
//!
//! Every process of this host can connect, so nobody may keep others out by holding connections: when
//! all places are taken, the oldest connection makes room.

mod life;

use crate::metrics::{self, Format};
use crate::serve::{self, Answer};
use crate::status::{Status, StatusSource};
use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::{Method, Request, StatusCode};
use life::Life;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

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
        let life = Arc::new(Life::new(source));
        let mut connections = JoinSet::new();
        // Oldest first.
        let mut open: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: waiting is all there is to do.
                    tracing::warn!(%error, "the HTTP listener cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            open.retain(|connection| !connection.is_finished());
            if open.len() >= MOST_CONNECTIONS {
                let oldest = open.pop_front();
                oldest.iter().for_each(AbortHandle::abort);
            }
            let life = Arc::clone(&life);
            open.push_back(connections.spawn(serve::connection(stream, move |request| {
                route(request, Arc::clone(&life))
            })));
        }
    }
}

async fn route(request: Request<Incoming>, life: Arc<Life>) -> Answer {
    let answer = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let format = format(&request);
            life.status().await.map(|status| metrics_text(&status, format))
        }
        (&Method::GET, "/healthz") => {
            life.is_seen().await.then(|| serve::text(StatusCode::OK, "ok"))
        }
        (&Method::GET, "/readyz") => life.status().await.as_ref().map(readiness),
        (&Method::GET, _) => {
            return serve::text(StatusCode::NOT_FOUND, "here are /metrics, /healthz and /readyz");
        }
        _ => return serve::text(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
    };
    answer.unwrap_or_else(|| {
        serve::text(StatusCode::SERVICE_UNAVAILABLE, "the agent is stuck or stopping")
    })
}

fn format(request: &Request<Incoming>) -> Format {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    Format::accepted(accept.unwrap_or_default())
}

fn metrics_text(status: &Status, format: Format) -> Answer {
    match metrics::render(status, format) {
        Ok(text) => serve::answer(StatusCode::OK, format.content_type(), text),
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
mod tests;
