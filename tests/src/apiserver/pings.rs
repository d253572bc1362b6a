//! Counts the HTTP/2 pings of a client.
//!
//! The HTTP/2 library answers pings by itself and tells nobody. So what is read from a connection
//! goes by here first; of RFC 9113 it takes no more than the preface and the nine octets before
//! every frame.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::state::State;

const PREFACE: usize = 24;
const HEADER: usize = 9;
const TYPE_PING: u8 = 6;
const FLAG_ACK: u8 = 1;

/// A connection whose pings are counted.
pub(super) struct Counted<S> {
    stream: S,
    frames: Frames,
    state: Arc<State>,
}

/// Where in the stream of frames the reader is.
struct Frames {
    /// Octets to pass over: the preface, or what a frame carries.
    skip: usize,
    header: Vec<u8>,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, state: Arc<State>) -> Self {
        Self { stream, frames: Frames::new(), state }
    }
}

impl Frames {
    fn new() -> Self {
        Self { skip: PREFACE, header: Vec::with_capacity(HEADER) }
    }

    /// How many pings begin in `octets`, the next of the stream.
    fn pings(&mut self, mut octets: &[u8]) -> u64 {
        let mut pings = 0;
        loop {
            let skipped = self.skip.min(octets.len());
            octets = &octets[skipped..];
            self.skip -= skipped;
            let (part, rest) = octets.split_at(octets.len().min(HEADER - self.header.len()));
            self.header.extend_from_slice(part);
            octets = rest;
            let [a, b, c, kind, flags, ..] = self.header[..] else { return pings };
            if self.header.len() < HEADER {
                return pings;
            }
            pings += u64::from(kind == TYPE_PING && flags & FLAG_ACK == 0);
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.header.clear();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let pings = self.frames.pings(&buffer.filled()[before..]);
        if pings > 0 {
            self.state.count(|stats| stats.pings += pings);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_found_however_the_stream_is_cut() {
        let mut stream = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let frame = |kind, flags, length: u8| {
            [&[0, 0, length, kind, flags, 0, 0, 0, 0][..], &vec![TYPE_PING; length.into()]].concat()
        };
        for (kind, flags, length) in [(4, 0, 12), (TYPE_PING, 0, 8), (4, 1, 0), (0, 1, 200)] {
            stream.extend(frame(kind, flags, length));
        }
        stream.extend(frame(TYPE_PING, FLAG_ACK, 8));
        stream.extend(frame(TYPE_PING, 0, 8));
        for size in 1..=stream.len() {
            let mut frames = Frames::new();
            let pings: u64 = stream.chunks(size).map(|part| frames.pings(part)).sum();
            assert_eq!(pings, 2, "in pieces of {size}");
        }
    }
}
