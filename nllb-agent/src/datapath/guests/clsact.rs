//! Programs on an interface by filters of the qdisc `clsact`, where the kernel has no links for them.
//!
//! The qdisc is shared with whoever else has filters there. Ours are known by their handle, in which the version
//! of the maps' layout stands, so that another version can stand beside this one until it is replaced. The
//! qdisc goes with the last filter if we have made it.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage,
    TcOption,
};

use super::netlink::{Answer, Netlink, find, number, text};
use crate::datapath::sys::interface::Direction;

/// What our handles begin with: "nl".
const HANDLE: u32 = 0x6e6c_0000;
/// `ETH_P_ALL`, as it is on the wire.
const EVERY_PROTOCOL: u16 = 3_u16.to_be();
/// The kernel's handle of the qdisc.
const QDISC: TcHandle = TcHandle { major: 0xffff, minor: 0 };
// `uapi/linux/rtnetlink.h`: the header of a message, and where the interface, the handle, the parent, priority and
// protocol are in it.
const HEADER: usize = 20;
const INTERFACE: usize = 4;
const AT_HANDLE: usize = 8;
const PARENT: usize = 12;
const INFO: usize = 16;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_ID: u16 = 11;

/// A filter of ours, as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// Id of its program.
    pub(super) program: u32,
    info: u32,
}

/// The qdisc where filters of an interface are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qdisc {
    /// There is none.
    None,
    /// It is there.
    Clsact,
    /// One for what comes in alone.
    Ingress,
}

impl Direction {
    const fn parent(self) -> TcHandle {
        match self {
            Self::Ingress => TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS },
            Self::Egress => TcHandle { major: 0xffff, minor: TcHandle::MIN_EGRESS },
        }
    }

    /// Priorities to try, the one that is nearest to the guest first: one that somebody has for filters of
    /// another kind takes no program.
    fn priorities(self) -> impl Iterator<Item = u16> {
        const TRIES: u16 = 16;
        (0..TRIES).map(move |step| match self {
            Self::Ingress => 1 + step,
            Self::Egress => u16::MAX - step,
        })
    }
}

/// The handle of filters of this version of the layout.
const fn handle(version: u32) -> u32 {
    HANDLE | version
}

/// What is there for filters on an interface.
pub(super) fn qdisc(netlink: &mut Netlink, interface: u32) -> io::Result<Qdisc> {
    let question = RouteNetlinkMessage::GetQueueDiscipline(message(interface));
    let answers = netlink.list(&question)?;
    let ingress = u32::from(TcHandle::CLSACT);
    let is_it = |answer: &&Answer| {
        answer.word(INTERFACE) == Some(interface) && answer.word(PARENT) == Some(ingress)
    };
    let kind = answers.iter().find(is_it).and_then(|answer| answer.attribute(HEADER, TCA_KIND));
    Ok(match kind.and_then(text).as_deref() {
        Some("clsact") => Qdisc::Clsact,
        Some(_) => Qdisc::Ingress,
        None => Qdisc::None,
    })
}

/// Makes the qdisc.
pub(super) fn make_qdisc(netlink: &mut Netlink, interface: u32) -> io::Result<()> {
    let order = RouteNetlinkMessage::NewQueueDiscipline(of_qdisc(interface));
    netlink.order(order, NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes the qdisc, with what somebody may have put there in this moment.
pub(super) fn remove_qdisc(netlink: &mut Netlink, interface: u32) -> io::Result<()> {
    gone(netlink.order(RouteNetlinkMessage::DelQueueDiscipline(of_qdisc(interface)), 0))
}

/// Attaches a program, or puts it in the place of the one that is there.
pub(super) fn set_filter(
    netlink: &mut Netlink,
    interface: u32,
    direction: Direction,
    version: u32,
    program: BorrowedFd<'_>,
    name: &str,
) -> io::Result<()> {
    if let Some(Filter { info, .. }) = filter(netlink, interface, direction, version)? {
        let order = of_program(interface, direction, version, info, program, name);
        return netlink.order(RouteNetlinkMessage::NewTrafficFilter(order), NLM_F_CREATE);
    }
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for priority in direction.priorities() {
        let info = u32::from(priority) << 16 | u32::from(EVERY_PROTOCOL);
        let order = of_program(interface, direction, version, info, program, name);
        let order = RouteNetlinkMessage::NewTrafficFilter(order);
        match netlink.order(order, NLM_F_CREATE | NLM_F_EXCL) {
            // So the kernel says when filters of another kind or protocol have the priority.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            done => return done,
        }
    }
    Err(refused)
}

/// Our filter, if it is there.
pub(super) fn filter(
    netlink: &mut Netlink,
    interface: u32,
    direction: Direction,
    version: u32,
) -> io::Result<Option<Filter>> {
    let found = filters(netlink, interface, direction)?;
    Ok(found.iter().find_map(|answer| {
        let is_ours = answer.word(AT_HANDLE) == Some(handle(version))
            && answer.attribute(HEADER, TCA_KIND).and_then(text).as_deref()
                == Some(TcFilterBpf::KIND);
        let options = answer.attribute(HEADER, TCA_OPTIONS).filter(|_| is_ours)?;
        let program = find(options, TCA_BPF_ID).and_then(number)?;
        Some(Filter { program, info: answer.word(INFO)? })
    }))
}

/// Detaches our program, if it is there.
pub(super) fn remove_filter(
    netlink: &mut Netlink,
    interface: u32,
    direction: Direction,
    version: u32,
) -> io::Result<()> {
    let Some(Filter { info, .. }) = filter(netlink, interface, direction, version)? else {
        return Ok(());
    };
    let mut order = message(interface);
    order.header.parent = direction.parent();
    order.header.handle = handle(version).into();
    order.header.info = info;
    order.attributes = vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned())];
    gone(netlink.order(RouteNetlinkMessage::DelTrafficFilter(order), 0))
}

/// Whether nobody has a filter on an interface.
pub(super) fn is_bare(netlink: &mut Netlink, interface: u32) -> io::Result<bool> {
    let bare = |netlink: &mut Netlink, direction| {
        filters(netlink, interface, direction).map(|filters| filters.is_empty())
    };
    Ok(bare(netlink, Direction::Ingress)? && bare(netlink, Direction::Egress)?)
}

fn filters(netlink: &mut Netlink, interface: u32, direction: Direction) -> io::Result<Vec<Answer>> {
    let mut question = message(interface);
    question.header.parent = direction.parent();
    match netlink.list(&RouteNetlinkMessage::GetTrafficFilter(question)) {
        // Without a qdisc, or without the interface, there are none.
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        answers => answers,
    }
}

fn message(interface: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header =
        TcHeader { index: i32::try_from(interface).unwrap_or(i32::MAX), ..TcHeader::default() };
    message
}

fn of_qdisc(interface: u32) -> TcMessage {
    let mut order = message(interface);
    (order.header.handle, order.header.parent) = (QDISC, TcHandle::CLSACT);
    order.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    order
}

fn of_program(
    interface: u32,
    direction: Direction,
    version: u32,
    info: u32,
    program: BorrowedFd<'_>,
    name: &str,
) -> TcMessage {
    let mut order = message(interface);
    order.header.parent = direction.parent();
    order.header.handle = handle(version).into();
    order.header.info = info;
    let options = [
        TcFilterBpfOption::ProgFd(program.as_raw_fd().unsigned_abs()),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    order.attributes = vec![
        TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
        TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()),
    ];
    order
}

/// What is gone already is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if is_gone(&error) => Ok(()),
        removed => removed,
    }
}

/// No such filter, qdisc or interface.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV))
}
