//! Another address and port in a packet, with every checksum that is of them.

use network_types::ip::IpProto;

use super::checksum::Delta;
use super::header::{Tcp, Udp, V4, V6};
use super::{Bytes, Packet, fragment};
use crate::addr::{Addr, Port};

/// Which of the two ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who sends it.
    Source,
    /// To whom.
    Destination,
}

/// What a checksum is of, and what has changed of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// Of what follows or surrounds it.
    Plain,
    /// Of what follows it, while it may be for a device to complete.
    Content,
    /// The same, but it is the addresses that have changed, which it is of as well.
    Addresses,
}

/// Octets that can be written. `None` is what lies beyond their end; nothing is written then.
pub trait Edit: Bytes {
    /// Writes two octets, as they lie in memory.
    fn store_half(&mut self, at: u32, value: u16) -> Option<()>;
    /// Writes four octets, as they lie in memory.
    fn store_word(&mut self, at: u32, value: u32) -> Option<()>;

    /// Writes words one after the other.
    fn store_words<const WORDS: usize>(&mut self, at: u32, words: [u32; WORDS]) -> Option<()>;

    /// Lets the checksum of TCP or UDP at a place follow a change of the addresses and one of what it stands in;
    /// `false` when there is none.
    #[inline(always)]
    fn follow_both(
        &mut self,
        at: u32,
        addresses: Delta,
        content: Delta,
        optional: bool,
    ) -> Option<bool> {
        let none = optional && self.half(at)? == 0;
        follow_in_place(self, at, addresses.and(content), optional)?;
        Some(!none)
    }

    /// Hears of a change that no checksum in the packet makes up for, which may matter to one of the whole packet that
    /// a device has given. A checksum that has followed a change of addresses ([`Sum::Addresses`]) is taken to make up
    /// for it outside of the packet, so of addresses of IPv6 it hears as well.
    #[inline(always)]
    fn carry(&mut self, _delta: Delta) {}

    /// Lets the checksum at a place follow a change. Where `optional` says so 0 is none, and stays so.
    #[inline(always)]
    fn follow(&mut self, at: u32, delta: Delta, _sum: Sum, optional: bool) -> Option<()> {
        follow_in_place(self, at, delta, optional)
    }
}

/// Lets a checksum follow a change where it stands, as [`Edit::follow`] does where no device completes any.
#[inline(always)]
pub fn follow_in_place<E: Edit + ?Sized>(
    edit: &mut E,
    at: u32,
    delta: Delta,
    optional: bool,
) -> Option<()> {
    let old = edit.half(at)?;
    if optional && old == 0 {
        return Some(());
    }
    let new = delta.apply(old);
    edit.store_half(at, if optional && new == 0 { !0 } else { new })
}

impl Edit for [u8] {
    fn store_half(&mut self, at: u32, value: u16) -> Option<()> {
        let at = at as usize;
        self.get_mut(at..at + 2)?.copy_from_slice(&value.to_ne_bytes());
        Some(())
    }

    fn store_word(&mut self, at: u32, value: u32) -> Option<()> {
        let at = at as usize;
        self.get_mut(at..at + 4)?.copy_from_slice(&value.to_ne_bytes());
        Some(())
    }

    fn store_words<const WORDS: usize>(&mut self, at: u32, words: [u32; WORDS]) -> Option<()> {
        let octets = self.get_mut(at as usize..at as usize + WORDS * 4)?;
        for (octets, word) in octets.chunks_exact_mut(4).zip(words) {
            octets.copy_from_slice(&word.to_ne_bytes());
        }
        Some(())
    }
}

/// Puts another address, of the same family, and another port to one side of a packet; where it has no ports only the
/// address.
#[inline(always)]
pub fn rewrite<E: Edit + ?Sized>(
    edit: &mut E,
    packet: &Packet,
    side: Side,
    addr: Addr,
    port: Port,
) -> Option<()> {
    let (old_addr, old_port) = packet.side(side);
    let addresses = Delta::NONE.addr(old_addr, addr);
    let checksum = packet.checksum().filter(|_| packet.fragment != fragment::LATER);
    let ports = Delta::NONE.port(old_port, port);
    let alone = if let Some((at, optional)) = checksum {
        let followed = edit.follow_both(at, addresses, ports, optional)?;
        store_port(edit, packet, side, port)?;
        if followed { None } else { Some(ports) }
    } else {
        None
    };
    if packet.version == 4 {
        edit.follow(packet.ip + V4::CHECKSUM, addresses, Sum::Plain, false)?;
        store_addr(edit, packet, side, addr)?;
        if let Some(ports) = alone {
            edit.carry(ports);
        }
    } else {
        store_addr(edit, packet, side, addr)?;
        edit.carry(addresses.and(alone.unwrap_or(Delta::NONE)));
    }
    Some(())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a port has 16 bits")]
pub(super) fn store_port<E: Edit + ?Sized>(
    edit: &mut E,
    packet: &Packet,
    side: Side,
    port: Port,
) -> Option<()> {
    let at = match side {
        Side::Source => packet.transport,
        Side::Destination => packet.transport + 2,
    };
    edit.store_half(at, port.word() as u16)
}

#[inline(always)]
pub(super) fn store_addr<E: Edit + ?Sized>(
    edit: &mut E,
    packet: &Packet,
    side: Side,
    addr: Addr,
) -> Option<()> {
    if packet.version == 4 {
        let at = match side {
            Side::Source => V4::SOURCE,
            Side::Destination => V4::DESTINATION,
        };
        return edit.store_word(packet.ip + at, addr.v4_word());
    }
    let at = packet.ip
        + match side {
            Side::Source => V6::SOURCE,
            Side::Destination => V6::DESTINATION,
        };
    edit.store_words(at, addr.v6_words())
}

impl Packet {
    /// Address and port of one side.
    #[inline(always)]
    #[must_use]
    pub const fn side(&self, side: Side) -> (Addr, Port) {
        match side {
            Side::Source => (self.source, self.source_port),
            Side::Destination => (self.destination, self.destination_port),
        }
    }

    /// Where the checksum of TCP or UDP is, and whether 0 there means none.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(&self) -> Option<(u32, bool)> {
        if self.is(IpProto::Tcp) {
            Some((self.transport + Tcp::CHECKSUM, false))
        } else if self.is(IpProto::Udp) {
            Some((self.transport + Udp::CHECKSUM, true))
        } else {
            None
        }
    }
}
