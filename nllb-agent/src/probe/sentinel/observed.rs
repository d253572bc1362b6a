//! A stream that remembers how it ended, since everything above it forgets.
//!
//! TLS and HTTP/2 make one sort of error of a FIN, a reset and a lost peer, or none at all. And a write
//! never fails, so that what came before the end is not lost with it: the reader gets what is still in
//! the socket, which may be a goodbye, and then the end.

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
}

impl<S> Observed<S> {
    pub(super) const fn new(stream: S, link: Arc<Link>) -> Self {
        Self { stream, link, broken: false }
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
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() == before && buf.remaining() > 0 {
                    this.link.note(Outcome::Closed);
                }
            }
            Poll::Ready(Err(error)) => this.link.note(outcome::of_stream(&error)),
            Poll::Pending if this.broken => {}
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use nllb_core::SentinelFact;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Has something to read, then fails or waits for ever; fails to write.
    struct Failing {
        received: &'static [u8],
        read: Option<i32>,
        write: i32,
    }

    impl AsyncRead for Failing {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.received.is_empty() {
                return Pin::new(&mut self.received).poll_read(cx, buf);
            }
            self.read.map_or(Poll::Pending, |errno| Poll::Ready(Err(errno_error(errno))))
        }
    }

    impl AsyncWrite for Failing {
        fn poll_write(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(errno_error(self.write)))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(errno_error(self.write)))
        }
    }

    fn errno_error(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    /// Each errno of a connection with the end it is: ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH,
    /// ENETUNREACH, ENETDOWN, EHOSTDOWN, and one that has nothing to do with connections.
    const ENDS: [(i32, SentinelFact); 8] = [
        (104, SentinelFact::Reset),
        (32, SentinelFact::Closed),
        (110, SentinelFact::Lost),
        (113, SentinelFact::Lost),
        (101, SentinelFact::Lost),
        (100, SentinelFact::Lost),
        (112, SentinelFact::Lost),
        (12, SentinelFact::Lost),
    ];

    #[tokio::test]
    async fn each_errno_of_a_read_is_an_end() {
        for (errno, fact) in ENDS {
            let link = Arc::new(Link::default());
            let stream = Failing { received: b"last words", read: Some(errno), write: 32 };
            let mut stream = Observed::new(stream, Arc::clone(&link));
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("an end");
            assert_eq!((text.as_str(), link.fact()), ("last words", fact), "{errno}");
        }
    }

    #[tokio::test]
    async fn a_failed_write_hides_nothing_that_was_received_and_is_the_end() {
        for (errno, fact) in ENDS {
            let link = Arc::new(Link::default());
            let stream = Failing { received: b"last words", read: None, write: errno };
            let mut stream = Observed::new(stream, Arc::clone(&link));
            stream.write_all(b"lost").await.expect("nothing to see");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("an end");
            stream.shutdown().await.expect("nothing to see");
            assert_eq!((text.as_str(), link.fact()), ("last words", fact), "{errno}");
        }
    }
}
