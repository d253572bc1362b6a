//! The thread that goes from network namespace to network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use aya::maps::{HashMap, Map, MapData};
use nllb_common::maps::{Netns, names};
use tokio::sync::oneshot;

use super::diag::{Diag, Target, Wanted};
use super::namespaces::{Namespaces, Walk};
use super::{CloseError, Closed, Order, Reach};
use crate::datapath::maps::{self, MapsError};

/// Stands for the agent's own network namespace; the kernel gives out cookies from 1.
const OWN: u64 = 0;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Job {
    /// Ends all sockets of an order that wants that, or else lists them.
    Begin { order: Order, reply: oneshot::Sender<(Tally, Vec<Target>)> },
    /// Ends these.
    End { targets: Vec<Target>, reply: oneshot::Sender<Tally> },
    /// Finds network namespaces that are not known yet.
    Refresh { reply: oneshot::Sender<Reach> },
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
    /// Nothing done, because the thread is not there.
    pub(super) fn gone() -> Self {
        Self { errors: vec![CloseError::Gone], ..Self::default() }
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

/// Starts the thread, or says why the kernel lacks what it needs.
pub(super) fn start(directory: &Path) -> Result<mpsc::Sender<Job>, String> {
    let worker = Worker::open(directory)?;
    let (jobs, queue) = mpsc::channel();
    thread::Builder::new()
        .name("nllb-closer".to_owned())
        .spawn(move || worker.run(&queue))
        .map_err(|error| format!("no thread for it: {error}"))?;
    Ok(jobs)
}

struct Worker {
    storage: MapData,
    netns: HashMap<MapData, u64, Netns>,
}

impl Worker {
    /// Opens the pinned maps, and asks the kernel.
    fn open(directory: &Path) -> Result<Self, String> {
        let storage = maps::open(directory, names::SOCKS).map_err(|error| error.to_string())?;
        let netns = maps::open(directory, names::NETNS).map_err(|error| error.to_string())?;
        let netns = HashMap::try_from(Map::HashMap(netns)).map_err(|error| error.to_string())?;
        let mut diag = Diag::open().map_err(|error| format!("no netlink socket: {error}"))?;
        diag.check(&storage)?;
        Ok(Self { storage, netns })
    }

    /// Works until nobody can ask for anything.
    fn run(self, queue: &mpsc::Receiver<Job>) {
        let Ok(mut namespaces) = Namespaces::new() else {
            // Whoever asks is told that the thread has gone.
            return;
        };
        for job in queue {
            match job {
                Job::Begin { order, reply } => {
                    // An answer that nobody waits for any more is none.
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
        let mut active = match self.active() {
            Ok(active) => active,
            Err(error) => return failed(CloseError::Namespaces(error)),
        };
        active.retain(|(cookie, _)| !namespaces.is_own(*cookie));
        let unreached = namespaces.refresh(&active, &self.storage);
        let connections: BTreeMap<_, _> = active.iter().copied().collect();
        let errors = unreached.into_iter().map(|(netns, source)| {
            let connections = connections.get(&netns).map_or(0, Netns::connections);
            CloseError::Unreached { netns, connections, source }
        });
        let errors: Vec<_> = errors.collect();
        Reach { namespaces: (active.len() - errors.len()) as u64, errors }
    }

    /// Network namespaces that have connections, by cookie.
    fn active(&self) -> Result<Vec<(u64, Netns)>, MapsError> {
        let known = self.netns.iter().collect::<Result<Vec<_>, _>>();
        let mut known = known.map_err(maps::kernel(names::NETNS, "list the network namespaces"))?;
        // Fewer than none were forgotten and came back: there may be some.
        known.retain(|(_, netns)| netns.active != 0);
        Ok(known)
    }

    /// Ends what an order wants ended at once, or else lists it. Once: a list is not a snapshot, so a socket
    /// that comes or goes meanwhile can be missed, and each list goes through the whole table of the
    /// kernel. As long as its count of connections is not zero the order comes again.
    fn begin(&self, namespaces: &mut Namespaces, order: Order) -> (Tally, Vec<Target>) {
        let Order { backend, epoch, address, count, spread } = order;
        let wanted = Wanted { backend, epoch, address };
        let (mut tally, mut targets) = (Tally::default(), Vec::new());
        self.visit(namespaces, None, &mut tally, |tally, netns, diag| {
            match diag.translated(&self.storage, wanted) {
                Ok(found) if count.is_none() && spread.is_zero() => {
                    tally.take(netns, diag.end(&found));
                }
                Ok(found) => targets.extend(found.into_iter().map(|found| found.of(netns))),
                Err(source) => tally.fail("list sockets", source),
            }
        });
        (tally, targets)
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
    /// to those in `only`.
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
        let mut active = match self.active() {
            Ok(active) => active,
            Err(error) => return tally.errors.push(CloseError::Namespaces(error)),
        };
        active.retain(|(cookie, _)| {
            !namespaces.is_own(*cookie) && only.is_none_or(|only| only.contains(cookie))
        });
        let mut walk = Walk::new(active.iter().map(|(cookie, _)| *cookie));
        for (cookie, netns) in active {
            match namespaces.enter(cookie, netns.tgid, &self.storage, &mut walk) {
                Ok(mut diag) => work(tally, cookie, &mut diag),
                Err(source) => {
                    let connections = netns.connections();
                    tally.errors.push(CloseError::Unreached { netns: cookie, connections, source });
                }
            }
        }
        tally.searched |= walk.done;
    }
}
