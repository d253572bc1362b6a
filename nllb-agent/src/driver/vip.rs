//! Serves the control-plane VIP: the program on its interface, its members and the ways to them, and its address on this
//! host.
//!
//! All of it is looked at again with every renewal of the lease, and at once when the network or the configuration
//! changes: members come and go with discovery, and neighbours and interfaces without anybody telling.

mod shortcomings;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use nllb_common::maps::{VipSet, VipWay, VipWays, mac_word, way_flags};
use nllb_core::vip::members::Roll;
use nllb_core::vip::{Forwarding, VipPlan, members};
use tracing::{info, warn};

use super::Driver;
use super::upkeep::own_addresses;
use crate::datapath::maps::MapsError;
use crate::datapath::monotonic_ns;
use crate::datapath::vip::{Mode, Vip, VipError, Wanted};
use crate::network::vicinity::{Interface, Neighbour, Vicinity, arp_announce};
use crate::status;

/// The VIP as it is served.
pub(super) struct ServedVip {
    datapath: Vip,
    vicinity: Option<Vicinity>,
    interface: Option<(Interface, Mode)>,
    sets: [Option<VipSet>; 2],
    roll: Roll,
    /// The way to each member, as it was last known.
    known: BTreeMap<IpAddr, VipWay>,
    /// Why it is not served as configured.
    failure: Option<String>,
    /// That, and what else is wrong, one line each.
    problems: Vec<String>,
}

/// Why the VIP is not served as configured.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("rtnetlink cannot be asked")]
    NoVicinity,
    #[error("interface {name}: {source}")]
    Interface {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "no other member can be reached, so it is not known which interface is the VIP's; name it (vip.interface)"
    )]
    NoInterface,
    #[error("interface {name}: it has no MAC address; name another (vip.interface)")]
    NoMac { name: String },
    #[error("{vip} cannot be put on lo: {source}")]
    Address {
        vip: IpAddr,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Program(#[from] VipError),
    #[error(transparent)]
    Maps(#[from] MapsError),
}

impl ServedVip {
    pub(super) fn new(datapath: Vip) -> Self {
        let vicinity = Vicinity::open();
        let vicinity = vicinity.map_err(|error| warn!(%error, "neighbours are not seen")).ok();
        Self {
            datapath,
            vicinity,
            interface: None,
            sets: [None, None],
            roll: Roll::default(),
            known: BTreeMap::new(),
            failure: None,
            problems: Vec::new(),
        }
    }

    /// Why it is not served as configured; `None` when it is.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Serves these sets as planned.
    fn serve(&mut self, plan: &VipPlan, sets: [Option<VipSet>; 2]) -> Result<(), ServeError> {
        let Self { datapath, vicinity, .. } = self;
        let vicinity = vicinity.as_mut().ok_or(ServeError::NoVicinity)?;
        let neighbours = sets.each_ref().map(|set| neighbours(vicinity, set.as_ref()));
        let interface = interface(vicinity, plan, &neighbours)?;
        let name = interface.name.clone();
        let mac = interface.mac.ok_or(ServeError::NoMac { name: name.clone() })?;
        let mut interfaces = BTreeMap::from([(interface.index, interface.clone())]);
        let mut ways = [VipWays::default(); 2];
        let mut known = BTreeMap::new();
        for (family, neighbours) in neighbours.into_iter().enumerate() {
            for (place, (member, neighbour)) in neighbours.into_iter().enumerate() {
                let before = self.known.get(&member).copied();
                let way = way(plan.forwarding, neighbour.as_ref(), before, |index| {
                    Some(match interfaces.entry(index) {
                        Entry::Occupied(found) => found.get().clone(),
                        Entry::Vacant(place) => {
                            place.insert(vicinity.numbered(index).ok()?).clone()
                        }
                    })
                });
                ways[family][place] = way;
                known.insert(member, way);
            }
        }
        self.known = known;
        // What goes to others must be settled before frames are looked at, and an address that clients
        // dial must not answer before.
        let families = [0, 1].map(|family| sets[family].as_ref().map(|set| (set, &ways[family])));
        datapath.serve(mac_word(mac), interface.mtu, families)?;
        let wanted = Wanted {
            interface: interface.index,
            name,
            modes: Wanted::modes(plan.mode, interface.is_veth),
        };
        let mode = datapath.attach(&wanted)?;
        let before = self.interface.replace((interface, mode));
        if before.is_none_or(|before| self.interface.as_ref() != Some(&before)) {
            info!(interface = wanted.name, mode = mode.label(), "the VIP's program is attached");
        }
        self.sets = sets;
        self.add_addresses(plan)
    }

    /// Puts the VIP on this host, where it is a member.
    fn add_addresses(&mut self, plan: &VipPlan) -> Result<(), ServeError> {
        let Self { datapath, vicinity: Some(vicinity), sets, .. } = self else {
            return Err(ServeError::NoVicinity);
        };
        let mut added = datapath.added().map(|ip| ip.is_some());
        for vip in plan.addresses() {
            let family = usize::from(vip.is_ipv6());
            let is_member =
                sets[family].is_some_and(|set| members::members(&set).any(|(_, own)| own));
            if !is_member {
                continue;
            }
            let is_new =
                vicinity.add_address(vip).map_err(|source| ServeError::Address { vip, source })?;
            added[family] |= is_new;
        }
        Ok(datapath.note_added(added)?)
    }

    /// Takes away what is no longer wanted: everything, or the addresses that are not in `keep`.
    fn withdraw(&mut self, keep: &[IpAddr]) -> Result<(), ServeError> {
        let added = self.datapath.added();
        let gone = added.map(|ip| ip.filter(|ip| !keep.contains(ip)));
        let Some(vicinity) = &mut self.vicinity else {
            return Err(ServeError::NoVicinity);
        };
        for vip in gone.into_iter().flatten() {
            vicinity.remove_address(vip).map_err(|source| ServeError::Address { vip, source })?;
        }
        let stays = [0, 1].map(|family| added[family].is_some() && gone[family].is_none());
        Ok(self.datapath.note_added(stays)?)
    }

    /// Serves no VIP: as if there had never been one.
    fn end(&mut self) {
        if let Err(error) = self.withdraw(&[]) {
            warn!(%error, "the VIP stays on lo");
        }
        if let Err(error) = self.datapath.serve_nothing() {
            warn!(%error, "the VIP is served on");
        }
        if self.datapath.is_attached() {
            self.datapath.detach();
            info!("the VIP's program is detached");
        }
        (self.interface, self.sets) = (None, [None, None]);
    }

    /// Answers for the VIP's address until then, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) fn answer_until(&mut self, until_ns: u64) -> Result<(), MapsError> {
        self.datapath.answer_until(until_ns)
    }

    /// The interface where the VIP is served, if it is.
    pub(super) fn interface(&self) -> Option<&Interface> {
        self.interface.as_ref().map(|(interface, _)| interface)
    }
}

impl Driver {
    /// Brings the VIP to what is configured and known by now.
    pub(super) fn serve_vip(&mut self) {
        let Some(plan) = self.config.vip.clone() else {
            if self.vip.datapath.is_attached() || self.vip.datapath.added() != [None, None] {
                self.vip.end();
            }
            self.vip.problems.clear();
            return;
        };
        let own = own_addresses().unwrap_or_default();
        let keep: Vec<_> = plan.addresses().collect();
        let candidates = self.candidates(&plan);
        let candidates = self.vip.roll.call(candidates, Instant::now());
        let sets = members::sets(&plan, &candidates, &own);
        let served = self.vip.withdraw(&keep).and_then(|()| self.vip.serve(&plan, sets));
        let problem = served.err().map(|error| error.to_string());
        if let Some(problem) = &problem {
            if !self.vip.problems.contains(problem) {
                warn!(problem, "the VIP is not served as configured");
            }
        }
        self.vip.failure.clone_from(&problem);
        self.vip.problems = problem.into_iter().chain(self.vip.shortcomings(&plan)).collect();
    }

    /// The backends of the VIP's pool.
    fn candidates(&self, plan: &VipPlan) -> Vec<members::Candidate> {
        let pools = self.machine.view().pools;
        let pool = pools.into_iter().find(|pool| pool.name == plan.pool);
        let backends = pool.map(|pool| pool.backends).unwrap_or_default();
        backends.into_iter().map(|backend| (backend.id, backend.epoch, backend.addr)).collect()
    }
}

impl ServedVip {
    /// What the status document says of it.
    pub(super) fn status(&self, plan: &VipPlan) -> status::Vip {
        let counters = self.datapath.counters().unwrap_or_default();
        let answers_until = self.datapath.answers_until().unwrap_or_default();
        let of_set = |set: &VipSet| members::members(set).collect::<Vec<_>>();
        let members = self.sets.iter().flatten().flat_map(of_set);
        let interface = self.interface.as_ref();
        status::Vip {
            addresses: plan.addresses().collect(),
            port: plan.port,
            pool: plan.pool.clone(),
            interface: interface.map(|(interface, _)| interface.name.clone()),
            mode: interface.map(|(_, mode)| mode.label().to_owned()),
            forwarding: plan.forwarding.label().to_owned(),
            ownership: plan.ownership.label().to_owned(),
            is_owner: answers_until > monotonic_ns(),
            arp_announce: interface.and_then(|(interface, _)| arp_announce(&interface.name)),
            members: members
                .map(|(address, own)| status::VipMember {
                    address,
                    own,
                    way: self
                        .known
                        .get(&address)
                        .filter(|_| !own)
                        .map(|way| way_label(way).to_owned()),
                })
                .collect(),
            problems: self.problems.clone(),
            counters: counters
                .into_iter()
                .map(|(it, count)| (it.label().to_owned(), count))
                .collect(),
        }
    }
}

/// Each member of a set with the way to it.
fn neighbours(vicinity: &mut Vicinity, set: Option<&VipSet>) -> Vec<(IpAddr, Option<Neighbour>)> {
    let members = set.map(|set| members::members(set).collect::<Vec<_>>()).unwrap_or_default();
    let way = |(address, own)| (address, if own { None } else { vicinity.way(address) });
    members.into_iter().map(way).collect()
}

/// The interface that is configured, or that of the ways to most other members.
fn interface(
    vicinity: &mut Vicinity,
    plan: &VipPlan,
    neighbours: &[Vec<(IpAddr, Option<Neighbour>)>; 2],
) -> Result<Interface, ServeError> {
    let found = match &plan.interface {
        Some(name) => vicinity.named(name).map_err(|source| (name.clone(), source)),
        None => {
            let mut counts = BTreeMap::<u32, usize>::new();
            for way in neighbours.iter().flatten().filter_map(|(_, way)| way.as_ref()) {
                *counts.entry(way.interface).or_default() += 1;
            }
            // A route to one of them does not move the VIP.
            let most = counts.into_iter().max_by_key(|(index, count)| (*count, Reverse(*index)));
            let (index, _) = most.ok_or(ServeError::NoInterface)?;
            vicinity.numbered(index).map_err(|source| (index.to_string(), source))
        }
    };
    found.map_err(|(name, source)| ServeError::Interface { name, source })
}

/// How frames reach a member. A neighbour that the kernel has forgotten keeps the MAC address that it had.
fn way(
    forwarding: Forwarding,
    neighbour: Option<&Neighbour>,
    before: Option<VipWay>,
    interface: impl FnOnce(u32) -> Option<Interface>,
) -> VipWay {
    let flags = match forwarding {
        Forwarding::Auto => 0,
        Forwarding::L2 => way_flags::LINK_ONLY,
        Forwarding::Ipip => way_flags::TUNNEL,
    };
    let unknown = VipWay { to: flags, ..VipWay::default() };
    let Some(&Neighbour { interface: index, mac: Some(mac), is_routed }) = neighbour else {
        return before.unwrap_or(unknown);
    };
    let Some(Interface { mac: Some(from), mtu, .. }) = interface(index) else {
        return before.unwrap_or(unknown);
    };
    if is_routed && forwarding == Forwarding::L2 {
        return unknown;
    }
    let tunnel = if is_routed { way_flags::TUNNEL } else { 0 };
    let to = mac_word(mac) | flags | tunnel | way_flags::KNOWN;
    VipWay { to, from: mac_word(from), interface: index, mtu }
}

/// The word for a way in status.
fn way_label(way: &VipWay) -> &'static str {
    if way.to & way_flags::KNOWN == 0 {
        "unknown"
    } else if way.to & way_flags::TUNNEL != 0 {
        "tunnel"
    } else {
        "link"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(mac: Option<[u8; 6]>, is_routed: bool) -> Option<Neighbour> {
        Some(Neighbour { interface: 2, mac, is_routed })
    }

    fn eth0(index: u32) -> Option<Interface> {
        let name = "eth0".to_owned();
        Some(Interface { index, name, mac: Some([2; 6]), mtu: 1500, is_veth: false })
    }

    #[test]
    fn members_on_the_link_get_frames_and_others_tunnels_unless_told_otherwise() {
        let table = [
            (Forwarding::Auto, false, "link"),
            (Forwarding::Auto, true, "tunnel"),
            (Forwarding::L2, false, "link"),
            (Forwarding::L2, true, "unknown"),
            (Forwarding::Ipip, false, "tunnel"),
            (Forwarding::Ipip, true, "tunnel"),
        ];
        for (forwarding, is_routed, label) in table {
            let way = way(forwarding, neighbour(Some([6; 6]), is_routed).as_ref(), None, eth0);
            assert_eq!(way_label(&way), label, "{forwarding:?} {is_routed}");
        }
    }

    #[test]
    fn who_is_forgotten_keeps_the_address_that_was_known() {
        let known = way(Forwarding::Auto, neighbour(Some([6; 6]), false).as_ref(), None, eth0);
        assert_eq!((known.interface, known.mtu, known.from), (2, 1500, mac_word([2; 6])));
        for forgotten in [neighbour(None, false), None] {
            assert_eq!(way(Forwarding::Auto, forgotten.as_ref(), Some(known), eth0), known);
        }
        assert_eq!(way_label(&way(Forwarding::Ipip, None, None, eth0)), "unknown");
    }
}
