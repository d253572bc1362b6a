//! A server's life: refuse, listen, and on SIGTERM stop as kube-apiserver does.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::cluster::Cluster;
use super::connection::Server;
use super::control;
use super::ports::{Port, Speaks};
use super::settings::Settings;
use super::state::{Phase, State};

/// Without a shutdown delay the real server refuses 50 ms after the signal.
const CLOSE_AFTER: Duration = Duration::from_millis(50);
/// As many as Go's listeners take with the usual `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Dropped by the last connection: tells that all are done.
type Open = mpsc::Sender<()>;

pub(super) async fn serve(settings: Settings) -> Result<()> {
    let state = Arc::new(State::new(&settings));
    let mut terminate = signal(SignalKind::terminate())?;
    let control = UnixListener::bind(&settings.control)
        .with_context(|| format!("cannot listen on {}", settings.control.display()))?;
    tokio::spawn(control::serve(control, Arc::clone(&state)));
    std::thread::spawn(exit_with_the_lab);

    let server = Server {
        name: settings.name.as_str().into(),
        cluster: Arc::new(Cluster {
            version: settings.version.clone(),
            kubelet_version: settings.kubelet_version.clone(),
        }),
        state: Arc::clone(&state),
        tls: acceptor(&settings)?,
    };
    let (open, mut all_done) = mpsc::channel(1);
    if settings.startup.refuse > Duration::ZERO {
        announce(&[])?;
        // reason: a real server refuses for as long while it starts.
        tokio::time::sleep(settings.startup.refuse).await;
    }
    let listening = listen(&settings, &server, &open)?;
    if settings.startup.refuse.is_zero() {
        announce(&listening.addresses)?;
    }
    drop(open);

    terminate.recv().await;
    let delay = state.modes().shutdown_delay;
    state.phase.send_replace(Phase::Stopping);
    // reason: the shutdown delay itself.
    tokio::time::sleep(delay.max(CLOSE_AFTER)).await;
    for task in listening.tasks {
        task.abort();
    }
    state.phase.send_replace(Phase::Closed);
    let grace = state.modes().shutdown_grace;
    // Either way it is over: all are done, or the grace has ended.
    let _ = tokio::time::timeout(grace, all_done.recv()).await;
    Ok(())
}

struct Listening {
    addresses: Vec<SocketAddr>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

fn listen(settings: &Settings, server: &Server, open: &Open) -> Result<Listening> {
    let mut listening = Listening { addresses: Vec::new(), tasks: Vec::new() };
    let tls = settings.listen.iter().map(|address| (address, Some(Speaks::Https)));
    let plain = settings.listen_plain.iter().map(|address| (address, None));
    let others = settings
        .ports
        .iter()
        .flat_map(|Port { listen, speaks }| listen.iter().map(|address| (address, Some(*speaks))));
    for (&address, speaks) in tls.chain(plain).chain(others) {
        let listener = bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listening.addresses.push(listener.local_addr()?);
        let task = accept(listener, server.clone(), open.clone(), speaks);
        listening.tasks.push(tokio::spawn(task));
    }
    Ok(listening)
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The IPv4 addresses have listeners of their own.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into())?)
}

/// Accepts on a port; one where nothing is spoken greets.
async fn accept(listener: TcpListener, server: Server, open: Open, speaks: Option<Speaks>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of descriptors, or a client that left: neither ends the server.
            Err(error) => {
                eprintln!("apiserver: accept: {error}");
                // reason: nothing tells when descriptors are free again.
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        let (server, open) = (server.clone(), open.clone());
        tokio::spawn(async move {
            server.state.count(|stats| {
                stats.accepted += 1;
                stats.open += 1;
            });
            connection(&server, stream, peer, speaks).await;
            server.state.count(|stats| stats.open -= 1);
            drop(open);
        });
    }
}

async fn connection(
    server: &Server,
    mut stream: TcpStream,
    peer: SocketAddr,
    speaks: Option<Speaks>,
) {
    // Clients break off as they like, that is what they are for.
    let _ = stream.set_nodelay(true);
    let _ = match speaks {
        None => server.greet(&mut stream).await,
        Some(speaks) => server.serve(stream, peer, speaks).await,
    };
}

fn acceptor(settings: &Settings) -> Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(settings.client_authority.as_bytes())?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let chain = CertificateDer::pem_slice_iter(settings.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(settings.key.as_bytes())?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Tells the lab that the server is up, with the addresses it listens on.
fn announce(addresses: &[SocketAddr]) -> Result<()> {
    let mut line = serde_json::to_vec(addresses)?;
    line.push(b'\n');
    std::io::stdout().write_all(&line).context("nobody waits for this server")
}

/// The lab holds the other end of standard input: when it dies, so does the server.
fn exit_with_the_lab() {
    // Errors and end of file mean the same.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    std::process::exit(0);
}
