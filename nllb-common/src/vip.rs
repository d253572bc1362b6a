//! Which member of the control-plane VIP a packet is for: pure, so that the kernel program and the tests on the host
//! run the same code.
//!
//! Every flow has an order of all members, which follows from its addresses and ports and from those of the members
//! alone: the Maglev table gives the first, rendezvous hashing (D. Thaler, C. Ravishankar, "Using name-based mappings
//! to increase hit rates", 1998) the others. So it is the same on every member, and who joins or leaves moves few flows.
//! Health is applied afterwards. A SYN goes to the best there is; whatever follows goes to the first that is not
//! dead, and who does not have the flow hands it to the next, as in GitHub's load balancer ("second chance"). Nothing
//! is shared between members, and no state that a flood could wash out is needed: where a flow was opened while those
//! before it were out, it is found by going along the order. A packet only ever goes on along the order, so
//! that ends.

use crate::addr::{Addr, Port};
use crate::maps::{
    MAGLEV_ENTRIES, MAX_VIP_MEMBERS, NO_MEMBER, State, Verdict, VipEntry, VipMember, VipSet,
};
use crate::mix;
use crate::pick::rung;

/// The bits that set two members of the same hash apart: their places.
const PLACE_BITS: u32 = 0xf;
/// The bit of the member that the Maglev table has for the flow.
const FIRST: u32 = 1 << 31;

const _: () = assert!(MAX_VIP_MEMBERS == PLACE_BITS as usize + 1);

/// A hash of an address that is the same on every machine and in every version.
#[must_use]
pub const fn hash_of(addr: Addr) -> u32 {
    let [a, b, c, d] = addr.v6_words();
    let hash = mix(0x7669_7001 ^ u32::from_be(a));
    let hash = mix(hash.rotate_left(5) ^ u32::from_be(b));
    let hash = mix(hash.rotate_left(5) ^ u32::from_be(c));
    mix(hash.rotate_left(5) ^ u32::from_be(d))
}

/// A hash of a flow that is the same on every member. The VIP is not in it: there is one of each family.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a port has 16 bits")]
pub const fn flow_hash(client: Addr, port: Port) -> u32 {
    let [a, b, c, d] = client.v6_words();
    // Of a v4 address the first words are constant. The port comes last and is mixed by itself, since it is what
    // differs between flows.
    let net = u32::from_be(a) ^ u32::from_be(b).rotate_left(11) ^ u32::from_be(c).rotate_left(22);
    mix(mix(net ^ mix(u32::from_be(d))) ^ (u16::from_be(port.word() as u16) as u32) << 8)
}

/// What the order of a flow is judged by: the agent's verdicts.
pub trait View {
    /// The agent's word on the backend with this id.
    fn verdict(&self, backend: u32) -> Verdict;
}

/// A flow as one member sees it.
#[derive(Clone, Copy)]
pub struct Flow<'a> {
    /// The members.
    pub set: &'a VipSet,
    /// Of [`flow_hash`].
    pub hash: u32,
    /// Whether the agent's lease holds. When not, nobody is known to be out.
    pub lease_valid: bool,
    /// Zero, of which the verifier knows nothing.
    pub zero: u32,
}

/// What a packet is, as far as its way is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It opens a connection.
    Opening,
    /// It belongs to one that is there, or was.
    Ongoing,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is for this host, whether it has the flow or not.
    Keep,
    /// This host keeps it if it has the flow; if not, see [`Flow::next`].
    Look,
    /// It is for the member at this place.
    Forward(u32),
}

impl Flow<'_> {
    /// What to do with a packet. `forwarded`: another member has decided that it is for this one. `known`: what
    /// was noted of the flow.
    #[inline(always)]
    pub fn step<V: View>(
        &self,
        view: &V,
        kind: Kind,
        forwarded: bool,
        known: Option<VipEntry>,
    ) -> Step {
        match (kind, forwarded) {
            (Kind::Opening, true) => Step::Keep,
            (Kind::Opening, false) => {
                let place = self.opening(view);
                if place == NO_MEMBER || place == self.set.own {
                    Step::Keep
                } else {
                    Step::Forward(place)
                }
            }
            (Kind::Ongoing, true) => Step::Look,
            (Kind::Ongoing, false) => {
                let place = known.map_or(NO_MEMBER, |entry| self.noted(view, entry));
                if place == NO_MEMBER || place == self.set.own {
                    Step::Look
                } else {
                    Step::Forward(place)
                }
            }
        }
    }

    /// Whom to hand a packet of a flow that this host does not have; [`NO_MEMBER`] when nobody else can have it, so
    /// that this host is to tell the client. A packet that was `forwarded` goes on along the order and never back.
    #[inline(always)]
    pub fn next<V: View>(&self, view: &V, forwarded: bool) -> u32 {
        let own = self.set.own;
        let limit =
            if forwarded && own != NO_MEMBER { self.rank(own) } else { u32::MAX } ^ self.zero;
        self.greatest(|place, member| {
            let rank = self.rank(place);
            let may = place != own && rank < limit && !self.is_dead(view, member);
            if may { 1 << 32 | u64::from(rank) } else { 0 }
        })
    }

    /// The member for a new connection: the first in the order among those that are best off, down the ladder
    /// of [`crate::pick`].
    #[inline(always)]
    fn opening<V: View>(&self, view: &V) -> u32 {
        self.greatest(|place, member| {
            let rung = if self.lease_valid { self.rung(view, member) } else { 0 } ^ self.zero;
            u64::from(16 - (rung & 0xf)) << 32 | u64::from(self.rank(place))
        })
    }

    /// The place of the member that was noted; [`NO_MEMBER`] when it is none any more, or dead.
    #[inline(always)]
    fn noted<V: View>(&self, view: &V, entry: VipEntry) -> u32 {
        self.greatest(|_, member| u64::from(entry.names(member) && !self.is_dead(view, member)))
    }

    /// A place of which nothing is greater than zero, or that of the greatest.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a place is below MAX_VIP_MEMBERS")]
    fn greatest(&self, key: impl Fn(u32, &VipMember) -> u64) -> u32 {
        let mut best = u64::from(self.zero);
        let mut found = NO_MEMBER ^ self.zero;
        for place in 0..MAX_VIP_MEMBERS {
            if place >= self.set.len as usize {
                break;
            }
            let key = key(place as u32, &self.set.members[place]) ^ u64::from(self.zero);
            // By copies: the verifier would learn something of the originals.
            if key ^ u64::from(self.zero) > best ^ u64::from(self.zero) {
                best = key;
                found = place as u32 ^ self.zero;
            }
        }
        found
    }

    /// How early a member is in the order: the greatest is the first. No two have the same.
    #[inline(always)]
    fn rank(&self, place: u32) -> u32 {
        let entry = (u64::from(self.hash) * MAGLEV_ENTRIES as u64) >> 32;
        let first = u32::from(self.set.maglev[entry as usize]);
        let member = &self.set.members[place as usize % MAX_VIP_MEMBERS];
        let draw = mix(self.hash ^ member.hash) >> 1 & !PLACE_BITS | place & PLACE_BITS;
        draw | (FIRST & 0u32.wrapping_sub(u32::from(first == place) ^ self.zero))
    }

    /// The rung of a member whose verdict holds.
    #[inline(always)]
    fn rung<V: View>(&self, view: &V, member: &VipMember) -> u32 {
        let verdict = self.verdict(view, member);
        rung(verdict.state_number(), verdict.doubt_number())
    }

    #[inline(always)]
    fn is_dead<V: View>(&self, view: &V, member: &VipMember) -> bool {
        self.lease_valid && self.verdict(view, member).state_number() == State::Unhealthy as u32
    }

    /// The verdict on a member; on one of another epoch there is none yet.
    #[inline(always)]
    fn verdict<V: View>(&self, view: &V, member: &VipMember) -> Verdict {
        let verdict = view.verdict(member.backend);
        let same = u64::from(verdict.epoch() == member.epoch) ^ u64::from(self.zero);
        Verdict::from_word(verdict.word() & 0u64.wrapping_sub(same))
    }
}

/// Whether a packet fits into a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Fits,
    /// It does not, and its sender is to send packets of this size at most, in bytes.
    Tell(u32),
    /// It does not, and its sender cannot be told.
    Drop,
}

/// The least that every link of a family carries in one piece, in bytes (RFC 791, RFC 8200). A sender would not
/// believe less.
const LEAST_MTU: [u32; 2] = [68, 1280];

/// Whether a packet of `length` bytes fits into a tunnel whose header takes `overhead`, on a way of this `mtu`.
/// `received`: the most that comes in in one piece; a longer one was put together by the interface, and its sender sent
/// nothing that is too long. `whole`: it must not be fragmented.
#[inline(always)]
#[must_use]
pub const fn fit(
    length: u32,
    overhead: u32,
    mtu: u32,
    received: u32,
    whole: bool,
    v6: bool,
) -> Fit {
    if length + overhead <= mtu {
        return Fit::Fits;
    }
    if length > received || !whole {
        return Fit::Drop;
    }
    let room = mtu.saturating_sub(overhead);
    let least = LEAST_MTU[v6 as usize];
    Fit::Tell(if room < least { least } else { room })
}

#[cfg(test)]
mod tests;
