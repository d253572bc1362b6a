//! Who serves the VIP: the same set on every member, but for which of them this host is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nllb_common::addr::Port;
use nllb_common::maps::{MAGLEV_ENTRIES, MAX_VIP_MEMBERS, NO_MEMBER, Slot, VipMember, VipSet};
use nllb_common::{Addr, Family};

use super::VipPlan;
use crate::backend::BackendId;
use crate::maglev;

/// A backend that may be a member: its id, the epoch of that, and its address.
pub type Candidate = (BackendId, u32, SocketAddr);

/// How long who is no longer a candidate stays a member: longer than an API server that is replaced, or a source that is
/// being written anew, leaves a host unnamed.
pub const DEPARTED_STAYS: Duration = Duration::from_secs(60);

/// Who was a candidate of late. A member that is not named for a moment would take its connections with it. While it stays it
/// has no verdict, so it gets no new ones where anybody else does.
#[derive(Clone, Debug, Default)]
pub struct Roll(BTreeMap<SocketAddr, (Candidate, Instant)>);

impl Roll {
    /// These are the candidates now. Gives them, and those who have departed of late as far as a set has room for them.
    #[must_use]
    pub fn call(&mut self, present: Vec<Candidate>, now: Instant) -> Vec<Candidate> {
        self.0.extend(present.iter().map(|candidate| (candidate.2, (*candidate, now))));
        self.0.retain(|_, (_, seen)| now.saturating_duration_since(*seen) < DEPARTED_STAYS);
        let mut all = present;
        for (addr, (candidate, seen)) in &self.0 {
            let of_family = all.iter().filter(|(_, _, one)| family(one) == family(addr)).count();
            if *seen != now && of_family < MAX_VIP_MEMBERS {
                all.push(*candidate);
            }
        }
        all
    }
}

/// The set of each family of which there is a VIP, IPv4 first: the backends of that family at the VIP's port, in the
/// order of their addresses. Where there are more than a set holds, the last are left out, on every member the
/// same. `own`: this host's addresses.
#[must_use]
pub fn sets(
    plan: &VipPlan,
    candidates: &[Candidate],
    own: &BTreeSet<IpAddr>,
) -> [Option<VipSet>; 2] {
    let of = |vip: Option<IpAddr>| Some(set(vip?, plan.port, candidates, own));
    [of(plan.v4.map(IpAddr::V4)), of(plan.v6.map(IpAddr::V6))]
}

#[expect(clippy::cast_possible_truncation, reason = "at most MAX_VIP_MEMBERS")]
fn set(vip: IpAddr, port: u16, candidates: &[Candidate], own: &BTreeSet<IpAddr>) -> VipSet {
    let vip = Addr::from(vip);
    let is_served = |addr: &SocketAddr| addr.port() == port && family(addr) == vip.family();
    let mut members: Vec<_> = candidates.iter().filter(|(_, _, addr)| is_served(addr)).collect();
    members.sort_by_key(|(_, _, addr)| addr.ip().to_canonical());
    members.dedup_by_key(|(_, _, addr)| addr.ip().to_canonical());
    members.truncate(MAX_VIP_MEMBERS);
    let mut set = VipSet { len: members.len() as u32, ..VipSet::empty(vip, Port::new(port)) };
    let mut slots = Vec::with_capacity(members.len());
    for (place, (id, epoch, addr)) in members.into_iter().enumerate() {
        let ip = addr.ip().to_canonical();
        set.members[place] = VipMember::new(ip.into(), id.0, *epoch);
        slots.push(Slot::new(ip.into(), Port::new(port), id.0, *epoch));
        if own.contains(&ip) {
            set.own = place as u32;
        }
    }
    set.maglev[..MAGLEV_ENTRIES].copy_from_slice(&maglev::table(&slots));
    set
}

fn family(addr: &SocketAddr) -> Family {
    Addr::from(addr.ip()).family()
}

/// The address of each member, and whether it is this host.
pub fn members(set: &VipSet) -> impl Iterator<Item = (IpAddr, bool)> {
    let is_own = |place| set.own != NO_MEMBER && set.own == place;
    (0u32..).zip(set.iter()).map(move |(place, member)| (member.addr.into(), is_own(place)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vip::{Forwarding, Ownership, XdpMode};

    fn plan() -> VipPlan {
        VipPlan {
            v4: Some([10, 0, 0, 100].into()),
            v6: Some("fd00::100".parse().expect("an address")),
            port: 6443,
            pool: "apiserver".to_owned(),
            interface: None,
            mode: XdpMode::Auto,
            forwarding: Forwarding::Auto,
            ownership: Ownership::None,
        }
    }

    fn candidates(addresses: &[&str]) -> Vec<Candidate> {
        let parse = |text: &&str| text.parse().expect("an address");
        (0u32..).zip(addresses.iter().map(parse)).map(|(id, a)| (BackendId(id), 7, a)).collect()
    }

    #[test]
    fn every_member_has_the_same_set_in_whatever_order_it_learned_of_the_others() {
        let mut here = candidates(&["10.0.0.2:6443", "10.0.0.1:6443", "10.0.0.3:6443"]);
        let own = |ip: &str| BTreeSet::from([ip.parse().expect("an address")]);
        let [one, _] = sets(&plan(), &here, &own("10.0.0.1"));
        let one = one.expect("a VIP");
        assert!(members(&one).eq([
            ("10.0.0.1".parse().expect("an address"), true),
            ("10.0.0.2".parse().expect("an address"), false),
            ("10.0.0.3".parse().expect("an address"), false),
        ]));
        assert_eq!(one.members[0].backend, 1, "each keeps its id");
        here.reverse();
        let [two, _] = sets(&plan(), &here, &own("10.0.0.3"));
        let two = two.expect("a VIP");
        assert_eq!((two.own, VipSet { own: one.own, ..two }), (2, one));
    }

    #[test]
    fn each_family_has_its_own_members_at_the_port_of_the_vip() {
        let all =
            candidates(&["10.0.0.1:6443", "[fd00::1]:6443", "10.0.0.2:443", "[fd00::2]:6443"]);
        let [v4, v6] = sets(&plan(), &all, &BTreeSet::new());
        let count = |set: Option<VipSet>| set.map(|set| (set.len, set.own));
        assert_eq!((count(v4), count(v6)), (Some((1, NO_MEMBER)), Some((2, NO_MEMBER))));
        let [v4, v6] = sets(&VipPlan { v6: None, ..plan() }, &[], &BTreeSet::new());
        assert_eq!((count(v4), v6), (Some((0, NO_MEMBER)), None));
    }

    #[test]
    fn who_departs_stays_for_a_while_unless_others_need_the_place() {
        let both = candidates(&["10.0.0.1:6443", "10.0.0.2:6443"]);
        let (start, mut roll) = (Instant::now(), Roll::default());
        assert_eq!(roll.call(both.clone(), start), both);
        let one = vec![both[0]];
        let second = Duration::from_secs(1);
        assert_eq!(roll.call(one.clone(), start + second), both);
        let back = (BackendId(9), 8, both[1].2);
        let returned = vec![both[0], back];
        assert_eq!(roll.call(returned.clone(), start + 2 * second), returned, "under its new id");
        assert_eq!(roll.call(one.clone(), start + DEPARTED_STAYS), returned);
        let many: Vec<_> = (1..=16).map(|n| format!("10.0.1.{n}:6443")).collect();
        let many = candidates(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(roll.call(many.clone(), start + DEPARTED_STAYS + second), many);
        let left = roll.call(one.clone(), start + 2 * second + DEPARTED_STAYS);
        assert!(left.len() > 1 && !left.contains(&back), "its time is over: {left:?}");
    }

    #[test]
    fn more_members_than_there_is_room_for_are_left_out() {
        let many: Vec<_> = (1..=20).map(|n| format!("10.0.0.{n}:6443")).collect();
        let many = candidates(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let [v4, _] = sets(&plan(), &many, &BTreeSet::new());
        assert_eq!(v4.map(|set| set.iter().count()), Some(MAX_VIP_MEMBERS));
    }
}
