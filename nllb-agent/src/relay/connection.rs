//! One relayed connection.

use super::State;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How the frontend is dialled: in earnest by an unbound socket, in tests by anything.
pub(super) trait Dial: Clone + Send + Sync + 'static {
    fn dial(&self, address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send;
}

impl<F, R> Dial for F
where
    F: Fn(SocketAddr) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = io::Result<TcpStream>> + Send,
{
    fn dial(&self, address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send {
        self(address)
    }
}

/// What a connection needs of its listener.
#[derive(Clone)]
pub(super) struct Context<D> {
    pub(super) address: SocketAddr,
    pub(super) state: Arc<State>,
    pub(super) places: Arc<Semaphore>,
    pub(super) dial: D,
}

/// Serves `client` until both ends are done.
pub(super) async fn relay<D: Dial>(mut client: TcpStream, context: &Context<D>) {
    let Context { address, state, places: _, dial } = context;
    let mut backend = match dial.dial(*address).await {
        Ok(backend) => backend,
        Err(error) => {
            tracing::debug!(%address, %error, "cannot dial for a relayed connection");
            state.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    match backend.peer_addr() {
        Ok(peer) if peer == *address => {
            tracing::warn!(%address, "dialling this frontend leads back here: not translated");
            state.loops.fetch_add(1, Ordering::Relaxed);
            state.looped.notify_one();
            return;
        }
        Ok(peer) => tracing::trace!(%address, %peer, "relaying"),
        // Closed already; copying finds out.
        Err(_) => {}
    }
    for stream in [&client, &backend] {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a relayed connection keeps its delays");
        }
    }
    state.relayed.fetch_add(1, Ordering::Relaxed);
    let _active = Active::count(&state.active);
    if let Err(error) = copy_bidirectional(&mut client, &mut backend).await {
        tracing::trace!(%address, %error, "a relayed connection broke");
    }
}

/// Counts a connection while it lives, also when its task is dropped.
struct Active<'a>(&'a AtomicU64);

impl<'a> Active<'a> {
    fn count(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
