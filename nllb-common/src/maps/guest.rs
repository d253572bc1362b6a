//! What is kept of a guest whose sockets this kernel does not have: which of its packets go where.
//!
//! Each guest has a table of its own, of the least-recently-used kind, so none can wash out what another has. The kernel
//! gives the memory of such an entry to another key while a program may still read it. So a value begins with a number
//! made of its key, its [guard](Flow::is_of): what is written first is looked at after all else was read.
//!
//! Every packet of a guest is looked for, so a key is short ([`FlowTag`]): of IPv4 it is all that there is to be known,
//! and of IPv6 the value says the rest.

use super::{Protocol, Slot};
use crate::addr::{Addr, Family, Port};
use crate::packet::{Packet, Side, tcp_flags};

/// What is sent again is sent because nothing has come back when that is so long ago, as for sockets of this kernel;
/// what comes sooner came twice.
const AGAIN_MS: u32 = 200;
/// When a question is forgotten: longer than any resolver waits.
const FORGOTTEN_MS: u32 = 15_000;
/// A guest that has said nothing by UDP for so long has no use for the entry any more. Twice what kube-proxy's rules
/// give an exchange without an answer.
const UDP_OVER_MS: u32 = 60_000;
/// As long as Linux tries to connect: a beginning that is older has ended without a word.
const SYN_OVER_MS: u32 = 130_000;

/// The parts of a packet come together within such a time, or Linux does not put them together any more; after it the
/// number that they have in common may be another packet's.
const PARTS_OVER_MS: u32 = 30_000;

/// When nothing has ever been answered for so long, no answer passes here: a first segment is sent a second time after
/// one second and a third time after three.
const DEAF_NS: u64 = 2_000_000_000;

/// What an entry is about.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowKind {
    /// From the guest to what it dials.
    Forward = 1,
    /// From a backend to the guest.
    Reverse = 2,
    /// A packet in parts, from the guest to what it dials.
    PartOut = 3,
    /// A packet in parts, from a backend to the guest.
    PartIn = 4,
    /// A backend has answered the guest.
    Heard = 5,
}

/// What an entry of a guest's table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The key itself, made of the rest.
    tag: FlowTag,
    /// The guest's address.
    guest: Addr,
    /// The other end.
    peer: Addr,
    /// The guest's port and the other's, or what the parts of a packet have in common.
    ports: u32,
    /// A [`FlowKind`].
    kind: u8,
    /// Number of the protocol; 0 for parts of packets of IPv6, which are told without.
    protocol: u8,
}

/// Key of a guest's table, made of a [`FlowKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowTag {
    /// Of IPv4 both addresses, else a number made of them.
    addrs: u64,
    /// Ports, kind and protocol.
    rest: u64,
}

/// The fractional parts of the square roots of the first primes, made odd.
const FACTORS: [u64; 4] =
    [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

impl FlowTag {
    #[inline(always)]
    const fn of(kind: FlowKind, guest: &Addr, peer: &Addr, ports: u32, protocol: u8) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (guest.v6_words(), peer.v6_words());
        let mut addrs = d as u64 | (h as u64) << 32;
        let mut rest = kind as u64 | (protocol as u64) << 8;
        if let Family::V6 = peer.family() {
            let sum = mixed(addrs, FACTORS[0]);
            let sum = mixed(sum ^ (a as u64 | (b as u64) << 32), FACTORS[1]);
            let sum = mixed(sum ^ (e as u64 | (f as u64) << 32), FACTORS[2]);
            addrs = mixed(sum ^ (c as u64 | (g as u64) << 32), FACTORS[3]);
            rest |= 1 << 16;
        }
        Self { addrs, rest: rest << 32 | ports as u64 }
    }

    /// The guard of its value: both halves of a product have a part in it.
    #[inline(always)]
    #[must_use]
    pub const fn guard(&self) -> u32 {
        let sum = self.addrs.wrapping_mul(FACTORS[0]).wrapping_add(self.rest);
        (sum.wrapping_mul(FACTORS[1]) >> 32) as u32
    }
}

impl FlowKey {
    /// An entry about connections or datagrams between two ends.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        kind: FlowKind,
        guest: (Addr, Port),
        peer: (Addr, Port),
        protocol: u8,
    ) -> Self {
        let ports = guest.1.word() | peer.1.word() << 16;
        Self::about(kind, guest.0, peer.0, ports, protocol)
    }

    #[inline(always)]
    const fn about(kind: FlowKind, guest: Addr, peer: Addr, ports: u32, protocol: u8) -> Self {
        let tag = FlowTag::of(kind, &guest, &peer, ports, protocol);
        Self { tag, guest, peer, ports, kind: kind as u8, protocol }
    }

    /// The key of the entry.
    #[inline(always)]
    #[must_use]
    pub const fn tag(&self) -> &FlowTag {
        &self.tag
    }

    /// The entry for a backend that has answered the guests behind an interface.
    #[inline(always)]
    #[must_use]
    pub const fn heard(backend: u32) -> Self {
        let (guest, peer) = (Addr::UNSPECIFIED, Addr::UNSPECIFIED);
        Self::about(FlowKind::Heard, guest, peer, backend, 0)
    }

    /// The entry for a packet, and on which side of it the guest is.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the number of a protocol has 8 bits")]
    pub const fn of(kind: FlowKind, packet: &Packet, guest: Side) -> Self {
        let (source, destination) = (packet.side(Side::Source), packet.side(Side::Destination));
        let (guest, peer) = match guest {
            Side::Source => (source, destination),
            Side::Destination => (destination, source),
        };
        Self::new(kind, guest, peer, packet.protocol as u8)
    }

    /// The entry for the parts of a packet.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the number of a protocol has 8 bits")]
    pub const fn of_part(packet: &Packet, guest: Side) -> Self {
        let (kind, guest, peer) = match guest {
            Side::Source => (FlowKind::PartOut, packet.source, packet.destination),
            Side::Destination => (FlowKind::PartIn, packet.destination, packet.source),
        };
        let protocol = if packet.version == 4 { packet.protocol as u8 } else { 0 };
        Self::about(kind, guest, peer, packet.id, protocol)
    }

    /// The other direction: of what was dialled by way of this backend, or from it to what was dialled.
    #[inline(always)]
    #[must_use]
    pub const fn turned(&self, kind: FlowKind, (addr, port): (Addr, Port)) -> Self {
        let ports = self.ports & 0xffff | port.word() << 16;
        Self::about(kind, self.guest, addr, ports, self.protocol)
    }

    /// The other end.
    #[inline(always)]
    #[must_use]
    pub const fn peer(&self) -> (Addr, Port) {
        (self.peer, Port::from_word(self.ports >> 16))
    }

    /// Number of its protocol.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }
}

/// A number of which every bit depends on those below and above it.
#[inline(always)]
const fn mixed(number: u64, factor: u64) -> u64 {
    let number = number.wrapping_mul(factor);
    number ^ number >> 32
}

/// What has become of a flow. Bits of [`Flow::state`].
pub mod flow_state {
    /// Of a reverse entry: the backend has answered; of UDP, since somebody looked last.
    pub const ANSWERED: u32 = 1;
    /// The one that sends in this direction has nothing more to send.
    pub const FIN: u32 = 2;
    /// The connection was reset.
    pub const RST: u32 = 4;
    /// Of a reverse entry: the backend has answered at some time.
    pub const EVER: u32 = 8;
    /// Of a forward entry: another backend was drawn because the first one had let the guest wait.
    pub const AGAIN: u32 = 16;
    /// Of a forward entry: the second one had as well, so the guest's packets go to what it dials.
    pub const PASSED: u32 = 32;
}

/// Value of a guest's table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Made of the key. It comes first, see the module.
    pub guard: u32,
    /// Bits of [`flow_state`].
    pub state: u32,
    /// The other end, as in the key.
    pub peer: Addr,
    /// The address to put in the place of the peer's: the backend's, or what was dialled.
    pub addr: Addr,
    /// The port, likewise.
    pub port: Port,
    /// Id of the frontend.
    pub frontend: u16,
    /// Id of the backend.
    pub backend: u32,
    /// Its epoch.
    pub epoch: u32,
    /// The number with which the guest began its connection, in network order.
    pub sequence: u32,
    /// When that was, or when the first datagram was sent for which there was no answer at the last look; in
    /// milliseconds of the monotonic clock (they wrap).
    pub asked_ms: u32,
}

impl Flow {
    /// An entry that leads to a backend, or back from it to what was dialled.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        key: &FlowKey,
        (addr, port): (Addr, Port),
        slot: &Slot,
        frontend: u16,
        (sequence, asked_ms): (u32, u32),
    ) -> Self {
        let Slot { backend, epoch, .. } = *slot;
        let (guard, peer) = (key.tag.guard(), key.peer);
        Self { guard, state: 0, peer, addr, port, frontend, backend, epoch, sequence, asked_ms }
    }

    /// Makes it another key's, with nothing of what has become of it.
    #[inline(always)]
    pub const fn put_under(&mut self, key: &FlowKey, (addr, port): (Addr, Port)) {
        self.guard = key.tag.guard();
        self.state = 0;
        self.peer = key.peer;
        self.addr = addr;
        self.port = port;
    }

    /// Whether the value is this key's. To be asked of a copy, which was made before.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(&self, key: &FlowKey) -> bool {
        self.peer.difference(&key.peer) | self.guard ^ key.tag.guard() == 0
    }

    /// Whether it has one of these.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, state: u32) -> bool {
        self.state & state != 0
    }

    /// Whether an entry for the parts of a packet is of the packet whose parts come now.
    #[inline(always)]
    #[must_use]
    pub const fn is_of_parts(&self, now_ms: u32) -> bool {
        now_ms.wrapping_sub(self.asked_ms) <= PARTS_OVER_MS
    }

    /// Whether the question of a forward entry is due for a look at the answers, and whether nobody waits any more.
    #[inline(always)]
    #[must_use]
    pub const fn is_late(&self, now_ms: u32) -> (bool, bool) {
        let age_ms = now_ms.wrapping_sub(self.asked_ms);
        (age_ms >= AGAIN_MS, age_ms > FORGOTTEN_MS)
    }

    /// Whether the flow of a forward and a reverse entry may still go on, so that the reverse entry is not to be given
    /// to another.
    #[inline(always)]
    #[must_use]
    pub const fn is_live(&self, reverse: &Self, protocol: u8, now_ms: u32) -> bool {
        if self.backend != reverse.backend || self.epoch != reverse.epoch {
            return false;
        }
        let age_ms = now_ms.wrapping_sub(self.asked_ms);
        if protocol == Protocol::Udp as u8 {
            return age_ms <= UDP_OVER_MS;
        }
        if !reverse.has(flow_state::ANSWERED) {
            return age_ms <= SYN_OVER_MS;
        }
        let both = self.has(flow_state::FIN) && reverse.has(flow_state::FIN);
        !both && !self.has(flow_state::RST) && !reverse.has(flow_state::RST)
    }
}

/// What a flag of TCP says of a flow, as a bit of [`flow_state`]; 0 for nothing.
#[inline(always)]
#[must_use]
pub const fn closing(packet: &Packet) -> u32 {
    const { assert!(flow_state::FIN == tcp_flags::FIN << 1 && flow_state::RST == tcp_flags::RST) };
    (packet.tcp_flags & tcp_flags::FIN) << 1 | packet.tcp_flags & tcp_flags::RST
}

/// Value of GUEST_STATES: what is noted of an interface with a guest behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guest {
    /// Not 0 when what goes to the guest does not pass here, so that nothing is translated until something does.
    pub one_way: u64,
    /// Flows that were translated.
    pub translated: u64,
    /// Not 0 when an answer to a translated packet has passed here.
    pub answered: u64,
    /// When the first packet was translated, in nanoseconds of `CLOCK_MONOTONIC`; 0 when none was.
    pub asked_ns: u64,
}

impl Guest {
    /// Nothing has happened.
    pub const NONE: Self = Self { one_way: 0, translated: 0, answered: 0, asked_ns: 0 };

    /// Whether it was long ago that the first packet was translated, and nothing has ever come back. Some networks hand
    /// packets to a guest past the programs on its interface.
    #[inline(always)]
    #[must_use]
    pub const fn is_deaf(&self, now_ns: u64) -> bool {
        self.answered == 0 && self.asked_ns != 0 && now_ns.wrapping_sub(self.asked_ns) > DEAF_NS
    }
}

#[cfg(test)]
mod tests;
