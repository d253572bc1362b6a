//! Clients that run beside a fault: loops of connects, and connections that are held.
//!
//! All loops of a network namespace share one thread with an event loop, so that a thousand connects under
//! way cost neither threads nor a timer each, and every event has its time as soon as the kernel
//! tells of it. What is held has another: when a server dies it is opened anew, and the handshakes of
//! TLS would keep the loops waiting.

mod connects;
mod dial;
mod held;
mod ledger;
mod noted;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::{mpsc, oneshot};

use super::protocol::{ConnectLoop, Traffic, TrafficReport};
use crate::clock::now_ns;
use dial::Dialer;
use ledger::Ledger;

/// How long it may take to meet every server; only a pool that leaves one out takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Clients that run. Dropping this ends them.
pub(super) struct Running {
    orders: Option<mpsc::UnboundedSender<Order>>,
    /// Dropped to end the loops.
    looping: Option<oneshot::Sender<()>>,
    ledger: Shared,
    threads: Vec<JoinHandle<()>>,
}

/// What all clients of a process write to.
type Shared = Arc<Mutex<Ledger>>;

struct Order {
    servers: Vec<String>,
    done: oneshot::Sender<Result<()>>,
}

impl Running {
    pub(super) fn start(traffic: Traffic) -> Result<Self> {
        let ledger = Arc::new(Mutex::new(Ledger::new(traffic.loops.len(), now_ns())));
        let (orders, receiver) = mpsc::unbounded_channel();
        let dialer = Arc::new(Dialer::new(&traffic)?);
        let (looping, ended) = oneshot::channel();
        let loops = run_loops(traffic.loops, Arc::clone(&dialer), Arc::clone(&ledger), ended);
        let interval = traffic.request_interval;
        let held = hold(interval, dialer, Arc::clone(&ledger), receiver);
        let threads = vec![start(loops)?, start(held)?];
        Ok(Self { orders: Some(orders), looping: Some(looping), ledger, threads })
    }

    /// Opens the connections to hold.
    pub(super) fn hold(&self, servers: Vec<String>) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let orders = self.orders.as_ref().context("it ends")?;
        orders.send(Order { servers, done }).map_err(|_| anyhow!("the clients have gone"))?;
        answer.blocking_recv().context("the clients have gone")?
    }

    /// What happened since the last mark.
    pub(super) fn mark(&self) -> TrafficReport {
        lock(&self.ledger).mark(now_ns())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        (self.orders, self.looping) = (None, None);
        for thread in self.threads.drain(..) {
            // A panic has been printed by the thread.
            let _ = thread.join();
        }
    }
}

/// A thread with an event loop of its own; what it has started ends with it.
fn start(clients: impl Future<Output = ()> + Send + 'static) -> Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(std::thread::spawn(move || runtime.block_on(clients)))
}

/// Runs the loops until nobody wants them any more.
async fn run_loops(
    loops: Vec<ConnectLoop>,
    dialer: Arc<Dialer>,
    ledger: Shared,
    ended: oneshot::Receiver<()>,
) {
    for (number, plan) in loops.into_iter().enumerate() {
        tokio::spawn(connects::run(plan, number, Arc::clone(&dialer), Arc::clone(&ledger)));
    }
    // Nothing is ever sent.
    let _ended = ended.await;
}

/// Holds connections until nobody can give orders any more.
async fn hold(
    request_interval: Duration,
    dialer: Arc<Dialer>,
    ledger: Shared,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut held = held::Connections::default();
    while let Some(Order { servers, done }) = orders.recv().await {
        let opened = held.open(&servers, &dialer, &ledger, request_interval);
        let opened = tokio::time::timeout(PATIENCE, opened).await;
        let opened = opened.unwrap_or_else(|_| Err(anyhow!("not every server was met in time")));
        // Whoever gave the order waits for the answer.
        let _ = done.send(opened);
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
