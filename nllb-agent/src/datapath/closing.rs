//! Ends connections to a backend, in every network namespace of the node.
//!
//! A client whose server has lost its power waits for minutes, because TCP is patient. So when the agent
//! knows that a backend is dead, it ends exactly those sockets that were translated to it: the kernel
//! lists sockets together with our record of each (`SOCK_DIAG` with socket storages), and ends one by
//! address and cookie (`SOCK_DESTROY`), as the application sees `ECONNABORTED` at once. Sockets that
//! dialled the same address themselves have no record and are never touched.
//!
//! A netlink socket sees its own network namespace only, and a thread is in one at a time. So one thread
//! of its own does all of it, and the driver awaits what it reports; where the kernel holds the thread, another
//! one goes on. Time passes on the driver's side: an order that is spread is a list of sockets found once and
//! ended in waves.

mod crew;
mod descriptors;
mod diag;
mod message;
mod namespaces;
mod progress;
mod waves;
mod worker;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::sleep;
use tracing::warn;

use super::maps::MapsError;

use self::crew::Crew;
use self::waves::Wave;
use self::worker::Job;

/// Whether to end sockets, as it was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseSockets {
    /// The best way that this kernel has.
    #[default]
    Auto,
    /// By short timeouts on each translated connection.
    Timeouts,
    /// Not at all.
    Off,
}

/// How connections to a dead backend end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The agent ends them.
    SockDiag,
    /// Each ends by timeouts of its own, which `control_flags::SHORT_TIMEOUTS` asks the programs for.
    Timeouts {
        /// Why the agent does not.
        reason: String,
    },
    /// When TCP gives up.
    Off,
}

/// Which connections to end, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Id of the backend.
    pub backend: u32,
    /// Its epoch: connections to an earlier holder of the id are not meant.
    pub epoch: u32,
    /// Its address, which leaves the kernel little to list.
    pub address: SocketAddr,
    /// Whether those, too, that dialled the backend's own address and were left alone: they would only
    /// come back to it, unless it is dead.
    pub kept: bool,
    /// Only connects, not established, whose next SYN is further away than this; `None` for every state.
    pub waiting: Option<Duration>,
    /// Whether datagram sockets as well that are connected to it.
    pub datagrams: bool,
    /// How many, chosen at random; `None` for all.
    pub count: Option<u32>,
    /// The time over which they are spread; zero ends all at once.
    pub spread: Duration,
}

/// What has become of an order.
#[derive(Debug, Default)]
pub struct Closed {
    /// Sockets that were ended.
    pub sockets: u64,
    /// Network namespaces in which there were any.
    pub namespaces: u64,
    /// Whether a network namespace had to be searched for.
    pub searched: bool,
    /// What could not be done; everything else was.
    pub errors: Vec<CloseError>,
}

/// Which network namespaces with translated connections an order would reach.
#[derive(Debug, Default)]
pub struct Reach {
    /// Those that it would, the agent's own not counted.
    pub namespaces: u64,
    /// Those that it would not, and why.
    pub errors: Vec<CloseError>,
}

/// Why some sockets could not be ended.
#[derive(Debug, Error)]
pub enum CloseError {
    /// The network namespaces with connections are not known.
    #[error("cannot list the network namespaces with connections: {0}")]
    Namespaces(#[source] MapsError),
    /// A network namespace could not be entered.
    #[error("network namespace {netns} with {connections} connections: {source}")]
    Unreached {
        /// Its cookie.
        netns: u64,
        /// Translated connections in it, to any backend.
        connections: u64,
        /// Why.
        #[source]
        source: NamespaceError,
    },
    /// The kernel refused to list or end sockets.
    #[error("cannot {verb}: {source}")]
    Kernel {
        /// What was tried.
        verb: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel does not let the thread go that ends sockets; another one goes on.
    #[error("{}", stuck(*socket))]
    Stuck {
        /// Cookie of the socket that it was to end.
        socket: Option<u64>,
    },
    /// The thread that ends sockets is not there.
    #[error("the thread that ends sockets has gone")]
    Gone,
}

fn stuck(socket: Option<u64>) -> String {
    match socket {
        Some(cookie) => format!(
            "the socket with cookie {cookie}: a thread of the kernel is in it and does not come out; look for a process that hangs in send or recv (ss -e names cookies as sk)"
        ),
        None => "a thread that ends sockets hangs in the kernel".to_owned(),
    }
}

/// Why a network namespace could not be entered.
#[derive(Debug, Error)]
pub enum NamespaceError {
    /// No process and no mounted name leads there.
    #[error(
        "no name in /run/netns and no process leads there ({hidden} processes could not be looked at; that needs CAP_SYS_PTRACE)"
    )]
    NotFound {
        /// Processes whose network namespace the agent may not know.
        hidden: u64,
    },
    /// The agent cannot see the processes of the node.
    #[error(
        "no name in /run/netns leads there, and processes are not visible; run with the host's pid namespace (hostPID)"
    )]
    OtherPids,
    /// The kernel lets this agent enter no other than its own.
    #[error("not permitted to enter it; that needs CAP_SYS_ADMIN")]
    Denied,
}

/// Ends sockets. Dropping it ends its thread once the orders under way are done.
#[derive(Debug)]
pub struct Closer {
    closing: Closing,
    /// None where the agent ends no sockets.
    crew: Option<Rc<RefCell<Crew>>>,
}

impl Closer {
    /// Finds out what the kernel can do and starts the thread, which inherits the caller's network
    /// namespace: that is the one served without looking for it. `directory` is that of the pins.
    #[must_use]
    pub fn start(directory: &Path, choice: CloseSockets) -> Self {
        let timeouts = |reason: String| Self { closing: Closing::Timeouts { reason }, crew: None };
        match choice {
            CloseSockets::Off => Self { closing: Closing::Off, crew: None },
            CloseSockets::Timeouts => timeouts("configured so".to_owned()),
            CloseSockets::Auto => {
                let directory = directory.to_owned();
                let work = Arc::new(move |hand| worker::run(&directory, hand));
                match Crew::start(work, crew::PATIENCE) {
                    Ok(crew) => {
                        let crew = Some(Rc::new(RefCell::new(crew)));
                        Self { closing: Closing::SockDiag, crew }
                    }
                    Err(reason) => {
                        warn!(reason, "connections to a dead backend end by timeouts of their own");
                        timeouts(reason)
                    }
                }
            }
        }
    }

    /// How connections to a dead backend end, now: by timeouts while the kernel holds too many threads.
    #[must_use]
    pub fn closing(&self) -> Closing {
        match self.crew.as_ref().and_then(|crew| crew.borrow().exhausted()) {
            Some(reason) => Closing::Timeouts { reason },
            None => self.closing.clone(),
        }
    }

    /// Ends the sockets that were translated to a backend. The search begins with the call; cancelling
    /// leaves the waves not yet begun undone. To be awaited on a runtime of tokio's.
    pub fn close(&self, order: Order) -> impl Future<Output = Closed> + use<> {
        let begun = self.crew.as_ref().map(|crew| {
            let found = crew::ask(crew, move |reply| Job::Begin { order, reply });
            (Rc::clone(crew), found)
        });
        async move {
            let Some((crew, found)) = begun else {
                return Closed::default();
            };
            let (mut tally, targets) = found.await.unwrap_or_default();
            let chosen = waves::choose(targets, order.count);
            for Wave { wait, targets } in waves::spread(chosen, order.spread) {
                sleep(wait).await;
                let end = move |reply| Job::End { targets: targets.clone(), reply };
                tally.add(crew::ask(&crew, end).await.unwrap_or_default());
            }
            tally.miss(crew.borrow().errors());
            tally.into()
        }
    }

    /// Finds network namespaces that have connections and were not known, so that an order need not search
    /// for them. To be called every few seconds. The search begins with the call; nobody needs to wait.
    pub fn refresh(&self) -> impl Future<Output = Reach> + use<> {
        let begun = self
            .crew
            .as_ref()
            .map(|crew| (Rc::clone(crew), crew::ask(crew, |reply| Job::Refresh { reply })));
        async move {
            let Some((crew, found)) = begun else {
                return Reach::default();
            };
            let mut reach = found.await.unwrap_or_default();
            reach.errors.extend(crew.borrow().errors());
            reach
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_cannot_end_sockets_leaves_them_to_timeouts_and_says_why() {
        let pins = Path::new("/nowhere/nllb");
        let closer = Closer::start(pins, CloseSockets::Auto);
        let Closing::Timeouts { reason } = closer.closing() else { panic!("{closer:?}") };
        assert!(reason.contains("SOCKS"), "{reason}");
        assert_eq!(Closer::start(pins, CloseSockets::Off).closing(), Closing::Off);
    }
}
