//! The control-plane VIP: who its members are, how they are reached, and which flows are known.
//!
//! A set of members changes by naming another entry of VIP_SETS in VIP_CONTROL: the agent writes an entry that is
//! not in use, then names it. Everything else is an aligned word, or words that may be of different times.

use super::{MAGLEV_ENTRIES, MAX_POOL_BACKENDS};
use crate::addr::{Addr, Port};

/// Most members of a VIP: each is a backend of one pool.
pub const MAX_VIP_MEMBERS: usize = MAX_POOL_BACKENDS;
/// Entries of VIP_SETS for each family: one in use, one being written, and two that a program which was interrupted
/// for long may still read.
pub const VIP_GENERATIONS: u32 = 4;
/// Entries of VIP_SETS, and of VIP_WAYS: those of IPv4, then those of IPv6.
pub const VIP_SETS: u32 = VIP_GENERATIONS * 2;
/// Flows that each CPU remembers: 0.5 MB. What is forgotten is found again by asking around.
pub const VIP_FLOWS_PER_CPU: u32 = 4096;
/// A place that no member has.
pub const NO_MEMBER: u32 = u32::MAX;

/// Value of VIP_CONTROL: what the program serves.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipControl {
    /// The interface's MAC address, see [`mac_word`]. Frames for others are left alone.
    pub mac: u64,
    /// One more than the entry of VIP_SETS that holds for IPv4, then IPv6; 0 when there is no such VIP.
    pub sets: [u32; 2],
    /// The interface's largest packet in bytes. What is larger was put together from several.
    pub mtu: u32,
    /// Bit 0 when the agent has put the IPv4 VIP on the loopback interface, bit 1 for IPv6: it takes away nothing else.
    pub added: u32,
}

/// A control-plane host that serves the VIP.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipMember {
    /// Its own address, which is also its backend's.
    pub addr: Addr,
    /// A hash of that address, the same on every member.
    pub hash: u32,
    /// Index into VERDICT.
    pub backend: u32,
    /// Epoch of that id.
    pub epoch: u32,
}

impl VipMember {
    /// A place that nobody has.
    pub const EMPTY: Self =
        Self { addr: Addr::UNSPECIFIED, hash: 0, backend: super::NO_BACKEND, epoch: 0 };

    /// The member that has this address and backend.
    #[must_use]
    pub const fn new(addr: Addr, backend: u32, epoch: u32) -> Self {
        Self { addr, hash: crate::vip::hash_of(addr), backend, epoch }
    }
}

/// Value of VIP_SETS: the VIP of one family and all its members, healthy or not.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipSet {
    /// The VIP.
    pub vip: Addr,
    /// Its port, and that of every backend.
    pub port: Port,
    /// Keeps the layout free of padding; zero.
    pub reserved: u16,
    /// How many of `members` are in use.
    pub len: u32,
    /// This host's place; [`NO_MEMBER`] when it has none.
    pub own: u32,
    /// The members in the order of their addresses, which is the same on every member; then [`VipMember::EMPTY`].
    pub members: [VipMember; MAX_VIP_MEMBERS],
    /// The Maglev table over all of them: places. The last entry is padding.
    pub maglev: [u8; MAGLEV_ENTRIES + 1],
}

impl VipSet {
    /// A VIP without members.
    #[must_use]
    pub const fn empty(vip: Addr, port: Port) -> Self {
        Self {
            vip,
            port,
            reserved: 0,
            len: 0,
            own: NO_MEMBER,
            members: [VipMember::EMPTY; MAX_VIP_MEMBERS],
            maglev: [0; MAGLEV_ENTRIES + 1],
        }
    }

    /// The members.
    pub fn iter(&self) -> impl Iterator<Item = &VipMember> {
        self.members.iter().take(self.len as usize)
    }
}

/// Bits of [`VipWay::to`] above the address.
pub mod way_flags {
    /// The way is known. While it is not, the kernel's own tables are asked.
    pub const KNOWN: u64 = 1 << 48;
    /// Packets go in a tunnel: the member is not on the link, or it is wanted so.
    pub const TUNNEL: u64 = 1 << 49;
    /// No packets go in a tunnel: it is wanted so.
    pub const LINK_ONLY: u64 = 1 << 50;
}

/// How frames reach a member.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipWay {
    /// MAC address of the member or router, see [`mac_word`], with [`way_flags`].
    pub to: u64,
    /// MAC address of the interface where they leave.
    pub from: u64,
    /// That interface's number.
    pub interface: u32,
    /// The largest packet that goes that way, in bytes.
    pub mtu: u32,
}

/// Value of VIP_WAYS: the ways to the members of the set with the same index, by place.
pub type VipWays = [VipWay; MAX_VIP_MEMBERS];

/// A MAC address in the low 48 bits of a word, its first byte lowest: as a little-endian machine reads it.
#[must_use]
pub const fn mac_word(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// The MAC address in the low 48 bits of a word.
#[inline(always)]
#[must_use]
pub const fn mac_bytes(word: u64) -> [u8; 6] {
    let [a, b, c, d, e, f, _, _] = word.to_le_bytes();
    [a, b, c, d, e, f]
}

/// Key of VIP_FLOWS: a client's end of a connection with the VIP.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VipFlow {
    /// The client.
    pub client: Addr,
    /// Its port.
    pub port: Port,
    /// 0 for IPv4, 1 for IPv6: the port of the VIP is the same for both.
    pub family: u16,
}

/// Value of VIP_FLOWS, one aligned word: to whom the flow was sent, and when.
///
/// Bits 0..8 the backend's id, 8..16 the low bits of its epoch, 16..32 the second, 32..64 the hash of the flow: an
/// entry may become another flow's while it is read.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipEntry(u64);

/// An entry that was not used for so many seconds is none. A client's port comes back after a minute at the
/// earliest, and may then stand for another connection.
const ENTRY_LASTS_S: u16 = 50;

#[expect(clippy::cast_possible_truncation, reason = "bit fields, and the second wraps")]
impl VipEntry {
    /// A flow with this hash goes to this member.
    #[inline(always)]
    #[must_use]
    pub const fn new(member: &VipMember, hash: u32, now_s: u32) -> Self {
        let whose = (member.backend as u8 as u64) | (member.epoch as u8 as u64) << 8;
        Self(whose | (now_s as u16 as u64) << 16 | (hash as u64) << 32)
    }

    /// From the word in the map.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word in the map.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Whether this is of the flow with this hash, and of late.
    #[inline(always)]
    #[must_use]
    pub const fn holds(self, hash: u32, now_s: u32) -> bool {
        let age = (now_s as u16).wrapping_sub((self.0 >> 16) as u16);
        (self.0 >> 32) as u32 == hash && age < ENTRY_LASTS_S
    }

    /// Whether this is so old that it is worth writing again.
    #[inline(always)]
    #[must_use]
    pub const fn ages(self, now_s: u32) -> bool {
        (now_s as u16).wrapping_sub((self.0 >> 16) as u16) > ENTRY_LASTS_S / 4
    }

    /// Whether it names this member.
    #[inline(always)]
    #[must_use]
    pub const fn names(self, member: &VipMember) -> bool {
        (self.0 as u16) == (member.backend as u8 as u16) | (member.epoch as u8 as u16) << 8
    }
}

const _: () = {
    // An id takes eight bits of an entry.
    assert!(super::MAX_BACKENDS <= 256);
    assert!(size_of::<VipControl>() == 24);
    assert!(size_of::<VipMember>() == 28);
    assert!(size_of::<VipSet>() == 28 + 28 * MAX_VIP_MEMBERS + 252);
    assert!(size_of::<VipWay>() == 24);
    assert!(size_of::<VipFlow>() == 20 && align_of::<VipFlow>() == 4);
};

macro_rules! outcomes {
    ($($(#[doc = $help:literal])+ $name:ident = $label:literal,)+) => {
        /// What became of a packet for the VIP: index into VIP_STATS.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum VipOutcome {
            $($(#[doc = $help])+ $name,)+
        }

        impl VipOutcome {
            /// Every outcome, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name used in metrics, status and documents.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// What is counted, in one sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($help),+),)+ }
            }
        }
    };
}

outcomes! {
    /// Packets that this host serves itself.
    Local = "local",
    /// Packets sent to the member that the flow's order has for them.
    Forwarded = "forwarded",
    /// Packets of a flow that this host does not have, sent to the next in the flow's order.
    SecondChance = "second_chance",
    /// Packets of a flow that no further member can have, left to this host, which resets the connection.
    LastChance = "last_chance",
    /// Packets that came in a tunnel from another member.
    Decapsulated = "decapsulated",
    /// Requests for the VIP's MAC address answered.
    Answered = "answered",
    /// Requests for the VIP's MAC address dropped, because another member is the owner.
    Unanswered = "unanswered",
    /// Clients told that their packets are too long for the tunnel.
    TooBig = "too_big",
    /// Packets dropped because they are too long for the tunnel and their sender is not to be told: they may be
    /// fragmented, or were put together from several by the interface.
    TooLong = "too_long",
    /// Packets dropped because the way to the member is not known.
    NoWay = "no_way",
    /// Packets dropped because they were forwarded too often.
    Expired = "expired",
    /// Packets dropped because the frame could not be changed.
    Failed = "failed",
}

impl VipOutcome {
    /// Those that lose a packet.
    pub const DROPPED: [Self; 4] = [Self::TooLong, Self::NoWay, Self::Expired, Self::Failed];
}

/// Entries of VIP_STATS, with room for outcomes to come.
pub const VIP_STATS_ENTRIES: u32 = 32;

const _: () = assert!(VipOutcome::ALL.len() < VIP_STATS_ENTRIES as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mac_address_survives_the_word_and_its_flags(mac: [u8; 6]) {
            let word = mac_word(mac) | way_flags::KNOWN | way_flags::TUNNEL;
            prop_assert_eq!(mac_bytes(word), mac);
        }

        #[test]
        fn an_entry_is_of_one_flow_one_member_and_some_seconds(
            backend in 0u32..256, epoch: u32, hash: u32, now_s: u32
        ) {
            let member = VipMember { backend, epoch, ..VipMember::EMPTY };
            let entry = VipEntry::from_word(VipEntry::new(&member, hash, now_s).word());
            prop_assert!(entry.names(&member) && entry.holds(hash, now_s) && !entry.ages(now_s));
            prop_assert!(!entry.holds(hash ^ 1, now_s));
            let later = now_s.wrapping_add(u32::from(ENTRY_LASTS_S));
            prop_assert!(entry.ages(later) && !entry.holds(hash, later));
            let others = [
                VipMember { epoch: epoch.wrapping_add(1), ..member },
                VipMember { backend: backend ^ 1, ..member },
            ];
            prop_assert!(others.iter().all(|other| !entry.names(other)));
        }
    }
}
