//! HTTP/1 for the places where this program can be asked: the agent's two, and the local page.

use crate::status;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// A client that sends no whole request for this long is let go. All are on this host, where a
/// request takes microseconds.
const HEADER_TIMEOUT: Duration = Duration::from_secs(1);
/// Far longer than the driver ever takes between two requests; a stuck driver is an error.
pub(crate) const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept, so that a lasting cause does not eat the processor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Nothing that is asked here is long.
const BUFFER: usize = 8 << 10;

/// A whole answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Answers the requests of one connection until it ends.
pub(crate) async fn connection<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the agent's own HTTP went away");
    }
}

/// Answers whoever connects, until it is dropped. Every process of this host can, so nobody may keep others out by
/// holding connections: when this many are open, the oldest makes room.
pub(crate) async fn crowd<A, F>(listener: &TcpListener, most: usize, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut connections = JoinSet::new();
    // Oldest first.
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
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
        if open.len() >= most {
            let oldest = open.pop_front();
            oldest.iter().for_each(AbortHandle::abort);
        }
        open.push_back(connections.spawn(connection(stream, answer.clone())));
    }
}

/// An answer with this status, type and body.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    answer
}

/// A line of plain text.
pub(crate) fn text(status: StatusCode, line: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// Asks the driver for a document; `None` when it does not answer.
pub(crate) async fn ask<T>(source: &mpsc::Sender<status::Request<T>>) -> Option<T> {
    let ask = async {
        let (request, answer) = status::Request::new();
        source.send(request).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(STATUS_TIMEOUT, ask).await.ok().flatten()
}
