//! Established connections that are being ended, and how many were.

use std::collections::{BTreeMap, HashSet};
use std::future;
use std::net::SocketAddr;
use std::time::Instant;

use nllb_core::{BackendId, CloseCause, CloseOrder};
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use super::probes::Who;
use crate::datapath::closing::{CloseError, Closed, Closer, Closing, Order, Reach};

/// An order that was carried out.
#[derive(Debug)]
struct Done {
    who: Who,
    addr: SocketAddr,
    order: CloseOrder,
    closed: Closed,
    began: Instant,
}

/// What a task ended with.
#[derive(Debug)]
enum Ended {
    Order(Box<Done>),
    Reach(Reach),
}

/// Orders under way, and the sum of those that are done.
#[derive(Debug)]
pub(super) struct Closings {
    closer: Closer,
    tasks: JoinSet<Ended>,
    under_way: HashSet<(Who, CloseCause)>,
    sockets: BTreeMap<(Who, CloseCause), u64>,
    /// What an order could not reach when it was last tried or looked for; empty when it could reach
    /// everything.
    pub(super) unreached: Vec<String>,
}

impl Closings {
    pub(super) fn new(closer: Closer) -> Self {
        if let Closing::Timeouts { reason } = closer.closing() {
            info!(reason, "connections to a dead backend end by timeouts of their own");
        }
        Self {
            closer,
            tasks: JoinSet::new(),
            under_way: HashSet::new(),
            sockets: BTreeMap::new(),
            unreached: Vec::new(),
        }
    }

    /// How connections to a dead backend end.
    pub(super) const fn closing(&self) -> &Closing {
        self.closer.closing()
    }

    /// Connections of a backend that were ended, by cause.
    pub(super) fn sockets(&self, who: Who) -> impl Iterator<Item = (CloseCause, u64)> + '_ {
        let of = move |cause| (cause, self.sockets.get(&(who, cause)).copied().unwrap_or(0));
        CloseCause::ALL.into_iter().map(of)
    }

    /// Begins to carry out an order, unless the same is under way.
    pub(super) fn start(&mut self, who: Who, addr: SocketAddr, order: CloseOrder) {
        if !self.under_way.insert((who, order.cause)) {
            return;
        }
        let (BackendId(backend), epoch) = who;
        let CloseOrder { cause: _, reason: _, count, spread } = order;
        let order_of_closer = Order { backend, epoch, address: addr, count, spread };
        let began = Instant::now();
        let closing = self.closer.close(order_of_closer);
        self.tasks.spawn_local(async move {
            let closed = closing.await;
            Ended::Order(Box::new(Done { who, addr, order, closed, began }))
        });
    }

    /// Waits until an order is carried out, and takes note; for ever while none is under way. Safe to
    /// cancel.
    pub(super) async fn next(&mut self) {
        let ended = match self.tasks.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                // Only the tally is lost.
                error!(%error, "an order to close connections died");
                self.under_way.clear();
                return;
            }
            None => future::pending().await,
        };
        match ended {
            Ended::Order(done) => self.conclude(*done),
            Ended::Reach(Reach { namespaces: _, errors }) => self.note(&errors),
        }
    }

    fn conclude(&mut self, done: Done) {
        let Done { who, addr, order, closed, began } = done;
        let CloseOrder { cause, reason, count: _, spread: _ } = order;
        let Closed { sockets, namespaces, searched, errors } = closed;
        self.under_way.remove(&(who, cause));
        *self.sockets.entry((who, cause)).or_default() += sockets;
        self.note(&errors);
        let duration = began.elapsed();
        let cause = cause.label();
        if sockets > 0 {
            info!(backend = %addr, cause, reason, sockets, namespaces, searched, ?duration, "connections closed");
        } else {
            debug!(backend = %addr, cause, reason, ?duration, "no connections to close");
        }
    }

    /// Takes note of what cannot be reached, and says so once.
    fn note(&mut self, errors: &[CloseError]) {
        let unreached: Vec<String> = errors.iter().map(ToString::to_string).collect();
        if !unreached.is_empty() && self.unreached.is_empty() {
            warn!(?unreached, "connections there cannot be closed");
        }
        self.unreached = unreached;
    }

    /// Looks for network namespaces that have become known.
    pub(super) fn refresh(&mut self) {
        let reach = self.closer.refresh();
        self.tasks.spawn_local(async move { Ended::Reach(reach.await) });
    }

    /// Forgets backends that are gone.
    pub(super) fn retain(&mut self, known: &HashSet<Who>) {
        self.sockets.retain(|(who, _), _| known.contains(who));
    }
}
