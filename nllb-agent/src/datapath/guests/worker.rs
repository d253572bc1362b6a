//! Brings the interfaces to what is wanted, one pass after another. It waits for the kernel, so no pass runs on
//! the driver's thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use nllb_common::ABI_VERSION;
use nllb_common::maps::MAX_GUESTS;
use nllb_core::guests::{self, Interface, Meant, Plan, Selection};
use tracing::{debug, info, warn};

use super::host;
use super::netlink::Netlink;
use super::pins;
use super::place::{self, Attach, AttachError, By, Hold, Program, Site};
use super::tables::Tables;
use super::{Report, Served, Wanted};

/// Who attaches and detaches.
pub(super) struct Worker {
    directory: PathBuf,
    programs: [Program; 2],
    tables: Tables,
    /// What is pinned to remember filters by.
    mark: OwnedFd,
    netlink: Netlink,
    held: BTreeMap<u32, Hold>,
    /// Whether the kernel has said that it has no links for interfaces.
    no_tcx: bool,
    /// Whether what an earlier agent has left was looked for.
    adopted: bool,
    /// How often programs were not where they had been.
    repaired: u64,
}

impl Worker {
    pub(super) fn new(
        directory: PathBuf,
        programs: [Program; 2],
        tables: Tables,
    ) -> io::Result<Self> {
        Ok(Self {
            directory,
            programs,
            mark: tables.mark()?,
            tables,
            netlink: Netlink::open()?,
            held: BTreeMap::new(),
            no_tcx: false,
            adopted: false,
            repaired: 0,
        })
    }

    /// Looks at all interfaces, serves those that are wanted and leaves the others.
    pub(super) fn pass(&mut self, wanted: Option<&Wanted>) -> Report {
        match self.look(wanted) {
            Ok((plan, attach)) => self.follow(plan, attach),
            Err(error) => {
                // It may have been one answer; what is attached stays.
                self.reopen();
                warn!(%error, "cannot look at the interfaces of this host");
                let problem = Some(format!("cannot look at the interfaces of this host: {error}"));
                Report { problem, repaired: self.repaired, ..Report::default() }
            }
        }
    }

    fn reopen(&mut self) {
        if let Ok(netlink) = Netlink::open() {
            self.netlink = netlink;
        }
    }

    fn look(&mut self, wanted: Option<&Wanted>) -> io::Result<(Plan, Attach)> {
        let Some(Wanted { patterns, pods, backends, attach }) = wanted else {
            return Ok((Plan::default(), Attach::Auto));
        };
        let earlier = if pods.is_none() { self.standing() } else { BTreeSet::new() };
        let Self { netlink, .. } = self;
        let interfaces: Vec<Interface> = host::interfaces(netlink)?;
        let uplinks = host::uplinks(netlink, backends)?;
        let pods = match pods {
            Some(pods) => host::cables(netlink, &interfaces, pods)?,
            None => Vec::new(),
        };
        let selection = Selection { patterns: patterns.clone(), pods, earlier };
        let held = self.held.keys().copied().collect();
        let room = usize::try_from(MAX_GUESTS).unwrap_or(usize::MAX);
        Ok((guests::plan(&selection, &interfaces, &uplinks, &held, room), *attach))
    }

    fn follow(&mut self, plan: Plan, attach: Attach) -> Report {
        let Plan { serve, left } = plan;
        let mut problem = None;
        for interface in self.unwanted(&serve) {
            if let Err(error) = self.leave(interface) {
                warn!(interface, %error, "programs for guests stay attached");
                problem = Some(format!("programs stay attached to interface {interface}: {error}"));
            }
        }
        let mut served = Vec::new();
        for (index, Meant { name, rule }) in serve {
            let rule = Some(rule);
            match self.serve(index, &name, attach) {
                Ok(by) => {
                    let state = self.tables.state(index).unwrap_or_default();
                    let programs = self.programs.each_ref().map(|program| program.id).into();
                    served.push(Served {
                        index,
                        name,
                        rule,
                        by: Some(by),
                        programs,
                        problem: None,
                        state,
                    });
                }
                // It went while we looked; the kernel tells of that as well.
                Err(error) if error.is_gone() => debug!(name, "an interface is gone"),
                Err(error) => {
                    let problem = Some(error.to_string());
                    served.push(Served { index, name, rule, problem, ..Served::default() });
                }
            }
        }
        Report { interfaces: served, left, problem, repaired: self.repaired }
    }

    /// What is attached, pinned or has a table, and is not wanted. At first that includes what an earlier agent has
    /// left.
    fn unwanted(&mut self, serve: &BTreeMap<u32, Meant>) -> BTreeSet<u32> {
        let mut known = self.known();
        self.adopted = true;
        known.retain(|interface| !serve.contains_key(interface));
        known
    }

    /// What has or may have programs, of this agent, and at first of one before it.
    fn known(&self) -> BTreeSet<u32> {
        let mut known: BTreeSet<u32> = self.held.keys().copied().collect();
        if !self.adopted {
            known.extend(pins::all(&self.directory).into_iter().map(pins::Pinned::interface));
            known.extend(self.tables.known());
        }
        known
    }

    /// The interfaces on which programs of ours run: a number may be another interface's by now.
    fn standing(&mut self) -> BTreeSet<u32> {
        let known = self.known();
        let Self { directory, programs, mark, netlink, .. } = self;
        let mut site =
            Site { netlink, directory, version: ABI_VERSION, programs, mark: mark.as_fd() };
        known.into_iter().filter(|interface| place::stands(&mut site, *interface)).collect()
    }

    fn leave(&mut self, interface: u32) -> Result<(), AttachError> {
        place::detach(&mut self.netlink, &self.directory, ABI_VERSION, interface, None)?;
        self.tables.remove(interface).map_err(place::failed("remove a table"))?;
        // Last, so that what failed is tried again.
        if self.held.remove(&interface).is_some() {
            info!(interface, "guests behind an interface are no longer served");
        }
        Ok(())
    }

    /// Attaches the programs to an interface unless they are where they should be.
    fn serve(&mut self, index: u32, name: &str, attach: Attach) -> Result<By, AttachError> {
        let Self { directory, programs, tables, mark, netlink, held, no_tcx, .. } = self;
        let mut site =
            Site { netlink, directory, version: ABI_VERSION, programs, mark: mark.as_fd() };
        let by_links = attach == Attach::Tcx || (attach == Attach::Auto && !*no_tcx);
        let meant = if by_links { By::Tcx } else { By::Clsact };
        let before = held.get(&index);
        if let Some(hold) = before.filter(|hold| hold.by() == meant) {
            if hold.is_sound(&mut site, index) && tables.has(index) {
                return Ok(meant);
            }
        }
        // A table with connections goes on with the programs; without them it is of another interface.
        if !(place::stands(&mut site, index) && tables.has(index)) {
            tables.make(index).map_err(place::failed("make a table"))?;
        }
        let attached = match meant {
            By::Tcx => place::attach_tcx(&mut site, index),
            By::Clsact => place::attach_clsact(&mut site, index),
        };
        let attached = match attached {
            Err(AttachError::NoTcx) if attach == Attach::Auto => {
                *no_tcx = true;
                place::attach_clsact(&mut site, index)
            }
            attached => attached,
        };
        let hold = match attached {
            Ok(hold) => hold,
            Err(error) => {
                let report = held.remove(&index).is_some() || !error.is_gone();
                // Half a translation is worse than none.
                let undone = self.leave(index);
                if report {
                    warn!(interface = name, %error, undone = undone.is_ok(), "cannot serve guests");
                }
                return Err(error);
            }
        };
        let by = hold.by();
        let other = if by == By::Tcx { By::Clsact } else { By::Tcx };
        let again = self.held.insert(index, hold).is_some();
        // Only now, so that there is no moment without translation.
        place::detach(&mut self.netlink, &self.directory, ABI_VERSION, index, Some(other))?;
        if again {
            self.repaired += 1;
            warn!(interface = name, by = by.label(), "programs for guests were not in place");
        } else {
            info!(interface = name, index, by = by.label(), "guests are served");
        }
        Ok(by)
    }
}
