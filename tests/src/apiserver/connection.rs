//! One accepted connection: TLS with HTTP/1.1 or HTTP/2, or one of the plain-text answers.
//!
//! The first byte tells TLS (22, a handshake record) from a raw client, so that both can be tested
//! on the port that is probed.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::cluster::Cluster;
use super::http::{Session, answer};
use super::pings::Counted;
use super::ports::{Speaks, health, hold};
use super::state::{Phase, State};
use super::{ASK_BULK, ASK_ECHO, ASK_NAME};

const TLS_HANDSHAKE: u8 = 22;
/// What is written at once of a bulk answer.
const CHUNK: usize = 64 * 1024;

/// What all connections of a server have in common.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) name: Arc<str>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) state: Arc<State>,
    pub(super) tls: TlsAcceptor,
}

impl Server {
    /// Serves a connection of a port, but for the one that greets.
    pub(super) async fn serve(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        speaks: Speaks,
    ) -> io::Result<()> {
        let mut phase = self.state.phase.subscribe();
        let mut first = [0; 1];
        tokio::select! {
            peeked = stream.peek(&mut first) => {
                if peeked? == 0 {
                    return Ok(());
                }
            }
            () = closed(&mut phase) => return Ok(()),
        }
        match first[0] {
            TLS_HANDSHAKE if speaks.has_tls() => self.tls(stream, peer, speaks, phase).await,
            ASK_NAME => {
                stream.read_exact(&mut first).await?;
                self.greet(&mut stream).await
            }
            ASK_ECHO => {
                stream.read_exact(&mut first).await?;
                self.greet(&mut stream).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                Ok(())
            }
            ASK_BULK => {
                stream.read_exact(&mut first).await?;
                send_bulk(&mut stream).await
            }
            _ if speaks.has_tls() => Ok(()),
            _ => self.plain(stream, peer, speaks, &mut phase).await,
        }
    }

    /// Serves a connection of the plain port.
    pub(super) async fn greet(&self, stream: &mut TcpStream) -> io::Result<()> {
        self.state.count(|stats| stats.greetings += 1);
        stream.write_all(format!("{}\n", self.name).as_bytes()).await
    }

    async fn tls(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        speaks: Speaks,
        mut phase: watch::Receiver<Phase>,
    ) -> io::Result<()> {
        let mut stream = self.tls.accept(stream).await?;
        self.state.count(|stats| stats.handshakes += 1);
        match speaks {
            Speaks::Tls => return hold(&mut stream).await,
            Speaks::GrpcTls => return health(stream, Arc::clone(&self.state)).await,
            Speaks::Https | Speaks::Http | Speaks::Tcp | Speaks::Grpc => {}
        }
        let (_, tls) = stream.get_ref();
        let http2 = tls.alpn_protocol() == Some(b"h2");
        let session = self.session(peer, tls.peer_certificates().is_some());
        if http2 {
            serve_http2(stream, session, &mut phase).await
        } else {
            serve_http1(stream, session, &mut phase).await
        }
    }

    /// What the handlers of a connection's requests know.
    pub(super) fn session(&self, peer: SocketAddr, certified: bool) -> Arc<Session> {
        Arc::new(Session {
            server: Arc::clone(&self.name),
            cluster: Arc::clone(&self.cluster),
            state: Arc::clone(&self.state),
            peer,
            certified,
            seen: std::sync::Mutex::default(),
            goaway: tokio::sync::Notify::new(),
        })
    }
}

async fn send_bulk(stream: &mut TcpStream) -> io::Result<()> {
    let (zeroes, mut missing) = (vec![0; CHUNK], stream.read_u64().await?);
    while missing > 0 {
        let part = usize::try_from(missing).map_or(CHUNK, |missing| missing.min(CHUNK));
        stream.write_all(&zeroes[..part]).await?;
        missing -= part as u64;
    }
    Ok(())
}

pub(super) async fn serve_http1<S>(
    stream: S,
    session: Arc<Session>,
    phase: &mut watch::Receiver<Phase>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let session = Arc::clone(&session);
        async { Ok::<_, std::convert::Infallible>(answer(request, session).await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        done = connection.as_mut() => return done.map_err(io::Error::other),
        () = closed(phase) => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(io::Error::other)
}

async fn serve_http2(
    stream: TlsStream<TcpStream>,
    session: Arc<Session>,
    phase: &mut watch::Receiver<Phase>,
) -> io::Result<()> {
    let stream = Counted::new(stream, Arc::clone(&session.state));
    let service = service_fn(|request| {
        let session = Arc::clone(&session);
        async { Ok::<_, std::convert::Infallible>(answer(request, session).await) }
    });
    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        done = connection.as_mut() => return done.map_err(io::Error::other),
        () = closed(phase) => {}
        () = session.goaway.notified() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(io::Error::other)
}

/// Waits until the listeners are closed.
async fn closed(phase: &mut watch::Receiver<Phase>) {
    // The sender lives in the state, which outlives every connection.
    let _ = phase.wait_for(|phase| *phase == Phase::Closed).await;
}
