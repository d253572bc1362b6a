//! What is kept of a guest whose sockets this kernel does not have: which of its packets go where.
//!
//! Each guest has a table of its own, of the least-recently-used kind, so none can wash out what another has. The kernel
//! gives the memory of such an entry to another key while a program may still read it. So a value carries a number made
//! of its key, its [guard](Flow::is_of), that is looked at after all else was read.

use super::{Protocol, Slot};
use crate::addr::{Addr, Port};
use crate::packet::{Packet, Side, tcp_flags};

/// A question by UDP is asked again when nothing has come back for so long, as for sockets of this kernel.
const AGAIN_MS: u32 = 200;
/// When a question is forgotten: longer than any resolver waits.
const FORGOTTEN_MS: u32 = 15_000;
/// A guest that has said nothing by UDP for so long has no use for the entry any more. Twice what kube-proxy's rules
/// give an exchange without an answer.
const UDP_OVER_MS: u32 = 60_000;
/// As long as Linux tries to connect: a beginning that is older has ended without a word.
const SYN_OVER_MS: u32 = 130_000;

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
}

/// Key of a guest's table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
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
    /// Keeps the layout free of padding; zero.
    reserved: u16,
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
        Self { guest: guest.0, peer: peer.0, ports, kind: kind as u8, protocol, reserved: 0 }
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
        Self { guest, peer, ports: packet.id, kind: kind as u8, protocol, reserved: 0 }
    }

    /// The other direction: of what was dialled by way of this backend, or from it to what was dialled.
    #[inline(always)]
    #[must_use]
    pub const fn turned(&self, kind: FlowKind, (addr, port): (Addr, Port)) -> Self {
        let ports = self.ports & 0xffff | port.word() << 16;
        Self { guest: self.guest, peer: addr, ports, kind: kind as u8, ..*self }
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

    /// The guard of its value: a sum of products with odd numbers, which the processor can work out side by side.
    #[inline(always)]
    #[must_use]
    pub const fn guard(&self) -> u32 {
        // The fractional parts of the square roots of the first primes, made odd.
        const FACTORS: [u64; 10] = [
            0x6a09_e667_f3bc_c909,
            0xbb67_ae85_84ca_a73b,
            0x3c6e_f372_fe94_f82b,
            0xa54f_f53a_5f1d_36f1,
            0x510e_527f_ade6_82d1,
            0x9b05_688c_2b3e_6c1f,
            0x1f83_d9ab_fb41_bd6b,
            0x5be0_cd19_137e_2179,
            0xcbbb_9d5d_c105_9ed9,
            0x629a_292a_367c_d507,
        ];
        const fn term(word: u32, index: usize) -> u64 {
            (word as u64 + 1).wrapping_mul(FACTORS[index])
        }
        let ([a, b, c, d], [e, f, g, h]) = (self.guest.v6_words(), self.peer.v6_words());
        let kind = self.kind as u32 | (self.protocol as u32) << 8;
        let sum = term(a, 0)
            .wrapping_add(term(b, 1))
            .wrapping_add(term(c, 2))
            .wrapping_add(term(d, 3))
            .wrapping_add(term(e, 4))
            .wrapping_add(term(f, 5))
            .wrapping_add(term(g, 6))
            .wrapping_add(term(h, 7))
            .wrapping_add(term(self.ports, 8))
            .wrapping_add(term(kind, 9));
        (sum >> 32) as u32
    }
}

/// What has become of a flow. Bits of [`Flow::state`].
pub mod flow_state {
    /// Of a reverse entry: the backend has answered.
    pub const ANSWERED: u32 = 1;
    /// The one that sends in this direction has nothing more to send.
    pub const FIN: u32 = 2;
    /// The connection was reset.
    pub const RST: u32 = 4;
}

/// Value of a guest's table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
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
    /// Bits of [`flow_state`].
    pub state: u32,
    /// Made of the key.
    pub guard: u32,
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
        let guard = key.guard();
        Self { addr, port, frontend, backend, epoch, sequence, asked_ms, state: 0, guard }
    }

    /// Whether the value is this key's. To be asked of a copy, which was made before.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(&self, key: &FlowKey) -> bool {
        self.guard == key.guard()
    }

    /// Whether it has one of these.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, state: u32) -> bool {
        self.state & state != 0
    }

    /// Whether a forward entry that is of UDP is due for a look at the answers, and whether nobody waits any more.
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
