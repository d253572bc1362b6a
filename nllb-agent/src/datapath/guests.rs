//! Programs on the host's side of guests' cables: which interfaces have them, as those come and go.
//!
//! A guest (Kata, KubeVirt, gVisor) has sockets that no hook on a cgroup sees. So two programs are attached to
//! the host's side of its cable, each interface with a table of its own. What the kernel tells of interfaces
//! is a hint to look; a look lists them all and is the same whatever has happened: one that was renamed, one that has
//! the number of another, programs that somebody has detached.
//!
//! A task of its own waits for hints and wishes, and has each look done on a thread that may wait for the kernel. The
//! driver only says what is wanted and reads what was found last.

mod clsact;
mod host;
mod netlink;
mod pins;
mod place;
mod tables;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aya::Ebpf;
use aya::programs::Program as Loaded;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use nllb_common::ABI_VERSION;
use nllb_common::maps::Guest;
use nllb_core::guests::{Pattern, Refusal, Rule};
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_blocking, spawn_local};
use tokio::time::sleep;
use tracing::{error, warn};

use super::load::LoadError;
use super::maps::MapsError;
use super::sys::interface::Direction;
use place::{AttachError, Program};
use tables::Tables;
use worker::Worker;

pub use host::Behind;
pub(super) use pins::Pinned;
pub use place::{Attach, By};
pub(super) use tables::pin_guests;

/// Least time between two looks: pods come in crowds, and each makes several hints.
const PACE: Duration = Duration::from_millis(50);
/// Links, and default routes of both families (`RTMGRP_*` of `uapi/linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x40 | 0x400;
/// The header of a message.
const HEAD_BYTES: usize = 16;

/// Which guests are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those behind interfaces with such names.
    pub patterns: Vec<Pattern>,
    /// Those with these addresses, and which pod each is; `None` while that is not known, and whoever is served
    /// goes on being so.
    pub pods: Option<BTreeMap<IpAddr, Arc<str>>>,
    /// Whom this host reaches over interfaces that are no guest's.
    pub backends: BTreeMap<IpAddr, Behind>,
    /// How programs are attached.
    pub attach: Attach,
}

/// What was found and done at the last look.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The interfaces that are wanted.
    pub interfaces: Vec<Served>,
    /// Names of those, and of pods, that are meant and not served, with the reason.
    pub left: Vec<(String, Refusal)>,
    /// What kept the look from being whole.
    pub problem: Option<String>,
    /// How often programs were not where they had been, and were attached again.
    pub repaired: u64,
}

/// An interface that is to be served.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// By what it is meant; none of which nothing is known.
    pub rule: Option<Rule>,
    /// By what the programs are attached; none when they are not.
    pub by: Option<By>,
    /// Their ids, what goes to the guest first.
    pub programs: Vec<u32>,
    /// Why they are not attached.
    pub problem: Option<String>,
    /// What the programs note of it.
    pub state: Guest,
}

/// Who looks after guests. Dropping it leaves attached what is.
#[derive(Debug)]
pub struct Guests {
    wanted: watch::Sender<Option<Wanted>>,
    check: watch::Sender<()>,
    report: watch::Receiver<Report>,
    task: AbortHandle,
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The two programs, loaded.
#[derive(Debug)]
pub struct Programs([Program; 2]);

impl Programs {
    /// Takes hold of them.
    pub(super) fn of(bpf: &Ebpf) -> Result<Self, String> {
        let [egress, ingress] = Direction::IN_ORDER.map(|direction| program(bpf, direction));
        Ok(Self([egress?, ingress?]))
    }
}

fn program(bpf: &Ebpf, direction: Direction) -> Result<Program, String> {
    let name = direction.program();
    let missing = || format!("program {name} is not in the object");
    let Loaded::SchedClassifier(program) = bpf.program(name).ok_or_else(missing)? else {
        return Err(missing());
    };
    let fd: io::Result<OwnedFd> = match program.fd() {
        Ok(fd) => fd.as_fd().try_clone_to_owned(),
        Err(error) => return Err(format!("program {name}: {error}")),
    };
    let fd = fd.map_err(|error| format!("program {name}: {error}"))?;
    let id = program.info().map_err(|error| format!("program {name}: {error}"))?.id();
    Ok(Program { fd, id, direction })
}

impl Guests {
    /// Looks after guests from now on. To be called on the driver's thread.
    ///
    /// # Errors
    /// When the maps or the kernel's messages cannot be opened.
    pub(super) fn start(directory: &Path, programs: Programs) -> Result<Self, String> {
        let tables = Tables::open(directory).map_err(|error| error.to_string())?;
        let listen = || {
            let mut hints = TokioSocket::new(NETLINK_ROUTE)?;
            hints.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
            Ok((hints, Worker::new(directory.to_owned(), programs.0, tables)?))
        };
        let listening: io::Result<_> = listen();
        let (hints, worker) =
            listening.map_err(|error| format!("cannot watch the interfaces: {error}"))?;
        let (wanted, wishes) = watch::channel(None);
        let (check, checks) = watch::channel(());
        let (reports, report) = watch::channel(Report::default());
        let looking = look_after(worker, hints, wishes, checks, reports);
        Ok(Self { wanted, check, report, task: spawn_local(looking).abort_handle() })
    }

    /// Says which guests are served from now on; with `None` no program stays attached.
    pub fn want(&self, wanted: Option<Wanted>) {
        self.wanted.send_if_modified(|held| {
            let differs = *held != wanted;
            *held = wanted;
            differs
        });
    }

    /// Has a look taken soon, whether anything was heard or not.
    pub fn check(&self) {
        self.check.send_replace(());
    }

    /// What was found at the last look.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }
}

/// Looks whenever there is a reason to.
async fn look_after(
    mut worker: Worker,
    hints: TokioSocket,
    mut wishes: watch::Receiver<Option<Wanted>>,
    mut checks: watch::Receiver<()>,
    reports: watch::Sender<Report>,
) {
    let mut hears = true;
    // Until the first wish nothing says that what an earlier agent has attached is not wanted any more.
    if wishes.changed().await.is_err() {
        return;
    }
    wishes.mark_changed();
    loop {
        // Whoever waits for one of these forgets nothing when another comes first.
        let goes_on = tokio::select! {
            heard = hint(&hints), if hears => {
                hears = heard;
                true
            }
            changed = wishes.changed() => changed.is_ok(),
            changed = checks.changed() => changed.is_ok(),
        };
        if !goes_on {
            return;
        }
        let wanted = wishes.borrow_and_update().clone();
        let pass = spawn_blocking(move || {
            let report = worker.pass(wanted.as_ref());
            (worker, report)
        });
        match pass.await {
            Ok((after, report)) => {
                worker = after;
                reports.send_replace(report);
            }
            Err(died) => {
                error!(%died, "guests are no longer looked after; what is attached stays");
                let problem =
                    Some("nobody looks after guests any more; restart the agent".to_owned());
                reports.send_modify(|report| report.problem = problem);
                return;
            }
        }
        sleep(PACE).await;
    }
}

/// What the programs note of an interface, by the pins in `directory`; `None` when none are meant to be there.
///
/// # Errors
/// When the maps are not there.
pub fn noted(directory: &Path, interface: u32) -> Result<Option<Guest>, MapsError> {
    Ok(Tables::open(directory)?.state(interface))
}

/// Waits for a hint; says whether there can be others. Those that are lost because there were too many are one as
/// well.
async fn hint(hints: &TokioSocket) -> bool {
    // What is in the message does not matter, so it may be cut.
    let mut head = Vec::with_capacity(HEAD_BYTES);
    match hints.recv(&mut head).await {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => true,
        Err(error) => {
            warn!(%error, "changes of interfaces are not seen any more, only looked for now and then");
            false
        }
    }
}

/// Detaches whatever there is for guests in a directory of pins, as an earlier agent has left it. What cannot be
/// detached is told, and keeps nothing else attached.
pub(super) fn remove_all(directory: &Path) {
    let mut tables = match Tables::open(directory) {
        Ok(tables) => tables,
        Err(error) => {
            warn!(%error, "programs for guests stay attached to interfaces");
            return;
        }
    };
    let mut interfaces: BTreeSet<u32> = tables.known().into_iter().collect();
    interfaces.extend(pins::all(directory).into_iter().map(Pinned::interface));
    let remove = |interface| -> Result<(), AttachError> {
        // A socket of its own: what one leaves unread would be taken for the answer to another.
        let mut netlink = netlink::Netlink::open().map_err(place::failed("open a socket"))?;
        place::detach(&mut netlink, directory, ABI_VERSION, interface, None)?;
        tables.remove(interface).map_err(place::failed("remove a table"))
    };
    for (interface, error) in each(interfaces, remove) {
        warn!(interface, %error, "programs for guests stay attached");
    }
}

/// Does something for each, whatever becomes of the others; says for which it failed.
fn each<E>(all: BTreeSet<u32>, mut act: impl FnMut(u32) -> Result<(), E>) -> Vec<(u32, E)> {
    all.into_iter().filter_map(|one| act(one).err().map(|error| (one, error))).collect()
}

/// Detaches the filters that a pin tells of, of any version of the layout.
///
/// # Errors
/// When they are in another network namespace, where this process sees no interface, or the kernel refuses.
pub(super) fn remove_filters(
    directory: &Path,
    version: u32,
    (interface, made): (u32, bool),
    netns: u64,
) -> Result<(), LoadError> {
    let failed = |source| LoadError::Directory { path: directory.to_owned(), source };
    if netns != pins::netns() {
        return Err(failed(io::Error::other(format!(
            "filters of interface {interface} are in another network namespace (net:[{netns}]): run this there"
        ))));
    }
    let mut netlink = netlink::Netlink::open().map_err(failed)?;
    place::remove_filters(&mut netlink, version, interface, made).map_err(|error| {
        failed(io::Error::other(format!("filters of interface {interface}: {error}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_keeps_no_other() {
        let mut done = Vec::new();
        let failed = each(BTreeSet::from([1, 2, 3]), |one| {
            done.push(one);
            if one == 2 { Err("busy") } else { Ok(()) }
        });
        assert_eq!((done, failed), (vec![1, 2, 3], vec![(2, "busy")]));
    }

    #[test]
    fn filters_of_another_network_namespace_are_not_looked_for_here() {
        let refused = remove_filters(Path::new("/x"), 2, (1, true), 1).expect_err("another");
        assert!(refused.to_string().contains("another network namespace"), "{refused}");
    }
}
