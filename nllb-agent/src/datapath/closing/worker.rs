//! The thread that goes from network namespace to network namespace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};

use aya::maps::{HashMap, Map, MapData};
use nllb_common::maps::{Favourite, Netns, names};
use tracing::debug;

use super::crew::Hand;
use super::diag::{Diag, Target};
use super::namespaces::{Namespaces, Walk};
use super::progress::Progress;
use super::{CloseError, Closed, Order, Reach, descriptors};
use crate::datapath::maps::{self, MapsError};

/// Stands for the agent's own network namespace; the kernel gives out cookies from 1.
const OWN: u64 = 0;
const RETURN: &str = "return to the agent's network namespace";

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Job {
    /// Ends all sockets of an order that wants that, or else lists them.
    Begin { order: Order, reply: mpsc::Sender<(Tally, Vec<Target>)> },
    /// Ends these.
    End { targets: Vec<Target>, reply: mpsc::Sender<Tally> },
    /// Finds network namespaces that are not known yet.
    Refresh { reply: mpsc::Sender<Reach> },
}

/// A sum of what was done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sockets: u64,
    /// The namespaces in which sockets were ended.
    namespaces: BTreeSet<u64>,
    searched: bool,
    errors: Vec<CloseError>,
}

impl Tally {
    /// Adds why some could not be ended.
    pub(super) fn miss(&mut self, errors: Vec<CloseError>) {
        self.errors.extend(errors);
    }

    pub(super) fn add(&mut self, other: Self) {
        let Self { sockets, namespaces, searched, errors } = other;
        self.sockets += sockets;
        self.searched |= searched;
        self.namespaces.extend(namespaces);
        self.errors.extend(errors);
    }

    fn fail(&mut self, verb: &'static str, source: io::Error) {
        self.errors.push(CloseError::Kernel { verb, source });
    }

    /// Takes in what the end of sockets in a namespace has come to.
    fn take(&mut self, netns: u64, (ended, refused): (u64, Option<io::Error>)) {
        if ended > 0 {
            self.sockets += ended;
            self.namespaces.insert(netns);
        }
        if let Some(source) = refused {
            self.fail("end sockets", source);
        }
    }
}

impl From<Tally> for Closed {
    fn from(tally: Tally) -> Self {
        let Tally { sockets, namespaces, searched, errors } = tally;
        Self { sockets, namespaces: namespaces.len() as u64, searched, errors }
    }
}

/// The work of the thread, which may never return from any of it: see [`super::crew`] and
/// [`super::descriptors`].
pub(super) fn run(directory: &Path, hand: Hand) {
    let Hand { progress, ready, queue } = hand;
    if let Err(error) = descriptors::own() {
        debug!(%error, "the thread that ends sockets shares the agent's descriptors");
    }
    let opened = Worker::open(directory, &progress);
    // Nobody waits for the answer of a thread that is another's successor.
    let _told = ready.send(opened.as_ref().map(|_| ()).map_err(String::clone));
    if let Ok((worker, namespaces)) = opened {
        worker.run(namespaces, &queue);
    }
}

struct Worker {
    progress: Arc<Progress>,
    storage: MapData,
    netns: HashMap<MapData, u64, Netns>,
    peers: HashMap<MapData, u64, u64>,
}

impl Worker {
    /// Opens the pinned maps, and asks the kernel.
    fn open(directory: &Path, progress: &Arc<Progress>) -> Result<(Self, Namespaces), String> {
        let storage = maps::open(directory, names::SOCKS).map_err(|error| error.to_string())?;
        let netns = maps::open(directory, names::NETNS).map_err(|error| error.to_string())?;
        let netns = HashMap::try_from(Map::HashMap(netns)).map_err(|error| error.to_string())?;
        let peers =
            maps::open(directory, names::DATAGRAM_PEERS).map_err(|error| error.to_string())?;
        let peers = HashMap::try_from(Map::LruHashMap(peers)).map_err(|error| error.to_string())?;
        let mut diag =
            Diag::open(progress).map_err(|error| format!("no netlink socket: {error}"))?;
        diag.check(&storage)?;
        let namespaces = Namespaces::new(progress)
            .map_err(|error| format!("the agent's network namespace cannot be opened: {error}"))?;
        Ok((Self { progress: Arc::clone(progress), storage, netns, peers }, namespaces))
    }

    /// Works until nobody can ask for anything.
    fn run(self, mut namespaces: Namespaces, queue: &mpsc::Receiver<Job>) {
        for job in queue {
            if self.progress.is_given_up() {
                return;
            }
            self.progress.beat();
            // An answer that nobody waits for any more is none.
            match job {
                Job::Begin { order, reply } => {
                    let _cancelled = reply.send(self.begin(&mut namespaces, order));
                }
                Job::End { targets, reply } => {
                    let _cancelled = reply.send(self.end(&mut namespaces, &targets));
                }
                Job::Refresh { reply } => {
                    let _cancelled = reply.send(self.refresh(&mut namespaces));
                }
            }
        }
    }

    /// Finds network namespaces that are not known.
    fn refresh(&self, namespaces: &mut Namespaces) -> Reach {
        let failed = |error| Reach { namespaces: 0, errors: vec![error] };
        if let Err(source) = namespaces.home(&self.storage) {
            return failed(CloseError::Kernel { verb: "open a netlink socket", source });
        }
        let active = match self.others(namespaces) {
            Ok(active) => active,
            Err(error) => return failed(CloseError::Namespaces(error)),
        };
        let unreached = namespaces.refresh(&active, &self.storage);
        let returned = namespaces.go_home().err();
        let connections: BTreeMap<_, _> = active.iter().copied().collect();
        let namespaces = (active.len() - unreached.len()) as u64;
        // Nobody says when datagram sockets are gone, and with them their namespace.
        let errors = unreached.into_iter().filter_map(|(netns, source)| {
            let connections = connections.get(&netns).filter(|netns| netns.active != 0)?;
            let connections = connections.connections();
            Some(CloseError::Unreached { netns, connections, source })
        });
        let mut errors: Vec<_> = errors.collect();
        errors.extend(returned.map(|source| CloseError::Kernel { verb: RETURN, source }));
        Reach { namespaces, errors }
    }

    /// Network namespaces other than the agent's that have connections, those with the most first, or may have
    /// datagram sockets that are connected.
    fn others(&self, namespaces: &Namespaces) -> Result<Vec<(u64, Netns)>, MapsError> {
        let known = self.netns.iter().collect::<Result<Vec<_>, _>>();
        let mut known = known.map_err(maps::kernel(names::NETNS, "list the network namespaces"))?;
        // Fewer than none were forgotten and came back: there may be some.
        let may_have = |netns: &Netns| netns.active != 0 || netns.datagram_s != 0;
        known.retain(|(cookie, netns)| may_have(netns) && !namespaces.is_own(*cookie));
        known.sort_by_key(|(_, netns)| Reverse(netns.connections()));
        Ok(known)
    }

    /// Ends what an order wants ended at once, or else lists it. Once: a list is not a snapshot, so a socket
    /// that comes or goes meanwhile can be missed, and each list goes through the whole table of the
    /// kernel. As long as its count of connections is not zero the order comes again.
    fn begin(&self, namespaces: &mut Namespaces, order: Order) -> (Tally, Vec<Target>) {
        let (mut tally, mut targets) = (Tally::default(), Vec::new());
        self.visit(namespaces, None, &mut tally, |tally, netns, diag| {
            let mut take = |diag: &mut Diag, found: io::Result<Vec<Target>>, verb| match found {
                Ok(found) if order.count.is_none() && order.spread.is_zero() => {
                    tally.take(netns, diag.end(&found));
                }
                Ok(found) => targets.extend(found.into_iter().map(|found| found.of(netns))),
                Err(source) => tally.fail(verb, source),
            };
            let found = diag.translated(&self.storage, order);
            take(diag, found, "list sockets");
            if order.datagrams {
                let found = diag.translated_datagrams(order, |cookie| self.is_peer(cookie, order));
                take(diag, found, "list datagram sockets");
            }
        });
        (tally, targets)
    }

    /// Whether we have connected a datagram socket to the backend of an order.
    fn is_peer(&self, cookie: u64, order: Order) -> bool {
        let Order { backend, epoch, .. } = order;
        let peer = self.peers.get(&cookie, 0).map(Favourite::from_word);
        peer.is_ok_and(|peer| peer == Favourite { backend, epoch })
    }

    /// Ends these.
    fn end(&self, namespaces: &mut Namespaces, targets: &[Target]) -> Tally {
        let mut per_netns = BTreeMap::<u64, Vec<Target>>::new();
        for target in targets {
            per_netns.entry(target.netns).or_default().push(target.clone());
        }
        let (mut tally, only) = (Tally::default(), per_netns.keys().copied().collect());
        self.visit(namespaces, Some(&only), &mut tally, |tally, netns, diag| {
            if let Some(targets) = per_netns.get(&netns) {
                tally.take(netns, diag.end(targets));
            }
        });
        tally
    }

    /// Goes to the agent's own network namespace (number 0) and then to every other with connections, or
    /// to those in `only`. Comes back, since a thread keeps the namespace alive in which it is.
    fn visit(
        &self,
        namespaces: &mut Namespaces,
        only: Option<&BTreeSet<u64>>,
        tally: &mut Tally,
        mut work: impl FnMut(&mut Tally, u64, &mut Diag),
    ) {
        match namespaces.home(&self.storage) {
            Ok(mut diag) => work(tally, OWN, &mut diag),
            Err(source) => tally.fail("open a netlink socket", source),
        }
        let mut active = match self.others(namespaces) {
            Ok(active) => active,
            Err(error) => return tally.errors.push(CloseError::Namespaces(error)),
        };
        active.retain(|(cookie, _)| only.is_none_or(|only| only.contains(cookie)));
        let mut walk = Walk::new(active.iter().map(|(cookie, _)| *cookie));
        for (cookie, netns) in active {
            match namespaces.enter(cookie, netns.tgid, &self.storage, &mut walk) {
                Ok(mut diag) => work(tally, cookie, &mut diag),
                // As in `refresh`.
                Err(_) if netns.active == 0 => {}
                Err(source) => {
                    let connections = netns.connections();
                    tally.errors.push(CloseError::Unreached { netns: cookie, connections, source });
                }
            }
        }
        if let Err(source) = namespaces.go_home() {
            tally.fail(RETURN, source);
        }
        tally.searched |= walk.done;
    }
}
