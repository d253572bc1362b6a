//! A socket that notes when and how it ends.
//!
//! The HTTP/2 library keeps no errno, and the errno is what tells a reset by the peer from a socket
//! that this host destroyed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::connect::name;
use super::super::protocol::End;
use crate::clock::now_ns;

/// Where the end is noted.
pub(super) type Note = Arc<OnceLock<End>>;

pub(super) struct Noted {
    stream: TcpStream,
    note: Note,
}

impl Noted {
    pub(super) fn new(stream: TcpStream) -> (Self, Note) {
        let note = Note::default();
        (Self { stream, note: Arc::clone(&note) }, note)
    }

    fn end(&self, how: String) {
        // The first is the one that counts; what follows is EPIPE.
        let _ = self.note.set(End { at_ns: now_ns(), how });
    }

    fn check<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.end(name(error));
        }
        result
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.check(result)?;
        if room > 0 && buffer.filled().len() == before {
            self.end("EOF".to_owned());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(context, octets));
        Poll::Ready(self.check(result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
