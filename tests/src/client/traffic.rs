//! Clients that run beside a fault: loops of connects, and connections that are held.
//!
//! All of a network namespace share one thread with an event loop, so that a thousand connects under
//! way cost neither threads nor a timer each, and every event has its time as soon as the kernel
//! tells of it.

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

use super::protocol::{Traffic, TrafficReport};
use crate::clock::now_ns;
use dial::Dialer;
use ledger::Ledger;

/// How long it may take to meet every server; only a pool that leaves one out takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Clients that run. Dropping this ends them.
pub(super) struct Running {
    orders: Option<mpsc::UnboundedSender<Order>>,
    ledger: Shared,
    thread: Option<JoinHandle<()>>,
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&ledger);
        let thread = std::thread::spawn(move || {
            runtime.block_on(serve(&traffic, &dialer, &shared, receiver));
        });
        Ok(Self { orders: Some(orders), ledger, thread: Some(thread) })
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
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread.
            let _ = thread.join();
        }
    }
}

/// Runs the clients until nobody can give orders any more; all tasks end with the runtime.
async fn serve(
    traffic: &Traffic,
    dialer: &Arc<Dialer>,
    ledger: &Shared,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    for (number, plan) in traffic.loops.iter().enumerate() {
        let task = connects::run(*plan, number, Arc::clone(dialer), Arc::clone(ledger));
        tokio::spawn(task);
    }
    let mut held = held::Connections::default();
    while let Some(Order { servers, done }) = orders.recv().await {
        let opened = held.open(&servers, dialer, ledger, traffic.request_interval);
        let opened = tokio::time::timeout(PATIENCE, opened).await;
        let opened = opened.unwrap_or_else(|_| Err(anyhow!("not every server was met in time")));
        // Whoever gave the order waits for the answer.
        let _ = done.send(opened);
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
