//! Series of the control-plane VIP. Without one there are none.

use super::{Counters, Gauges, Seconds, counter, gauge, millis, result, seconds};
use crate::status::{Vip, VipMember, VipOwnership};
use prometheus_client::registry::{Registry, Unit};

/// Every series of the VIP.
#[derive(Debug, Default)]
pub(super) struct VipSeries {
    attached: Gauges,
    owner: Gauges,
    info: Gauges,
    members: Gauges,
    problems: Gauges,
    packets: Counters,
    fit: Gauges,
    lease_remaining: Seconds,
    changes: Counters,
    lease_requests: Counters,
}

impl VipSeries {
    /// Names and explains every series.
    #[rustfmt::skip]
    pub(super) fn register(self, registry: &mut Registry) {
        let Self {
            attached, owner, info, members, problems, packets, fit, lease_remaining, changes, lease_requests,
        } = self;
        registry.register("vip_attached", "1 while the program of the control-plane VIP is attached; absent without a VIP", attached);
        registry.register("vip_owner", "1 while this node answers for the control-plane VIP; absent without a VIP", owner);
        registry.register("vip_info", "1; who answers for the control-plane VIP (lease, ecmp or none) and which pool serves it; absent without a VIP", info);
        registry.register("vip_members", "Members of the control-plane VIP by the way to them: own, link, tunnel or unknown; absent without a VIP", members);
        registry.register("vip_problems", "What status lists under PROBLEMS of the control-plane VIP; absent without one", problems);
        registry.register("vip_packets", "What became of packets for the control-plane VIP, by outcome; absent without a VIP", packets);
        registry.register("vip_fit", "1 while this node may own the control-plane VIP, or should be routed to; absent without one", fit);
        registry.register_with_unit("vip_lease_remaining", "What is left of the Lease of the VIP; absent where this node does not hold it", Unit::Seconds, lease_remaining);
        registry.register("vip_changes", "What became of the VIP on this node: taken, lost or released", changes);
        registry.register("vip_lease_requests", "Writes of the Lease of the VIP that went through, and requests that came to nothing", lease_requests);
    }

    pub(super) fn fill(&self, vip: Option<&Vip>, ownership: Option<&VipOwnership>) {
        vip.into_iter().for_each(|vip| self.fill_vip(vip));
        ownership.into_iter().for_each(|ownership| self.fill_ownership(ownership));
    }

    fn fill_vip(&self, vip: &Vip) {
        let mode = vip.mode.as_deref().unwrap_or("none");
        let attached = vec![("mode", mode.to_owned())];
        gauge(&self.attached, attached, vip.interface.is_some().into());
        gauge(&self.owner, Vec::new(), vip.is_owner.into());
        let info = vec![("ownership", vip.ownership.clone()), ("pool", vip.pool.clone())];
        gauge(&self.info, info, 1);
        gauge(&self.problems, Vec::new(), vip.problems.len() as u64);
        for way in ["own", "link", "tunnel", "unknown"] {
            let is_so = |member: &&VipMember| match &member.way {
                None => member.own && way == "own" || !member.own && way == "unknown",
                Some(known) => known == way,
            };
            let count = vip.members.iter().filter(is_so).count();
            gauge(&self.members, vec![("way", way.to_owned())], count as u64);
        }
        for (outcome, count) in &vip.counters {
            counter(&self.packets, vec![("outcome", outcome.clone())], *count);
        }
    }

    fn fill_ownership(&self, ownership: &VipOwnership) {
        gauge(&self.fit, Vec::new(), ownership.fit.into());
        let Some(lease) = &ownership.lease else { return };
        if let Some(remaining) = lease.remaining_ms {
            seconds(&self.lease_remaining, Vec::new(), millis(remaining));
        }
        let changes = [("taken", lease.taken), ("lost", lease.lost), ("released", lease.released)];
        for (change, count) in changes {
            counter(&self.changes, vec![("change", change.to_owned())], count);
        }
        for (name, count) in [("written", lease.renewals), ("failed", lease.failures)] {
            counter(&self.lease_requests, result(name), count);
        }
    }
}
