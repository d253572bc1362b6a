//! A backend as an input describes it: what it says, in which pieces, and whether it hangs up afterwards.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Says something and hears everything.
#[derive(Debug)]
pub(crate) struct Script {
    rest: Vec<u8>,
    said: usize,
    /// How much it says at once.
    piece: usize,
    /// Whether it hangs up, or is silent, when all is said.
    hangs_up: bool,
    /// The next piece needs another turn of the event loop.
    pause: bool,
}

impl Script {
    /// The highest bit of the first octet: it hangs up. The others: how much it says at once, 0 for all of it.
    /// `before` comes first.
    pub(crate) fn new(before: &[u8], manner: u8, said: &[u8]) -> Self {
        let piece = match manner & 0x7f {
            0 => usize::MAX,
            piece => usize::from(piece),
        };
        let rest = [before, said].concat();
        Self { rest, said: 0, piece, hangs_up: manner & 0x80 != 0, pause: false }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.rest.len() - self.said;
        if left == 0 {
            return if self.hangs_up { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        if self.piece != usize::MAX && !std::mem::replace(&mut self.pause, false) {
            self.pause = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = left.min(self.piece).min(buf.remaining());
        let from = self.said;
        buf.put_slice(&self.rest[from..from + length]);
        self.said += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
