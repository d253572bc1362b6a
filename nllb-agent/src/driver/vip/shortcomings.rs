//! What keeps the VIP from being what clients expect, though it is served as configured: settings of the host that only its
//! administrator can change.

use nix::net::if_::if_indextoname;
use nllb_common::maps::{VipWay, way_flags};
use nllb_core::vip::{Ownership, VipPlan};

use super::ServedVip;
use crate::datapath::vip::Mode;
use crate::network::features::merges;
use crate::network::vicinity::{Interface, answering, arp_announce};

/// The least value of `arp_announce` with which the VIP is never named as the sender of an ARP request.
const ARP_ANNOUNCE: u8 = 2;

impl ServedVip {
    /// One line each.
    pub(super) fn shortcomings(&self, plan: &VipPlan) -> Vec<String> {
        let Some((interface, mode)) = &self.interface else { return Vec::new() };
        let announced = self.sets[0].is_some().then(|| announced(&interface.name)).flatten();
        let of_members = [self.astray(interface), self.merged(interface, *mode)];
        let of_members = of_members.into_iter().flatten();
        announced.into_iter().chain(answered(plan, interface)).chain(of_members).collect()
    }

    /// Whether packets are put together before the program sees them, where they then go into a tunnel. In the driver it sees
    /// them as they came.
    fn merged(&self, interface: &Interface, mode: Mode) -> Option<String> {
        let is_tunnel = |way: &VipWay| {
            way.to & (way_flags::KNOWN | way_flags::TUNNEL) == way_flags::KNOWN | way_flags::TUNNEL
        };
        let (member, _) = self.known.iter().find(|(_, way)| is_tunnel(way))?;
        let is_merging = mode == Mode::Generic && merges(interface.index).is_ok_and(|it| it);
        is_merging.then(|| {
            let name = &interface.name;
            format!(
                "{name} puts packets together, and what does not fit into the tunnel to {member} then is dropped: ethtool -K \
                 {name} gro off lro off, or the program in the driver (vip.mode: native)"
            )
        })
    }

    /// Members that are reached by another interface than the one with the program.
    fn astray(&self, interface: &Interface) -> Option<String> {
        let is_known = |to: u64| to & way_flags::KNOWN != 0;
        let astray = self
            .known
            .iter()
            .filter(|(_, way)| is_known(way.to) && way.interface != interface.index);
        let astray: Vec<_> = astray.collect();
        let (_, first) = astray.first()?;
        let by = if_indextoname(first.interface);
        let by = by.ok().and_then(|name| name.into_string().ok());
        let by = by.unwrap_or_else(|| first.interface.to_string());
        let members: Vec<_> = astray.iter().map(|(member, _)| member.to_string()).collect();
        let (members, name) = (members.join(", "), &interface.name);
        Some(format!(
            "{members} is reached by {by}, and the VIP's program is on {name}: what comes from there to this host is not seen; let \
             the members reach each other by one interface and name it (vip.interface)"
        ))
    }
}

/// Whether this host names the VIP in ARP requests of its own.
fn announced(name: &str) -> Option<String> {
    arp_announce(name).filter(|value| *value < ARP_ANNOUNCE)?;
    Some(format!(
        "net.ipv4.conf.{name}.arp_announce is less than {ARP_ANNOUNCE}, so this host names the VIP as its own \
         in ARP requests, and neighbours send to it what is for the owner; set it to {ARP_ANNOUNCE}"
    ))
}

/// Whether the kernel answers for the VIP elsewhere than at the program's interface. Who routes to the VIP asks for members.
fn answered(plan: &VipPlan, interface: &Interface) -> Option<String> {
    let vip = plan.v4.filter(|_| plan.ownership != Ownership::Ecmp)?;
    let names = answering(vip, &interface.name);
    let name = names.first()?;
    let all = names.join(", ");
    Some(format!(
        "the kernel answers ARP requests for {vip} at {all}, whoever owns it: the VIP's program is only on {}; set \
         net.ipv4.conf.all.arp_ignore to 1, or net.ipv4.conf.{name}.arp_ignore",
        interface.name
    ))
}
