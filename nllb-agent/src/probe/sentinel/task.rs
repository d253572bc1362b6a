//! The task behind a sentinel: drives the connection, sends pings, and reports what it sees.

use super::goodbye::Listening;
use super::link::Link;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use hyper::body::Bytes;
use nllb_core::{Outcome, SentinelFact};
use std::future::{self, Future};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{self, AsyncRead, AsyncWrite, Join, ReadHalf, WriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

type Stream<S> = Join<Listening<ReadHalf<S>>, WriteHalf<S>>;

/// What a backend may send on one stream before we have read it. The answers are small.
const STREAM_WINDOW: u32 = 32 << 10;
/// The smallest that HTTP/2 allows.
const LARGEST_FRAME: u32 = 16 << 10;
/// API servers send a dozen short headers.
const LARGEST_HEADERS: u32 = 16 << 10;
/// A request is two hundred bytes.
const SEND_BUFFER: usize = 16 << 10;
/// Requests that were given up and may still be answered: a minute of them, when every one is.
const FORGOTTEN_STREAMS: usize = 64;

/// Runs until the connection is over; dropping it closes the connection.
pub(super) struct Task<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection: Connection<Stream<S>, Bytes>,
    pings: PingPong,
    /// Keeps an idle connection from being closed.
    _requests: SendRequest<Bytes>,
    link: Arc<Link>,
    facts: UnboundedSender<SentinelFact>,
    /// The end was reported; open requests may go on.
    ended: bool,
    /// The connection is over.
    over: bool,
}

impl<S> Task<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Exchanges settings and a first ping. Since settings come first, an answered ping is the proof
    /// that both sides have them.
    pub(super) async fn greet(
        stream: S,
        link: Arc<Link>,
        facts: UnboundedSender<SentinelFact>,
        heard: &mut UnboundedReceiver<SentinelFact>,
    ) -> Result<(Self, SendRequest<Bytes>), Outcome> {
        let (reader, writer) = io::split(stream);
        let stream = io::join(Listening::new(reader, Arc::clone(&link)), writer);
        let handshake = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .max_frame_size(LARGEST_FRAME)
            .max_header_list_size(LARGEST_HEADERS)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(FORGOTTEN_STREAMS)
            .handshake(stream);
        let (requests, mut connection) = handshake.await.map_err(|_end| link.cut())?;
        let pings = connection.ping_pong().expect("it is taken once");
        let mut task = Self {
            connection,
            pings,
            _requests: requests.clone(),
            link,
            facts,
            ended: false,
            over: false,
        };
        task.link.want_ping();
        let first = future::poll_fn(|cx| {
            // Whatever ends it is reported first.
            let _over = Pin::new(&mut task).poll(cx);
            heard.poll_recv(cx)
        });
        match first.await {
            Some(SentinelFact::Pong { .. }) => Ok((task, requests)),
            Some(_) | None => Err(task.link.cut()),
        }
    }

    /// Reports the end, unless it has been.
    fn end(&mut self, fact: SentinelFact) {
        if !self.ended {
            self.ended = true;
            self.link.end();
            self.report(fact);
        }
    }

    fn report(&self, fact: SentinelFact) {
        // Nobody listens once the handle is gone, and then this task ends too.
        let _unheard = self.facts.send(fact);
    }
}

impl<S> Future for Task<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(());
        }
        if this.link.take_ping(cx) && !this.ended {
            // Fails only on a connection that is over, which is seen next.
            let _over = this.pings.send_ping(Ping::opaque());
        }
        let connection = Pin::new(&mut this.connection).poll(cx);
        if matches!(this.pings.poll_pong(cx), Poll::Ready(Ok(_))) {
            let rtt = this.link.take_pong().filter(|_| !this.ended);
            if let Some(rtt) = rtt {
                this.report(SentinelFact::Pong { rtt });
            }
        }
        if this.link.said_goodbye() {
            this.end(SentinelFact::GoAway);
        }
        let result = ready!(connection);
        this.over = true;
        if let Some(broken) = result.err().as_ref().and_then(h2::Error::get_io) {
            // TLS says so when it was broken or ended by an alert.
            if broken.kind() == ErrorKind::InvalidData {
                this.link.note(Outcome::TlsFailed { reason: broken.to_string() });
            }
        }
        this.end(this.link.fact());
        Poll::Ready(())
    }
}
