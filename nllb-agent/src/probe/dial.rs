//! The way to a backend up to the end of the TLS handshake, which fresh probes and sentinels share.

use super::certificate;
use super::credentials::Tls;
use super::outcome;
use super::verify::Recorder;
use nllb_core::{CertificateFacts, Outcome};
use rustls_pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What was learned on the way, however far it led.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) rtt: Option<Duration>,
    shown: Option<(Arc<Recorder>, Arc<Tls>)>,
}

impl Seen {
    /// The certificate that was shown, when the handshake got that far.
    pub(super) fn certificate(&self) -> Option<Arc<CertificateFacts>> {
        let (recorder, tls) = self.shown.as_ref()?;
        certificate::facts(&recorder.shown(), &tls.anchors).map(Arc::new)
    }
}

/// Connects by `until`, on a socket that the kernel programs leave alone.
pub(super) async fn tcp<F>(
    address: SocketAddr,
    until: Instant,
    exempt: F,
    seen: &mut Seen,
) -> Result<TcpStream, Outcome>
where
    F: FnOnce(BorrowedFd<'_>) -> io::Result<()>,
{
    let socket = open(address, exempt).map_err(|error| outcome::local(&error))?;
    let dialled = Instant::now();
    let stream = match timeout_at(until.into(), socket.connect(address)).await {
        Err(_elapsed) => return Err(Outcome::Silent),
        Ok(connected) => connected.map_err(|error| outcome::of_connect(&error))?,
    };
    seen.rtt = Some(dialled.elapsed());
    Ok(stream)
}

/// Agrees on TLS by `until`, and on one of the protocols.
pub(super) async fn tls<S>(
    stream: S,
    tls: &Arc<Tls>,
    protocols: &[&[u8]],
    name: ServerName<'static>,
    until: Instant,
    seen: &mut Seen,
) -> Result<TlsStream<S>, Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let recorder = Arc::new(Recorder::new(Arc::clone(&tls.verifier)));
    seen.shown = Some((Arc::clone(&recorder), Arc::clone(tls)));
    let mut config = tls.config.clone();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.dangerous().set_certificate_verifier(recorder);
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match timeout_at(until.into(), handshake).await {
        Err(_elapsed) => Err(Outcome::Hung),
        Ok(done) => done.map_err(|error| outcome::of_stream(&error)),
    }
}

/// The name that the certificate must carry.
pub(super) fn server_name(
    given: Option<&str>,
    address: SocketAddr,
) -> Result<ServerName<'static>, Outcome> {
    match given {
        Some(name) => ServerName::try_from(name.to_owned()).map_err(|error| outcome::local(&error)),
        None => Ok(ServerName::from(address.ip())),
    }
}

fn open<F>(address: SocketAddr, exempt: F) -> io::Result<Dialer>
where
    F: FnOnce(BorrowedFd<'_>) -> io::Result<()>,
{
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    exempt(socket.as_fd())?;
    Ok(Dialer(StdStream::from(socket)))
}

/// A socket that has not dialled yet.
struct Dialer(StdStream);

impl Dialer {
    async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpSocket::from_std_stream(self.0).connect(address).await
    }
}
