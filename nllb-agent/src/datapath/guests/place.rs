//! One interface with our programs on it: attached, looked after, and left without a trace.
//!
//! What is attached outlives the agent, so what it takes to find it again is pinned: the two links, or, since
//! filters need no pin, a pin whose name says that there are some and whether the qdisc was made for them.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use thiserror::Error;

use super::clsact::{self, Qdisc};
use super::netlink::Netlink;
use super::pins;
use crate::datapath::sys;
use crate::datapath::sys::interface::{Direction, interface_link, link_interface};

/// By what programs are to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// By links where the kernel has them, else by filters.
    #[default]
    Auto,
    /// By links.
    Tcx,
    /// By filters.
    Clsact,
}

/// By what programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By links.
    Tcx,
    /// By filters.
    Clsact,
}

impl By {
    /// The word for it in status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// Why a program is not attached.
#[derive(Debug, Error)]
pub(super) enum AttachError {
    /// Links are wanted, and the kernel has none for interfaces.
    #[error("the kernel has no tcx (Linux 6.6): leave sandboxes.attach at auto")]
    NoTcx,
    /// Another qdisc is where `clsact` would be.
    #[error(
        "somebody has put the qdisc ingress there, beside which there are no filters for what goes out; replace it: tc qdisc replace dev NAME clsact"
    )]
    Ingress,
    /// The kernel refused.
    #[error("cannot {verb}: {source}")]
    Kernel {
        /// What was tried.
        verb: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl AttachError {
    /// Whether the interface was gone already.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Kernel { verb: _, source } => source.raw_os_error() == Some(libc::ENODEV),
            Self::NoTcx | Self::Ingress => false,
        }
    }
}

pub(super) fn failed(verb: &'static str) -> impl Fn(io::Error) -> AttachError {
    move |source| AttachError::Kernel { verb, source }
}

/// A loaded program.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) fd: OwnedFd,
    pub(super) id: u32,
    pub(super) direction: Direction,
}

impl Direction {
    /// The way back first, so that no answer comes untranslated.
    pub(in crate::datapath) const IN_ORDER: [Self; 2] = [Self::Egress, Self::Ingress];

    /// Name of the program there. What comes in to the host goes out from the guest.
    pub(in crate::datapath) const fn program(self) -> &'static str {
        match self {
            Self::Ingress => "nllb_from_guest",
            Self::Egress => "nllb_to_guest",
        }
    }
}

/// What every step needs.
pub(super) struct Site<'a> {
    pub(super) netlink: &'a mut Netlink,
    /// Where pins are.
    pub(super) directory: &'a Path,
    /// Of the layout of the maps.
    pub(super) version: u32,
    pub(super) programs: &'a [Program; 2],
    /// What is pinned to remember filters by; any object does.
    pub(super) mark: BorrowedFd<'a>,
}

/// Programs that are attached to an interface.
#[derive(Debug)]
pub(super) enum Hold {
    Tcx([OwnedFd; 2]),
    Clsact,
}

impl Hold {
    pub(super) const fn by(&self) -> By {
        match self {
            Self::Tcx(_) => By::Tcx,
            Self::Clsact => By::Clsact,
        }
    }

    /// Whether our programs run there, as the kernel says.
    pub(super) fn is_sound(&self, site: &mut Site<'_>, interface: u32) -> bool {
        let Site { netlink, directory, version, programs, mark: _ } = site;
        match self {
            Self::Tcx(links) => links.iter().zip(programs.iter()).all(|(link, program)| {
                let runs = interface_link(link)
                    .is_ok_and(|link| (link.interface, link.program) == (interface, program.id));
                runs && directory.join(pins::link(program.direction, interface)).exists()
            }),
            Self::Clsact => programs.iter().all(|program| {
                let found = clsact::filter(netlink, interface, program.direction, *version);
                found.is_ok_and(|found| found.is_some_and(|it| it.program == program.id))
            }),
        }
    }
}

/// Whether programs of ours, of this agent or one before it, run on an interface.
pub(super) fn stands(site: &mut Site<'_>, interface: u32) -> bool {
    let Site { netlink, directory, version, programs, mark: _ } = site;
    programs.iter().any(|Program { direction, .. }| {
        let link = sys::open_pin(&directory.join(pins::link(*direction, interface)));
        let linked = link.and_then(interface_link).is_ok_and(|link| link.interface == interface);
        linked
            || clsact::filter(netlink, interface, *direction, *version).is_ok_and(|it| it.is_some())
    })
}

/// Attaches the programs by links; those that are pinned get the new programs without a gap.
pub(super) fn attach_tcx(site: &mut Site<'_>, interface: u32) -> Result<Hold, AttachError> {
    let mut links = Vec::new();
    for Program { fd, id: _, direction } in site.programs {
        let pin = site.directory.join(pins::link(*direction, interface));
        links.push(attach_link(fd.as_fd(), interface, *direction, &pin)?);
    }
    links.try_into().map(Hold::Tcx).map_err(|_| AttachError::NoTcx)
}

fn attach_link(
    program: BorrowedFd<'_>,
    interface: u32,
    direction: Direction,
    pin: &Path,
) -> Result<OwnedFd, AttachError> {
    if let Ok(link) = sys::open_pin(pin) {
        if interface_link(&link).is_ok_and(|link| link.interface == interface) {
            sys::link_update(&link, program).map_err(failed("replace a program"))?;
            return Ok(link);
        }
    }
    let link = link_interface(program, interface, direction).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::EINVAL) => AttachError::NoTcx,
            _ => failed("attach a program")(error),
        }
    })?;
    // That of an interface that had the number before.
    pins::remove(pin).map_err(failed("remove a pin"))?;
    sys::pin(&link, pin).map_err(failed("pin a link"))?;
    Ok(link)
}

/// Attaches the programs by filters; those that are there get the new programs without a gap.
pub(super) fn attach_clsact(site: &mut Site<'_>, interface: u32) -> Result<Hold, AttachError> {
    let [found, made] =
        [false, true].map(|made| site.directory.join(pins::filters(interface, made)));
    let is_new = match clsact::qdisc(site.netlink, interface).map_err(failed("list qdiscs"))? {
        Qdisc::Ingress => return Err(AttachError::Ingress),
        Qdisc::None => {
            clsact::make_qdisc(site.netlink, interface).map_err(failed("make a qdisc"))?;
            true
        }
        // Made by an agent before this one, unless the interface of that is gone and has left its number.
        Qdisc::Clsact => made.exists() && stands(site, interface),
    };
    let (mark, other) = if is_new { (made, found) } else { (found, made) };
    pins::remove(&other).map_err(failed("remove a pin"))?;
    if !mark.exists() {
        sys::pin(site.mark, &mark).map_err(failed("pin a mark of filters"))?;
    }
    for Program { fd, id: _, direction } in site.programs {
        let (netlink, version, name) = (&mut *site.netlink, site.version, direction.program());
        clsact::set_filter(netlink, interface, *direction, version, fd.as_fd(), name)
            .map_err(failed("attach a program"))?;
    }
    Ok(Hold::Clsact)
}

/// Detaches our programs from an interface and removes what is pinned for it; by one way alone, or by all.
pub(super) fn detach(
    netlink: &mut Netlink,
    directory: &Path,
    version: u32,
    interface: u32,
    by: Option<By>,
) -> Result<(), AttachError> {
    // First who translates anew, then who translates back.
    let directions = Direction::IN_ORDER.into_iter().rev();
    if by != Some(By::Clsact) {
        for direction in directions.clone() {
            let pin = directory.join(pins::link(direction, interface));
            // At once, and not some time after the last reference. One whose interface is gone ends with its pin.
            let _not_attached = sys::open_pin(&pin).and_then(sys::link_detach);
            pins::remove(&pin).map_err(failed("remove a pin"))?;
        }
    }
    if by != Some(By::Tcx) {
        for made in [false, true] {
            let pin = directory.join(pins::filters(interface, made));
            if pin.exists() {
                remove_filters(netlink, version, interface, made)?;
                pins::remove(&pin).map_err(failed("remove a pin"))?;
            }
        }
    }
    Ok(())
}

/// Removes our filters, and the qdisc if it was made for them and nobody else has any there.
pub(super) fn remove_filters(
    netlink: &mut Netlink,
    version: u32,
    interface: u32,
    made: bool,
) -> Result<(), AttachError> {
    for direction in Direction::IN_ORDER.into_iter().rev() {
        clsact::remove_filter(netlink, interface, direction, version)
            .map_err(failed("detach a program"))?;
    }
    let qdisc = clsact::qdisc(netlink, interface).map_err(failed("list qdiscs"))?;
    if made && qdisc == Qdisc::Clsact {
        let bare = clsact::is_bare(netlink, interface).map_err(failed("list filters"))?;
        if bare {
            clsact::remove_qdisc(netlink, interface).map_err(failed("remove a qdisc"))?;
        }
    }
    Ok(())
}
