//! Established connections that are being ended, and how many were.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_core::{BackendId, CloseCause, CloseOrder, LONGEST_PAUSE};
use tokio::task::{self, AbortHandle, JoinSet};
use tracing::{debug, error, info, warn};

use super::probes::Who;
use crate::datapath::closing::{CloseError, Closed, Closer, Closing, Order, Reach};
use crate::journal::{What, short};
use crate::units::millis;

/// An order that was carried out.
#[derive(Debug)]
struct Done {
    who: Who,
    addr: SocketAddr,
    order: CloseOrder,
    closed: Closed,
    began: Instant,
}

/// How many datagram sockets had ever been connected to a backend when an order for it was last carried out, and
/// how many orders found just as many: nobody counts those that are open.
#[derive(Clone, Copy, Debug, Default)]
struct Datagrams {
    connected: u32,
    orders: u8,
}

/// Connections that an order ended.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) what: What,
    /// How long after the order, of connections to a dead backend.
    pub(super) dead_after: Option<Duration>,
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
    under_way: HashMap<task::Id, (Who, CloseCause, AbortHandle)>,
    /// Whether namespaces are being looked for.
    refreshing: bool,
    sockets: BTreeMap<(Who, CloseCause), u64>,
    /// What is known of datagram sockets of each backend.
    datagrams: HashMap<Who, Datagrams>,
    /// What an order could not reach when it was last tried or looked for; empty when it could reach
    /// everything.
    pub(super) unreached: Vec<String>,
}

impl Closings {
    pub(super) fn new(closer: Closer) -> Self {
        Self {
            closer,
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            refreshing: false,
            sockets: BTreeMap::new(),
            datagrams: HashMap::new(),
            unreached: Vec::new(),
        }
    }

    /// How connections to a dead backend end.
    pub(super) fn closing(&self) -> Closing {
        self.closer.closing()
    }

    /// Connections of a backend that were ended, by cause.
    pub(super) fn sockets(&self, who: Who) -> impl Iterator<Item = (CloseCause, u64)> + '_ {
        let of = move |cause| (cause, self.sockets.get(&(who, cause)).copied().unwrap_or(0));
        CloseCause::ALL.into_iter().map(of)
    }

    /// Whether a backend may have datagram sockets that no order has met, when so many were connected to it so
    /// far. A socket is counted a moment before it is connected, so one order after the last of them is not enough.
    pub(super) fn may_have_datagrams(&self, who: Who, connected: u32) -> bool {
        let known = self.datagrams.get(&who).copied().unwrap_or_default();
        known.connected != connected || (connected != 0 && known.orders < 2)
    }

    /// Begins to carry out an order, also for datagram sockets if any were ever `connected` to the backend. Of a
    /// death one at a time is enough; a drain begins anew; parts of a rebalancing may overlap.
    pub(super) fn start(&mut self, who: Who, addr: SocketAddr, order: CloseOrder, connected: u32) {
        let same = |(other, cause, _): &(Who, CloseCause, AbortHandle)| {
            *other == who && *cause == order.cause
        };
        match order.cause {
            CloseCause::Dead | CloseCause::Drill | CloseCause::Waiting
                if self.under_way.values().any(same) =>
            {
                return;
            }
            CloseCause::Drained => self.cancel(CloseCause::Drained, |other| other == who),
            CloseCause::Dead | CloseCause::Drill | CloseCause::Rebalance | CloseCause::Waiting => {}
        }
        let (BackendId(backend), epoch) = who;
        let CloseOrder { cause, reason: _, count, spread } = order;
        let kept = cause == CloseCause::Dead;
        // Nobody waits to connect one, and a rebalancing counts connections.
        let datagrams = match cause {
            CloseCause::Dead | CloseCause::Drained | CloseCause::Drill => connected > 0,
            CloseCause::Rebalance | CloseCause::Waiting => false,
        };
        if datagrams {
            let known = self.datagrams.entry(who).or_default();
            let orders = if known.connected == connected { known.orders } else { 0 };
            *known = Datagrams { connected, orders: orders.saturating_add(1) };
        }
        let waiting = (cause == CloseCause::Waiting).then_some(LONGEST_PAUSE);
        let address = addr;
        let order_of_closer =
            Order { backend, epoch, address, kept, waiting, datagrams, count, spread };
        let began = Instant::now();
        let closing = self.closer.close(order_of_closer);
        let task = self.tasks.spawn_local(async move {
            let closed = closing.await;
            Ended::Order(Box::new(Done { who, addr, order, closed, began }))
        });
        self.under_way.insert(task.id(), (who, cause, task));
    }

    /// Leaves out the waves that have not begun, since their reason has gone. What the earlier ones ended
    /// is not counted.
    pub(super) fn cancel(&mut self, cause: CloseCause, of: impl Fn(Who) -> bool) {
        self.under_way.retain(|_, (who, other, task)| {
            let meant = *other == cause && of(*who);
            if meant {
                task.abort();
            }
            !meant
        });
    }

    /// Waits until an order is carried out, and gives what it ended; for ever while none is under way. Safe
    /// to cancel.
    pub(super) async fn next(&mut self) -> Option<Ends> {
        let ended = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ended))) => {
                self.under_way.remove(&id);
                ended
            }
            Some(Err(error)) => {
                self.under_way.remove(&error.id());
                if !error.is_cancelled() {
                    // Only the tally is lost.
                    error!(%error, "an order to close connections died");
                    self.refreshing = false;
                }
                return None;
            }
            None => future::pending().await,
        };
        match ended {
            Ended::Order(done) => self.conclude(*done),
            Ended::Reach(Reach { namespaces: _, errors }) => {
                self.refreshing = false;
                self.note(&errors);
                None
            }
        }
    }

    fn conclude(&mut self, done: Done) -> Option<Ends> {
        let Done { who, addr, order, closed, began } = done;
        let CloseOrder { cause, reason, count: _, spread: _ } = order;
        let Closed { sockets, namespaces, searched, errors } = closed;
        *self.sockets.entry((who, cause)).or_default() += sockets;
        self.note(&errors);
        let duration = began.elapsed();
        let took = (cause == CloseCause::Dead).then_some(duration);
        let cause = cause.label();
        if sockets == 0 {
            debug!(backend = %addr, cause, reason, ?duration, "no connections to close");
            return None;
        }
        info!(backend = %addr, cause, reason, sockets, namespaces, searched, ?duration, "connections closed");
        let (cause, reason, duration_ms) = (cause.to_owned(), short(&reason), millis(duration));
        let what = What::Closed { backend: addr, cause, reason, sockets, duration_ms };
        Some(Ends { what, dead_after: took })
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
        if std::mem::replace(&mut self.refreshing, true) {
            return;
        }
        let reach = self.closer.refresh();
        self.tasks.spawn_local(async move { Ended::Reach(reach.await) });
    }

    /// Forgets backends that are gone.
    pub(super) fn retain(&mut self, known: &HashSet<Who>) {
        self.sockets.retain(|(who, _), _| known.contains(who));
        self.datagrams.retain(|who, _| known.contains(who));
    }
}
