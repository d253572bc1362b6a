//! The bodies of watches: with an event per interval, or idle after the first.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, channel::Channel};
use hyper::body::Frame;
use serde_json::json;

use super::http::{Body, Session};

/// Events a slow watcher may be behind before the stream waits for it.
const BACKLOG: usize = 16;
/// The watch that has one event and then nothing, for as long as its connection lives.
const IDLE: &str = "/api/v1/watch/idle";

/// The body of the watch at `path`, one line per event.
pub(super) fn body(path: &str, session: &Arc<Session>) -> Body {
    if path == IDLE { Idle(Some(event(&session.server, 1))).boxed() } else { stream(session) }
}

fn stream(session: &Arc<Session>) -> Body {
    let (mut sender, body) = Channel::new(BACKLOG);
    let session = Arc::clone(session);
    tokio::spawn(async move {
        for number in 1.. {
            if sender.send_data(event(&session.server, number)).await.is_err() {
                return;
            }
            // reason: a watch sends an event per interval.
            tokio::time::sleep(session.state.modes().watch_interval).await;
        }
    });
    body.boxed()
}

fn event(server: &str, number: u64) -> Bytes {
    let object = json!({"server": server, "number": number});
    let event = json!({"type": "BOOKMARK", "object": object});
    Bytes::from(format!("{event}\n"))
}

/// Never ends, and holds nothing once its event is gone.
struct Idle(Option<Bytes>);

impl hyper::body::Body for Idle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Nobody has to be woken: the connection drops this when it ends.
        self.0.take().map_or(Poll::Pending, |event| Poll::Ready(Some(Ok(Frame::data(event)))))
    }
}
