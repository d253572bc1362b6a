//! Makes the status document out of what the core, the maps and the attachment know.
//!
//! Every view is taken apart field by field, so that a new field cannot be forgotten here.

mod pools;
mod sources;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::maps::{MAX_NETNS, State};
use nllb_common::{ABI_VERSION, Counter};
use nllb_core::settings::Coverage as Wanted;
use nllb_core::{
    BackendId, BackendView, Eligibility, FrontendBackend, FrontendView, Histogram, PoolView, View,
};

use super::Driver;
use super::attachment::Attached;
use super::closings::Closings;
use super::config::Reloads;
use super::hints::Hints;
use super::memory::Memory;
use super::sync::Sync;
use crate::datapath::attach::{Coverage, Watched};
use crate::datapath::closing::Closing;
use crate::datapath::maps::Maps as _;
use crate::datapath::monotonic_ns;
use crate::status;
use crate::units::{micros, millis};

impl Driver {
    /// The status document of this moment.
    pub(super) fn status(&self) -> status::Status {
        let now = Instant::now();
        let View { frontends, pools, kubelet_version } = self.machine.view();
        let counters = self.maps.counters().unwrap_or_default();
        let status = status::Status {
            schema: status::SCHEMA,
            verdict: status::Judgement::default(),
            agent: self.agent(now),
            confinement: self.confinement.clone(),
            log: self.log.state(now),
            config: self.config_state(),
            datapath: datapath(&self.attached, &self.sync, now),
            lease: self.lease(),
            closing: closing(&self.closings, &counters),
            sandboxes: self.sandboxed.status(&self.config, &self.members.pods),
            failovers: self.failovers.status(),
            table_on_disk: table_on_disk(&self.memory),
            journal: self.journal.status(),
            kubelet_version: kubelet_version.map(|version| version.to_string()),
            vip_ownership: self.owning.status(self.vip.failure(), now),
            discovery: sources::of(&self.members, now),
            frontends: frontends.into_iter().map(|it| frontend(it, &pools, &self.hints)).collect(),
            pools: pools.into_iter().map(|pool| self.pool(pool, now)).collect(),
            listeners: self.relays.status(),
            vip: self.config.vip.as_ref().map(|plan| self.vip.status(plan)),
            counters: counters
                .into_iter()
                .map(|(counter, count)| (counter.label().to_owned(), count))
                .collect(),
        };
        status::Status { verdict: status.judge(), ..status }
    }

    /// Tells the service manager how it stands: who serves, and whether that is proven.
    pub(super) fn report(&mut self) {
        // Whoever waits for the agent dials a frontend next.
        if self.sync.due().is_some() {
            return;
        }
        let Self { manager, machine, attached, .. } = self;
        manager.ready(|| {
            let pool = |pool: PoolView| {
                let is_healthy = |backend: &&BackendView| backend.state == State::Healthy;
                let healthy = pool.backends.iter().filter(is_healthy).count();
                format!("{}: {healthy} of {} healthy", pool.name, pool.backends.len())
            };
            let attachment = if attached.is_proven() { "attached" } else { "NOT PROVEN" };
            let pools: Vec<_> = machine.view().pools.into_iter().map(pool).collect();
            format!("{attachment}; {}", pools.join("; "))
        });
    }

    /// What is wrong with the attachment, in one line.
    pub(super) fn attachment_problem(&self) -> String {
        datapath(&self.attached, &self.sync, Instant::now()).problems().join("; ")
    }

    fn agent(&self, now: Instant) -> status::Agent {
        status::Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            abi_version: ABI_VERSION,
            pid: std::process::id(),
            uptime_ms: millis(now - self.started),
            adopted: self.adopted,
            kernel_features: self.attached.datapath().features().names(),
        }
    }

    fn config_state(&self) -> status::ConfigState {
        let Reloads { generation, applied_at, error } = &self.reloads;
        status::ConfigState {
            path: self.file.clone(),
            generation: *generation,
            age_ms: millis(applied_at.elapsed()),
            last_reload_error: error.clone(),
            unresolved: self.config.unresolved().map(str::to_owned).collect(),
        }
    }

    fn lease(&self) -> status::Lease {
        let until = self.maps.control().map_or(0, |control| control.lease_until_ns);
        let remaining = Duration::from_nanos(until.saturating_sub(monotonic_ns()));
        status::Lease { length_ms: millis(self.config.lease), remaining_ms: millis(remaining) }
    }
}

fn closing(closings: &Closings, counters: &[(Counter, u64)]) -> status::Closing {
    let (mode, reason) = match closings.closing() {
        Closing::SockDiag => ("sock-diag", None),
        Closing::Timeouts { reason } => ("timeouts", Some(reason)),
        Closing::Off => ("off", None),
    };
    let mut unreached = closings.unreached.clone();
    // Timeouts need to find nobody.
    unreached.extend(uncounted(counters).filter(|_| mode == "sock-diag"));
    status::Closing { mode: mode.to_owned(), reason, unreached }
}

/// Says how many connections an order does not find, because no network namespace counts them.
fn uncounted(counters: &[(Counter, u64)]) -> Option<String> {
    let (_, connections) = counters.iter().find(|(counter, _)| *counter == Counter::NetnsFull)?;
    (*connections > 0).then(|| {
        format!(
            "{connections} connections so far in network namespaces that were not counted, since {MAX_NETNS} others had some"
        )
    })
}

fn table_on_disk(memory: &Memory) -> status::TableOnDisk {
    status::TableOnDisk {
        file: memory.file().cloned(),
        generation: memory.generation,
        age_ms: memory.written_at.map(|at| millis(at.elapsed())),
        error: memory.problem.clone(),
        used: u64::try_from(memory.used).unwrap_or(u64::MAX),
    }
}

fn datapath(attached: &Attached, sync: &Sync, now: Instant) -> status::DatapathState {
    let Coverage { hooks, watched, shortcomings } = &attached.coverage;
    let datapath = attached.datapath();
    status::DatapathState {
        directory: datapath.directory().to_owned(),
        cgroup: datapath.cgroup().path().to_owned(),
        cgroup_is_root: datapath.cgroup().is_root(),
        links: hooks
            .iter()
            .map(|(hook, program_id, state)| status::Link {
                hook: hook.label().to_owned(),
                program_id: *program_id,
                problem: state.clone().err(),
            })
            .collect(),
        watched: watched.iter().map(watched_of).collect(),
        shortcomings: shortcomings
            .iter()
            .cloned()
            .chain(datapath.other_versions())
            .chain(datapath.datagrams_problem())
            .collect(),
        self_test: status::SelfTest {
            age_ms: attached.checked_at.map(|at| millis(now.saturating_duration_since(at))),
            failures: attached.failures.clone(),
            runs: attached.runs,
            failed_runs: attached.failed,
        },
        reattached: attached.repaired,
        map_writes: sync.writes,
        failed_syncs: sync.failures,
        last_sync_us: sync.last_duration.map(micros),
        syncs: durations(&sync.durations),
        sync_lag_ms: sync
            .behind_since
            .map_or(0, |since| millis(now.saturating_duration_since(since))),
        sync_error: sync.problem(),
    }
}

fn watched_of(watched: &Watched) -> status::Watched {
    let Watched { whose, path, missing } = watched;
    let (missing, problem): (Vec<_>, _) = match missing {
        Ok(missing) => (missing.iter().map(|hook| hook.label().to_owned()).collect(), None),
        Err(reason) => (Vec::new(), Some(format!("cannot be asked: {reason}"))),
    };
    let not_effective = || format!("not effective there: {}", missing.join(", "));
    let problem = problem.or_else(|| (!missing.is_empty()).then(not_effective));
    status::Watched { whose: whose.clone(), path: path.clone(), missing, problem }
}

fn frontend(view: FrontendView, pools: &[PoolView], hints: &Hints) -> status::Frontend {
    let FrontendView {
        name,
        id,
        kind,
        protocol,
        addresses,
        pool,
        scope,
        on_empty,
        coverage,
        policy,
        version_skew,
        min_version,
        home,
        backends,
    } = view;
    status::Frontend {
        home: home.and_then(|home| address_of(pools, home)),
        name,
        id: u32::from(id),
        kind: kind.label().to_owned(),
        protocol: protocol.label().to_owned(),
        addresses,
        pool,
        scope: scope.label().to_owned(),
        on_empty: on_empty.label().to_owned(),
        checks_certificates: coverage != Wanted::Trusted,
        server_name: match coverage {
            Wanted::ServerName(name) => Some(name),
            Wanted::Address | Wanted::Trusted => None,
        },
        policy: policy.label().to_owned(),
        version_skew: version_skew.label().to_owned(),
        min_version: min_version.map(|version| version.to_string()),
        failures: hints.of_frontend(u32::from(id)),
        backends: backends
            .into_iter()
            .map(|FrontendBackend { id: _, addr, eligibility }| status::FrontendBackend {
                address: addr,
                used: eligibility.is_used(),
                about: eligibility.about().map(str::to_owned),
                reason: match &eligibility {
                    Eligibility::Eligible => None,
                    Eligibility::Overruled(_) | Eligibility::NotEligible(_) => {
                        Some(eligibility.to_string())
                    }
                },
            })
            .collect(),
    }
}

fn address_of(pools: &[PoolView], id: BackendId) -> Option<SocketAddr> {
    let mut backends = pools.iter().flat_map(|pool| &pool.backends);
    backends.find(|backend| backend.id == id).map(|backend| backend.addr)
}

/// A histogram of the driver's or the core's in the document's units.
pub(super) fn durations(histogram: &Histogram) -> status::Durations {
    let Histogram { bounds_us, counts, sum } = histogram;
    status::Durations {
        bounds_us: bounds_us.to_vec(),
        counts: counts.clone(),
        sum_us: micros(*sum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_no_namespace_counts_are_named() {
        assert_eq!(uncounted(&[]), None);
        assert_eq!(uncounted(&[(Counter::Closed, 3), (Counter::NetnsFull, 0)]), None);
        let said = uncounted(&[(Counter::Closed, 3), (Counter::NetnsFull, 7)]).expect("seven");
        assert!(said.starts_with("7 connections"), "{said}");
    }
}
