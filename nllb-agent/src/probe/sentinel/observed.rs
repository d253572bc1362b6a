//! A stream that remembers how it ended, since everything above it forgets.
//!
//! TLS and HTTP/2 make one sort of error of a FIN, a reset and a lost peer, or none at all. Two rules
//! keep what came before the end from being lost with it:
//!
//! - A write never fails. The reader first gets what is still in the socket, which may be a goodbye,
//!   and then the end.
//! - The reader gets the end one turn after everything else, so that the task looks around before.

use super::link::Link;
use crate::probe::outcome;
use nllb_core::Outcome;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub(super) struct Observed<S> {
    stream: S,
    link: Arc<Link>,
    /// A write failed: there is nothing to wait for.
    broken: bool,
    /// Everything was read.
    finished: bool,
}

impl<S> Observed<S> {
    pub(super) const fn new(stream: S, link: Arc<Link>) -> Self {
        Self { stream, link, broken: false, finished: false }
    }

    /// A write that failed as one that did not.
    fn written(&mut self, result: io::Result<usize>, length: usize, cx: &Context<'_>) -> usize {
        result.unwrap_or_else(|error| {
            self.link.note(outcome::of_stream(&error));
            self.broken = true;
            cx.waker().wake_by_ref();
            length
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.finished {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > before || buf.remaining() == 0 => {
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(())) => this.link.note(Outcome::Closed),
            Poll::Ready(Err(error)) => this.link.note(outcome::of_stream(&error)),
            Poll::Pending if this.broken => {}
            Poll::Pending => return Poll::Pending,
        }
        this.finished = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_write(cx, buf));
        Poll::Ready(Ok(this.written(result, buf.len(), cx)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs));
        let length = bufs.iter().map(|buf| buf.len()).sum();
        Poll::Ready(Ok(this.written(result, length, cx)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_flush(cx));
        this.written(result.map(|()| 0), 0, cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Too late to tell anything.
        let _gone = ready!(Pin::new(&mut this.stream).poll_shutdown(cx));
        Poll::Ready(Ok(()))
    }
}
