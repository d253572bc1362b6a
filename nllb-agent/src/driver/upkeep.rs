//! What the driver does again and again, whether anything happens or not.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use nllb_common::maps::Evidence;
use nllb_core::BackendId;
use tracing::{debug, error, warn};

use super::Driver;
use super::probes::Who;
use crate::datapath::maps::Maps as _;
use crate::network;

impl Driver {
    /// Tells the machine how many connections each backend has.
    pub(super) fn count_connections(&mut self) {
        let backends =
            self.machine.table().fresh.iter().map(|(id, epoch)| (BackendId(*id), *epoch));
        let count = |who: Who| Some((who.0, self.evidence(who)?.connections()));
        let active = backends.filter_map(count).collect();
        self.machine.handle_connections(&active, Instant::now());
    }

    /// What the kernel saw of a backend; `None` when the maps hold another epoch.
    pub(super) fn evidence(&self, (BackendId(id), epoch): Who) -> Option<Evidence> {
        self.maps.evidence(id).ok().filter(|held| held.epoch == epoch)
    }

    /// What changes without anybody telling.
    pub(super) fn look_around(&mut self) {
        if let Some(own) = own_addresses() {
            self.owning.set_own(&own);
            self.machine.handle_own_addresses(own);
        }
        self.expiry.look(&self.machine.view());
        self.closings.refresh();
        if let Err(error) = self.maps.sweep_netns() {
            debug!(%error, "cannot forget network namespaces");
        }
    }

    /// Renews the lease, and makes good what an earlier round could not write.
    pub(super) fn renew_lease(&mut self) {
        self.attached.set_short_timeouts(&self.closings.closing());
        self.record_lapse();
        let control = self.attached.datapath().lease(self.config.lease);
        if let Err(error) = self.maps.set_control(control) {
            error!(%error, "cannot renew the lease");
        }
        if self.sync.error.is_some() {
            let desired = self.machine.table();
            if let Err(error) = self.sync.resync(&mut self.maps, desired, Instant::now) {
                debug!(%error, "the maps are still not as wanted");
            }
        }
    }
}

/// The addresses of this host; `None` when they cannot be listed.
pub(super) fn own_addresses() -> Option<BTreeSet<IpAddr>> {
    network::own_addresses()
        .map_err(|error| warn!(%error, "cannot list this host's addresses"))
        .ok()
}
