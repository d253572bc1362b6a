//! The listeners on loopback frontends, for sockets that the kernel cannot translate.
//!
//! A socket bound to 127.0.0.1 cannot reach a remote backend, whatever the kernel programs do, so it
//! is left alone and arrives here. The relay dials the same address with an unbound socket, which
//! the kernel translates, and copies both ways.
//!
//! Tasks: one per address listens; it owns the tasks of its connections. Dropping [`Relays`], or an
//! address in [`Relays::set`], ends them.
//!
//! When translation fails the dial comes back here. Without a guard that would be an endless chain of
//! connections, so a dial whose peer is still the frontend is closed, and for a moment whatever is
//! accepted is closed too, which ends the chain.
//!
//! A failed accept (no descriptor left, a client gone too early) ends neither the listener nor what
//! is being relayed: it is tried again.

mod connection;

use crate::limits;
use crate::status::{Listener, ListenerState};
use connection::{Context, Dial};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

/// How often a port that another program owns is tried again.
const RETRY: Duration = Duration::from_secs(3);
/// Pause after a failed accept: a lasting cause does not eat the processor, and a client that waits
/// in the backlog does not wait long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long everything is closed after a loop: longer than any chain takes to run out.
const LOOP_PAUSE: Duration = Duration::from_millis(500);

/// All listeners.
#[derive(Debug)]
pub struct Relays {
    running: BTreeMap<SocketAddr, Relay>,
    places: Arc<Semaphore>,
}

/// One listener.
#[derive(Debug)]
struct Relay {
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What status shows of a listener.
#[derive(Debug)]
struct State {
    state: Mutex<ListenerState>,
    active: AtomicU64,
    relayed: AtomicU64,
    loops: AtomicU64,
    failed: AtomicU64,
    over_limit: AtomicU64,
    /// A dial came back.
    looped: Notify,
}

impl Default for Relays {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(limits::relayed_connections()));
        Self { running: BTreeMap::new(), places }
    }
}

impl Relays {
    /// Listens at these addresses and no others. What listens already goes on undisturbed. Must be
    /// called inside a runtime.
    pub fn set(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.set_with(addresses, &TcpStream::connect);
    }

    fn set_with<D: Dial>(&mut self, addresses: impl IntoIterator<Item = SocketAddr>, dial: &D) {
        let mut old = std::mem::take(&mut self.running);
        for address in addresses {
            let relay = old.remove(&address).unwrap_or_else(|| {
                let state = Arc::new(State::default());
                let places = Arc::clone(&self.places);
                let context =
                    Context { address, state: Arc::clone(&state), places, dial: dial.clone() };
                Relay { state, task: tokio::spawn(listen(context)) }
            });
            self.running.insert(address, relay);
        }
    }

    /// The listeners, for the status document.
    #[must_use]
    pub fn status(&self) -> Vec<Listener> {
        self.running.iter().map(|(address, relay)| relay.state.listener(*address)).collect()
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            state: Mutex::new(ListenerState::Starting),
            active: AtomicU64::new(0),
            relayed: AtomicU64::new(0),
            loops: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            over_limit: AtomicU64::new(0),
            looped: Notify::new(),
        }
    }
}

impl State {
    fn set(&self, address: SocketAddr, new: ListenerState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != new {
            match &new {
                ListenerState::Listening => tracing::info!(%address, "loopback listener is up"),
                ListenerState::OwnedByOther => tracing::warn!(
                    %address,
                    "another program listens on this frontend; translation goes on without ours"
                ),
                ListenerState::Failed(reason) => {
                    tracing::warn!(%address, reason, "this loopback listener does not serve now");
                }
                ListenerState::Starting => {}
            }
            *state = new;
        }
    }

    fn listener(&self, address: SocketAddr) -> Listener {
        let Self { state, active, relayed, loops, failed, over_limit, looped: _ } = self;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Listener {
            address,
            state: state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            active: read(active),
            relayed: read(relayed),
            loops: read(loops),
            failed: read(failed),
            over_limit: read(over_limit),
        }
    }
}

/// Where clients come from: in earnest a socket, in tests one that fails.
trait Accept {
    fn poll_accept(&self, cx: &mut task::Context<'_>) -> Poll<io::Result<TcpStream>>;
}

impl Accept for TcpListener {
    fn poll_accept(&self, cx: &mut task::Context<'_>) -> Poll<io::Result<TcpStream>> {
        self.poll_accept(cx).map_ok(|(client, _)| client)
    }
}

/// Listens for ever, trying again while the address is not to be had.
async fn listen<D: Dial>(context: Context<D>) {
    loop {
        let state = match TcpListener::bind(context.address).await {
            Ok(listener) => return accept(&listener, &context).await,
            Err(error) if error.kind() == ErrorKind::AddrInUse => ListenerState::OwnedByOther,
            Err(error) => ListenerState::Failed(error.to_string()),
        };
        context.state.set(context.address, state);
        tokio::time::sleep(RETRY).await;
    }
}

/// Accepts for ever.
async fn accept<D: Dial>(listener: &impl Accept, context: &Context<D>) {
    let Context { address, state, places, .. } = context;
    let mut connections = JoinSet::new();
    let mut pause = None;
    loop {
        let resume = async {
            match pause.as_mut() {
                Some(pause) => std::pin::Pin::as_mut(pause).await,
                None => std::future::pending().await,
            }
        };
        let client = tokio::select! {
            // A loop must be known before the next connection of its chain is looked at.
            biased;
            () = state.looped.notified() => {
                pause = Some(Box::pin(tokio::time::sleep(LOOP_PAUSE)));
                continue;
            }
            () = resume => {
                pause = None;
                continue;
            }
            accepted = next_client(listener, context) => match accepted {
                Ok(client) => client,
                Err(error) => {
                    state.set(*address, ListenerState::Failed(error.to_string()));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        while connections.try_join_next().is_some() {}
        if pause.is_some() {
            state.loops.fetch_add(1, Ordering::Relaxed);
        } else if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            let context = context.clone();
            connections.spawn(async move {
                connection::relay(client, &context).await;
                drop(place);
            });
        } else {
            state.over_limit.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The next client. A listener that has one, or has only to wait for one, is in order.
async fn next_client<D>(listener: &impl Accept, context: &Context<D>) -> io::Result<TcpStream> {
    poll_fn(|cx| {
        let accepted = listener.poll_accept(cx);
        if !matches!(accepted, Poll::Ready(Err(_))) {
            context.state.set(context.address, ListenerState::Listening);
        }
        accepted
    })
    .await
}

#[cfg(test)]
mod tests;
