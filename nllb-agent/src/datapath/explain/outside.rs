//! What would become of a connection with the control-plane VIP: the kernel's own order of members, run on what the
//! maps hold.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use nllb_common::maps::{NO_MEMBER, State, Verdict, VipSet};
use nllb_common::vip::{Flow, Kind, Step, View, flow_hash};
use nllb_common::{addr, mix};

use super::DRAWS;
use crate::datapath::maps::{Maps, MapsError};

/// What becomes of connections from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Outside {
    /// Whether the agent's verdicts count.
    pub lease_valid: bool,
    /// Every member.
    pub members: Vec<Candidate>,
    /// Who is asked for a connection of the client that was named, in this order, if it is open; the dead are passed.
    pub order: Vec<IpAddr>,
}

/// A member.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is this host.
    pub own: bool,
    /// The agent's verdict on its API server.
    pub state: State,
    /// Share of new connections, from 0 to 1; for one client all or nothing.
    pub share: f64,
}

/// Explains connections with the VIP of a set: of one client, or of any.
///
/// # Errors
/// When a map cannot be read.
pub fn outside(
    maps: &impl Maps,
    set: &VipSet,
    client: Option<SocketAddr>,
    now_ns: u64,
) -> Result<Outside, MapsError> {
    let lease_valid = maps.control()?.lease_until_ns > now_ns;
    let seen = Seen(maps.verdicts()?.into_iter().collect());
    // As any host sees it, so that it is forwarded to whoever it is for.
    let nobody = VipSet { own: NO_MEMBER, ..*set };
    let opening = |hash| Flow { set: &nobody, hash, lease_valid, zero: 0 };
    let begins = |hash| match opening(hash).step(&seen, Kind::Opening, false, None) {
        Step::Forward(place) => Some(place),
        Step::Keep | Step::Look => None,
    };
    let (mut shares, mut order) = (HashMap::new(), Vec::new());
    let client = client.map(addr::split).map(|(ip, port)| flow_hash(ip, port));
    match client {
        Some(hash) => {
            shares.extend(begins(hash).map(|place| (place, 1.0)));
            let mut at = nobody;
            // A packet goes on along the order, and never back.
            loop {
                at.own = Flow { set: &at, hash, lease_valid, zero: 0 }.next(&seen, true);
                let Some(member) = set.iter().nth(at.own as usize) else { break };
                order.push(member.addr.into());
            }
        }
        None => {
            for place in (0..DRAWS).filter_map(|draw| begins(mix(draw))) {
                *shares.entry(place).or_insert(0.0) += 1.0 / f64::from(DRAWS);
            }
        }
    }
    let members = (0u32..).zip(set.iter()).map(|(place, member)| {
        let verdict = seen.verdict(member.backend);
        let known = verdict.epoch() == member.epoch;
        Candidate {
            address: member.addr.into(),
            own: set.own == place,
            state: if known { verdict.state() } else { State::Unknown },
            share: shares.get(&place).copied().unwrap_or_default(),
        }
    });
    Ok(Outside { lease_valid, members: members.collect(), order })
}

struct Seen(HashMap<u32, Verdict>);

impl View for Seen {
    fn verdict(&self, backend: u32) -> Verdict {
        self.0.get(&backend).copied().unwrap_or(Verdict::from_word(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nllb_core::BackendId;
    use nllb_core::vip::{Forwarding, Ownership, VipPlan, XdpMode, members};

    use super::*;
    use crate::datapath::fake::FakeMaps;

    const EPOCH: u32 = 1;

    fn set() -> VipSet {
        let plan = VipPlan {
            v4: Some([10, 0, 0, 100].into()),
            v6: None,
            port: 6443,
            pool: "apiserver".to_owned(),
            interface: None,
            mode: XdpMode::Auto,
            forwarding: Forwarding::Auto,
            ownership: Ownership::None,
        };
        let candidate = |id: u8| (BackendId(id.into()), EPOCH, ([10, 0, 0, id], 6443).into());
        let own = BTreeSet::from([[10, 0, 0, 2].into()]);
        let [v4, _] = members::sets(&plan, &[1, 2, 3].map(candidate), &own);
        v4.expect("a VIP")
    }

    fn maps(states: [State; 3]) -> FakeMaps {
        let mut maps = FakeMaps::default();
        for (id, state) in (1..).zip(states) {
            maps.set_verdict(id, Verdict::new(state, 0, 1, EPOCH)).expect("room");
        }
        let mut control = maps.control().expect("one");
        control.lease_until_ns = 2_000;
        maps.set_control(control).expect("room");
        maps
    }

    #[test]
    fn healthy_members_share_new_connections_and_dead_ones_get_none() {
        let maps = maps([State::Healthy, State::Healthy, State::Unhealthy]);
        let found = outside(&maps, &set(), None, 1_000).expect("readable");
        let shares: Vec<_> = found.members.iter().map(|member| member.share).collect();
        assert!((0.4..0.6).contains(&shares[0]) && (0.4..0.6).contains(&shares[1]), "{shares:?}");
        assert!(shares[2] == 0.0 && found.order.is_empty(), "{found:?}");
        let own: Vec<_> = found.members.iter().map(|member| member.own).collect();
        assert_eq!(own, [false, true, false]);
        let lapsed = outside(&maps, &set(), None, 3_000).expect("readable");
        assert!(!lapsed.lease_valid && lapsed.members.iter().all(|one| one.share > 0.25));
    }

    #[test]
    fn a_client_begins_with_one_member_and_is_looked_for_at_each_that_is_not_dead() {
        let maps = maps([State::Healthy, State::Draining, State::Unhealthy]);
        for port in 1..100 {
            let client = Some(([192, 0, 2, 7], port).into());
            let found = outside(&maps, &set(), client, 1_000).expect("readable");
            let shares: Vec<_> = found.members.iter().map(|member| member.share).collect();
            assert_eq!(shares, [1.0, 0.0, 0.0], "the only one that is well");
            let order: BTreeSet<IpAddr> = found.order.iter().copied().collect();
            assert_eq!((found.order.len(), order.len()), (2, 2), "{found:?}");
            assert!(!order.contains(&IpAddr::from([10, 0, 0, 3])), "{found:?}");
        }
    }
}
