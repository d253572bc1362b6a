//! The order of a flow among members that disagree: the same on each, found by all, and never without end.

use std::vec::Vec;

use core::net::{IpAddr, Ipv4Addr};
use proptest::prelude::*;

use super::*;
use crate::maps::MAGLEV_ENTRIES;

/// Verdicts by place: the backend of a member has the same number here.
struct Verdicts(Vec<State>);

impl View for Verdicts {
    fn verdict(&self, backend: u32) -> Verdict {
        Verdict::new(self.0[backend as usize], 0, 1, 1)
    }
}

fn addr(last: u8) -> Addr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)).into()
}

/// A set of so many members as the one at `own` sees it. Any table will do, as long as it is the same for all.
fn set(len: u8, own: u32) -> VipSet {
    let mut set = VipSet { len: len.into(), own, ..VipSet::empty(addr(100), Port::new(6443)) };
    for place in 0..len {
        set.members[usize::from(place)] = VipMember::new(addr(place + 1), place.into(), 1);
    }
    for (entry, place) in set.maglev[..MAGLEV_ENTRIES].iter_mut().zip(0u8..) {
        *entry = place % len.max(1);
    }
    set
}

fn flow(set: &VipSet, hash: u32) -> Flow<'_> {
    Flow { set, hash, lease_valid: true, zero: 0 }
}

fn client(number: u32) -> u32 {
    let [a, b, c, d] = number.to_be_bytes();
    let ip = Ipv4Addr::new(192, a, b, c);
    flow_hash(IpAddr::V4(ip).into(), Port::new(32768 + u16::from(d) * 7))
}

fn all(state: State, len: u8) -> Verdicts {
    Verdicts(std::vec![state; len.into()])
}

/// The whole order of a flow, as the member at `own` finds it.
fn order(len: u8, own: u32, hash: u32) -> Vec<u32> {
    let set = set(len, own);
    let mut ranks: Vec<_> = (0..u32::from(len)).map(|p| (flow(&set, hash).rank(p), p)).collect();
    ranks.sort_unstable();
    ranks.into_iter().rev().map(|(_, place)| place).collect()
}

fn opening(len: u8, own: u32, hash: u32, view: &Verdicts) -> u32 {
    match flow(&set(len, own), hash).step(view, Kind::Opening, false, None) {
        Step::Keep => own,
        Step::Forward(place) => place,
        Step::Look => panic!("a SYN has no flow to look for"),
    }
}

fn states() -> impl Strategy<Value = State> {
    proptest::sample::select(State::ALL.as_slice())
}

/// Where a packet of a flow that only `at` has comes to its end: who took it, if anybody, and after how many hops.
fn travel(len: u8, hash: u32, views: &[Verdicts], first: u32, at: u32) -> (Option<u32>, u32) {
    let (mut here, mut forwarded) = (first, false);
    for hops in 0..=u32::from(len) * 4 {
        let set = set(len, here);
        let (flow, view) = (flow(&set, hash), &views[here as usize]);
        let next = match flow.step(view, Kind::Ongoing, forwarded, None) {
            Step::Look if here == at => return (Some(here), hops),
            Step::Look => flow.next(view, forwarded),
            Step::Forward(place) => place,
            Step::Keep => panic!("nobody keeps what may be another's"),
        };
        if next == NO_MEMBER {
            return (None, hops);
        }
        (here, forwarded) = (next, true);
    }
    panic!("a packet goes round and round");
}

#[test]
fn new_connections_spread_evenly_over_healthy_members() {
    for len in [3u8, 5, 7] {
        let view = all(State::Healthy, len);
        let mut counts = std::vec![0u32; len.into()];
        for number in 0..30_000 {
            counts[opening(len, 0, client(number), &view) as usize] += 1;
        }
        let fair = 30_000 / u32::from(len);
        assert!(counts.iter().all(|count| count.abs_diff(fair) < fair / 10), "{counts:?}");
    }
}

#[test]
fn who_is_dead_loses_its_flows_to_all_others_and_nobody_else_loses_any() {
    let (healthy, mut one_dead) = (all(State::Healthy, 5), all(State::Healthy, 5));
    one_dead.0[2] = State::Unhealthy;
    let mut heirs = [0u32; 5];
    for number in 0..20_000 {
        let hash = client(number);
        let (before, after) = (opening(5, 0, hash, &healthy), opening(5, 0, hash, &one_dead));
        if before == 2 {
            heirs[after as usize] += 1;
        } else {
            assert_eq!(before, after);
        }
    }
    assert_eq!(heirs[2], 0);
    let fair: u32 = heirs.iter().sum::<u32>() / 4;
    let others = heirs.iter().enumerate().filter(|(place, _)| *place != 2);
    for (_, count) in others {
        assert!(count.abs_diff(fair) < fair / 5, "{heirs:?}");
    }
}

#[test]
fn the_ladder_goes_from_healthy_down_to_dead() {
    let ladder =
        [State::Healthy, State::Degraded, State::Draining, State::Unknown, State::Unhealthy];
    for number in 0..200 {
        for best in 0..ladder.len() {
            let mut view = all(State::Unhealthy, 5);
            for (place, state) in ladder.into_iter().skip(best).enumerate() {
                view.0[place] = state;
            }
            let first = opening(5, 4, client(number), &view);
            assert!(first == 0 || ladder[best] == State::Unhealthy, "{best}: {first}");
        }
    }
}

#[test]
fn without_a_lease_and_without_a_verdict_of_this_epoch_nobody_is_out() {
    let hash = client(7);
    let first = order(3, 0, hash)[0];
    let mut set = set(3, (first + 1) % 3);
    let mut view = all(State::Healthy, 3);
    view.0[first as usize] = State::Unhealthy;
    let lapsed = Flow { lease_valid: false, ..flow(&set, hash) };
    assert_eq!(lapsed.step(&view, Kind::Opening, false, None), Step::Forward(first));
    assert_eq!(lapsed.next(&view, false), first);
    assert_ne!(flow(&set, hash).next(&view, false), first);
    set.members[first as usize].epoch = 2;
    assert_eq!(flow(&set, hash).next(&view, false), first);
}

#[test]
fn what_was_noted_counts_while_its_member_is_there_and_not_dead() {
    let hash = client(3);
    let set = set(3, 0);
    let entry = Some(VipEntry::new(&set.members[1], hash, 9));
    let mut view = all(State::Draining, 3);
    let step = |view: &Verdicts, set: &VipSet, entry| {
        flow(set, hash).step(view, Kind::Ongoing, false, entry)
    };
    assert_eq!(step(&view, &set, entry), Step::Forward(1));
    assert_eq!(step(&view, &set, Some(VipEntry::new(&set.members[0], hash, 9))), Step::Look);
    view.0[1] = State::Unhealthy;
    assert_eq!(step(&view, &set, entry), Step::Look);
    let mut other = set;
    other.members[1].epoch = 2;
    assert_eq!(step(&all(State::Healthy, 3), &other, entry), Step::Look);
}

#[test]
fn a_host_that_is_no_member_forwards_all() {
    let set = set(3, NO_MEMBER);
    let view = all(State::Healthy, 3);
    for number in 0..100 {
        let one = flow(&set, client(number));
        assert!(matches!(one.step(&view, Kind::Opening, false, None), Step::Forward(0..3)));
        assert!(one.next(&view, false) < 3);
    }
    let nobody = self::set(0, NO_MEMBER);
    let flow = flow(&nobody, 1);
    assert_eq!(flow.step(&view, Kind::Opening, false, None), Step::Keep);
    assert_eq!(flow.next(&view, false), NO_MEMBER);
}

#[test]
fn what_does_not_fit_into_a_tunnel_is_told_to_who_can_be_told() {
    assert_eq!(fit(1480, 20, 1500, 1500, true, false), Fit::Fits);
    assert_eq!(fit(1481, 20, 1500, 1500, true, false), Fit::Tell(1480));
    assert_eq!(fit(1481, 20, 1500, 1500, false, false), Fit::Drop);
    assert_eq!(fit(4000, 20, 1500, 1500, true, false), Fit::Drop);
    assert_eq!(fit(1461, 40, 1500, 1500, true, true), Fit::Tell(1460));
    assert_eq!(fit(1300, 40, 1280, 1500, true, true), Fit::Tell(1280));
    assert_eq!(fit(100, 20, 0, 1500, true, false), Fit::Tell(68));
}

proptest! {
    #[test]
    fn the_order_is_the_same_on_every_member_and_has_each_once(len in 1u8..=16, hash: u32) {
        let mine = order(len, 0, hash);
        for own in 1..u32::from(len) {
            prop_assert_eq!(&order(len, own, hash), &mine);
        }
        let mut places = mine.clone();
        places.sort_unstable();
        prop_assert!(places.into_iter().eq(0..u32::from(len)));
        let set = set(len, 0);
        let entry = (u64::from(hash) * MAGLEV_ENTRIES as u64) >> 32;
        prop_assert_eq!(mine[0], u32::from(set.maglev[entry as usize]), "Maglev's is the first");
    }

    #[test]
    fn a_packet_comes_to_an_end_whatever_members_think_of_each_other(
        len in 1u8..=8,
        hash: u32,
        first in 0u32..8,
        states in proptest::collection::vec(proptest::collection::vec(states(), 8), 8),
    ) {
        let views: Vec<_> = states.into_iter().map(Verdicts).collect();
        let first = first % u32::from(len);
        let (_, hops) = travel(len, hash, &views, first, NO_MEMBER);
        // Each has it once, and who was the first may get it back once.
        prop_assert!(hops <= u32::from(len), "{hops} hops among {len}");
    }

    #[test]
    fn a_flow_is_found_by_whoever_gets_its_packets_as_long_as_nobody_takes_its_member_for_dead(
        len in 1u8..=8,
        hash: u32,
        opener in 0u32..8,
        first in 0u32..8,
        when_opened in proptest::collection::vec(states(), 8),
        states in proptest::collection::vec(proptest::collection::vec(states(), 8), 8),
    ) {
        let count = u32::from(len);
        let at = opening(len, opener % count, hash, &Verdicts(when_opened));
        let mut views: Vec<_> = states.into_iter().map(Verdicts).collect();
        for view in &mut views {
            view.0[at as usize] = State::Healthy;
        }
        // It is at whoever was best then; those before it in the order do not have it and say so.
        let (found, hops) = travel(len, hash, &views, first % count, at);
        prop_assert_eq!(found, Some(at));
        prop_assert!(hops <= count);
    }
}
