//! Tells when the way from this host to backends is another: a route, an address or a carrier comes or
//! goes. What was unreachable then is worth a probe at once, instead of after its backoff.
//!
//! What the kernel tells over rtnetlink is only a hint to look, since hardly any of it matters: each pod
//! brings an interface, link-local addresses and a route of its own, and kube-proxy an address for each
//! Service. Looked at is how the kernel would reach each backend, and whether the interface there
//! has a carrier; only another answer is a change. Hints are waited for until they rest, since a network
//! comes up in many steps.

pub mod features;
mod routes;
mod rtnetlink;
pub mod vicinity;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use tokio::time::{Sleep, sleep};
use tracing::{debug, warn};

use routes::{Routes, Way};

/// The steps of one change follow each other within some milliseconds.
const QUIET: Duration = Duration::from_millis(100);
/// Where pods come and go all the time it is never quiet.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The header of a message.
const HEAD_BYTES: usize = 16;

/// Links, addresses and routes of both families (`RTMGRP_*` of `uapi/linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// What is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The addresses of this host, whether they are others or not; `None` when they cannot be listed.
    pub own: Option<BTreeSet<IpAddr>>,
    /// Whether some backend is reached in another way.
    pub ways: bool,
}

/// Watches the ways to backends.
pub struct Network {
    hints: TokioSocket,
    routes: Routes,
    /// How each backend was reached when last looked.
    ways: BTreeMap<IpAddr, State>,
    own: Option<BTreeSet<IpAddr>>,
    /// Set while hints have come and nobody has looked.
    quiet: Option<Pin<Box<Sleep>>>,
    latest: Option<Pin<Box<Sleep>>>,
}

/// How a backend is reached, and whether the interface there has a carrier.
type State = (Way, bool);

impl Network {
    /// Watches from now on. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn watch() -> io::Result<Self> {
        let mut hints = TokioSocket::new(NETLINK_ROUTE)?;
        hints.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
        Ok(Self {
            hints,
            routes: Routes::open()?,
            ways: BTreeMap::new(),
            own: own_addresses().ok(),
            quiet: None,
            latest: None,
        })
    }

    /// These are the backends from now on. How those are reached that were there before is not looked at
    /// anew, or a change just under way would be missed.
    pub fn set_backends(&mut self, backends: &BTreeSet<IpAddr>) {
        self.ways.retain(|ip, _| backends.contains(ip));
        let new: BTreeSet<IpAddr> =
            backends.iter().filter(|ip| !self.ways.contains_key(*ip)).copied().collect();
        if !new.is_empty() {
            self.ways.extend(look(&mut self.routes, new.iter()));
        }
    }

    /// Waits for the next change. May be cancelled without loss.
    pub async fn next(&mut self) -> Change {
        loop {
            tokio::select! {
                () = hint(&self.hints) => {
                    self.quiet = Some(Box::pin(sleep(QUIET)));
                    self.latest.get_or_insert_with(|| Box::pin(sleep(LONGEST_WAIT)));
                }
                () = either(&mut self.quiet, &mut self.latest) => {
                    (self.quiet, self.latest) = (None, None);
                    if let Some(change) = self.look() {
                        return change;
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Option<Change> {
        let own = own_addresses().ok();
        let ways: BTreeMap<_, _> = look(&mut self.routes, self.ways.keys()).collect();
        let change = Change { ways: ways != self.ways, own };
        let moved = change.own != self.own;
        self.ways = ways;
        self.own.clone_from(&change.own);
        debug!(ways = change.ways, addresses = moved, "looked at the network");
        (change.ways || moved).then_some(change)
    }
}

/// How these are reached now.
fn look<'a>(
    routes: &mut Routes,
    backends: impl Iterator<Item = &'a IpAddr>,
) -> impl Iterator<Item = (IpAddr, State)> {
    let carriers = carriers();
    backends.map(move |ip| {
        let way = routes.to(*ip);
        let name = way.as_ref().ok().and_then(|route| route.interface_name());
        let carrier = name.is_some_and(|name| carriers.contains(&name));
        (*ip, (way, carrier))
    })
}

/// The interfaces with a carrier.
fn carriers() -> BTreeSet<String> {
    let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let interfaces = getifaddrs().into_iter().flatten();
    let running = interfaces.filter(|interface| interface.flags.contains(running));
    running.map(|interface| interface.interface_name).collect()
}

/// The addresses of this host that an API server can have.
///
/// # Errors
/// When they cannot be listed.
pub fn own_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let interfaces = getifaddrs()?;
    Ok(interfaces.filter_map(|interface| ip(&interface.address?)).collect())
}

/// The address, unless it is link-local: those come and go with every pod, and no backend has one.
fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip()).filter(|v4| !v4.is_link_local());
    let v6 = address.as_sockaddr_in6().map(|v6| v6.ip());
    let v6 = v6.filter(|v6| !v6.is_unicast_link_local());
    v4.map(IpAddr::V4).or(v6.map(IpAddr::V6))
}

/// Waits for a hint. Those that are lost because there were too many are one as well.
async fn hint(hints: &TokioSocket) {
    // What is in the message does not matter, so it may be cut.
    let mut head = Vec::with_capacity(HEAD_BYTES);
    match hints.recv(&mut head).await {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
        Err(error) => {
            warn!(%error, "changes of the network are not seen any more");
            std::future::pending::<()>().await;
        }
    }
}

/// For ever while nothing is waited for.
async fn either(quiet: &mut Option<Pin<Box<Sleep>>>, latest: &mut Option<Pin<Box<Sleep>>>) {
    match (quiet, latest) {
        (Some(quiet), Some(latest)) => tokio::select! {
            () = quiet.as_mut() => {}
            () = latest.as_mut() => {}
        },
        (_, _) => std::future::pending().await,
    }
}
