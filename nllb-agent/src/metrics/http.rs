//! The loopback listener for machines: /metrics, /healthz, /readyz.
//!
//! Tasks: one accepts, one per connection answers; all end with the future of [`Listener::serve`].
//! Healthy means that the driver answers; ready that the data path is proven and a probe has ended.

mod life;

use crate::metrics::{self, Format};
use crate::serve::{self, Answer};
use crate::status::{Status, StatusSource};
use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::{Method, Request, StatusCode};
use life::Life;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A scraper, a kubelet's probe and a person: a few connections at once are plenty.
const MOST_CONNECTIONS: usize = 16;

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
        serve::crowd(&self.listener, MOST_CONNECTIONS, move |request| {
            route(request, Arc::clone(&life))
        })
        .await;
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
