//! A reader that notices the server's goodbye, a GOAWAY frame, in what it reads.
//!
//! h2 acts on the frame, but tells of it only when all requests are done, and not at all when the
//! connection breaks right after it. The frames of HTTP/2 are easy to follow: nine bytes say how long
//! a frame is, of which kind, and on which stream.

use super::link::Link;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

const HEAD: usize = 9;
const GOAWAY: u8 = 7;
/// The last stream and the reason.
const GOAWAY_LENGTH: usize = 8;

/// Passes on what it reads.
pub(super) struct Listening<R> {
    reader: R,
    link: Arc<Link>,
    frames: Frames,
}

impl<R> Listening<R> {
    pub(super) fn new(reader: R, link: Arc<Link>) -> Self {
        Self { reader, link, frames: Frames::default() }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Listening<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.reader).poll_read(cx, buf))?;
        if this.frames.follow(&buf.filled()[before..]) {
            this.link.say_goodbye();
        }
        Poll::Ready(Ok(()))
    }
}

/// Where in the frames we are.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD],
    /// How much of the head is known.
    known: usize,
    /// What is left of the payload.
    payload: usize,
}

impl Frames {
    /// Whether a whole head of a GOAWAY frame ends in these bytes.
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let part = bytes.len().min(HEAD - self.known);
            self.head[self.known..self.known + part].copy_from_slice(&bytes[..part]);
            self.known += part;
            bytes = &bytes[part..];
            if self.known == HEAD {
                self.known = 0;
                let [high, middle, low, kind, _flags, stream @ ..] = self.head;
                self.payload =
                    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                let whole = self.payload >= GOAWAY_LENGTH && stream == [0; 4];
                found |= kind == GOAWAY && whole;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::raw::{DATA, PING, frame, goaway};
    use super::*;

    #[test]
    fn a_goodbye_is_found_however_it_is_cut() {
        let ping = frame(PING, 0, 0, &[7; 8]);
        // Looks like a goodbye inside, and is followed by an empty frame.
        let data = [frame(DATA, 0, 1, &goaway(1, 0)), frame(DATA, 0, 1, &[])].concat();
        for (bytes, found) in [
            ([&ping[..], &data, &goaway(3, 0), &ping].concat(), true),
            ([&data[..], &ping, &data].concat(), false),
            (frame(7, 0, 1, &[0; 8]), false),
            (frame(7, 0, 0, &[0; 7]), false),
        ] {
            for piece in 1..bytes.len() {
                let mut frames = Frames::default();
                let pieces: Vec<_> = bytes.chunks(piece).map(|it| frames.follow(it)).collect();
                let times = pieces.into_iter().filter(|it| *it).count();
                assert_eq!(times, usize::from(found), "pieces of {piece}");
            }
        }
    }
}
