//! Errors of ICMP and ICMPv6: whoever cannot deliver a packet sends its beginning back. Who is told must find his own
//! packet in it, so what was rewritten on the way out is written back there, and in the addresses around it.

use network_types::icmp::{Icmpv4Type, Icmpv6Type};
use network_types::ip::IpProto;

use super::checksum::Delta;
use super::header::{Icmp, V4};
use super::rewrite::{Edit, Side, Sum, store_addr, store_port};
use super::{Bytes, Packet, fragment, v4, v6};
use crate::addr::{Addr, Port};

/// It took too many hops, or too long to put together (RFC 792).
const TIME_EXCEEDED: u32 = 11;
/// The first and the last error of ICMPv6 with a packet in it: unreachable, and whatever cannot be understood (RFC 4443).
const FIRST_V6: u32 = 1;
const LAST_V6: u32 = Icmpv6Type::ParameterProblem as u32;

/// Whether an ICMP message of this kind has a packet in it that somebody sent.
#[inline(always)]
#[must_use]
pub const fn is_error(version: u32, kind: u32) -> bool {
    const UNREACHABLE: u32 = Icmpv4Type::DestinationUnreachable as u32;
    const PROBLEM: u32 = Icmpv4Type::ParameterProblem as u32;
    match version {
        4 => matches!(kind, UNREACHABLE | TIME_EXCEEDED | PROBLEM),
        _ => FIRST_V6 <= kind && kind <= LAST_V6,
    }
}

/// The beginning of the packet that an error is about, with ports, and perhaps no more of its transport header; `None`
/// for what is no error, or about nothing that has ports.
#[inline(always)]
pub fn quote<B: Bytes + ?Sized>(bytes: &B, error: &Packet, zero: u32) -> Option<Packet> {
    let mut packet = Packet::NONE;
    quote_into(bytes, error, &mut packet, zero)?;
    Some(packet.hidden(zero))
}

/// As [`quote`], into a place that was found for it.
#[inline(always)]
pub fn quote_into<B: Bytes + ?Sized>(
    bytes: &B,
    error: &Packet,
    packet: &mut Packet,
    zero: u32,
) -> Option<()> {
    if error.fragment != fragment::WHOLE || !error.is_icmp() {
        return None;
    }
    let kind = bytes.octet(error.transport + Icmp::KIND)?;
    if !is_error(error.version, kind.into()) {
        return None;
    }
    let at = error.transport + Icmp::LENGTH;
    if error.version == 4 {
        v4(bytes, at, packet)?;
    } else {
        v6(bytes, at, packet, zero)?;
    }
    let ports = packet.is(IpProto::Tcp) || packet.is(IpProto::Udp);
    if !ports || packet.fragment == fragment::LATER || packet.transport + 4 > error.end {
        return None;
    }
    packet.set_ports(bytes.words(packet.transport)?);
    Some(())
}

/// Puts another address and port to one side of the packet in an error, and the same address to a side of the error.
#[inline(always)]
pub fn translate_error<E: Edit + ?Sized>(
    edit: &mut E,
    error: &Packet,
    quoted: &Packet,
    (side, addr, port): (Side, Addr, Port),
    around: Option<Side>,
) -> Option<()> {
    let (old_addr, old_port) = quoted.side(side);
    let addresses = Delta::NONE.addr(old_addr, addr);
    let ports = Delta::NONE.port(old_port, port);
    let back = Delta::NONE.addr(addr, old_addr);

    // The quoted packet, and what that adds to the sum of the message around it. A checksum that follows a change
    // makes up for it in any sum that both are part of.
    let followed = follow_quoted(edit, error, quoted, addresses.and(ports));
    store_port(edit, quoted, side, port)?;
    store_addr(edit, quoted, side, addr)?;
    let content = if error.version == 4 {
        edit.follow(quoted.ip + V4::CHECKSUM, addresses, Sum::Plain, false)?;
        if followed { back } else { ports }
    } else if followed {
        Delta::NONE
    } else {
        addresses.and(ports)
    };
    let checksum = error.transport + Icmp::CHECKSUM;
    edit.follow(checksum, content, Sum::Plain, false)?;

    // The error itself.
    let Some(around) = around else { return Some(()) };
    let (old_addr, _none) = error.side(around);
    let addresses = Delta::NONE.addr(old_addr, addr);
    if error.version == 4 {
        edit.follow(error.ip + V4::CHECKSUM, addresses, Sum::Plain, false)?;
    } else {
        edit.follow(checksum, addresses, Sum::Addresses, false)?;
        edit.carry(addresses);
    }
    store_addr(edit, error, around, addr)
}

/// Lets the checksum of the quoted transport header follow, if it is there: `true` when it did.
#[inline(always)]
fn follow_quoted<E: Edit + ?Sized>(
    edit: &mut E,
    error: &Packet,
    quoted: &Packet,
    delta: Delta,
) -> bool {
    let Some((at, optional)) = quoted.checksum() else { return false };
    if at + 2 > error.end || at + 2 > quoted.end {
        return false;
    }
    let none = optional && edit.half(at) == Some(0);
    !none && edit.follow(at, delta, Sum::Plain, optional).is_some()
}
