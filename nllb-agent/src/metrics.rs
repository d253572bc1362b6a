//! Metrics, rendered from the status document at each scrape.
//!
//! One source of truth instead of counters kept twice: what a dashboard shows is what `nllb status`
//! shows. A scrape builds a fresh registry, so a backend that is gone leaves no series behind.

mod backends;
mod histogram;
pub mod http;
mod text;
mod vip;

use crate::status::{
    Closing, DatapathState, Durations, Failovers, Frontend, GuestState, Listener, ListenerState,
    Sandboxes, Source, Status, TableOnDisk, Verdict,
};
use backends::Backends;
use histogram::Histograms;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::AtomicU64;
use vip::VipSeries;

/// How the metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What Prometheus asks for.
    OpenMetrics,
    /// What every scraper reads: the text format that Prometheus had before.
    Text,
}

impl Format {
    /// The one for a client that accepts this; OpenMetrics only by its name, as it asks for.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// Its content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Renders the metrics of `status`.
pub fn render(status: &Status, format: Format) -> Result<String, fmt::Error> {
    let metrics = Metrics::default();
    metrics.fill(status);
    let mut registry = Registry::with_prefix("nllb");
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Text => text::of_open_metrics(&text),
    })
}

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
/// Seconds.
type Seconds = Family<Labels, Gauge<f64, AtomicU64>>;

/// Every series that the agent has.
#[derive(Debug, Default)]
struct Metrics {
    build_info: Gauges,
    verdict: Gauges,
    agent_uptime: Seconds,
    config_generation: Gauges,
    config_reload_successful: Gauges,
    datapath_attached: Gauges,
    datapath_problems: Gauges,
    datapath_reattachments: Counters,
    map_writes: Counters,
    map_syncs_failed: Counters,
    map_sync_duration: Histograms,
    map_sync_lag: Seconds,
    datapath_outcomes: Counters,
    self_tests: Counters,
    guest_interfaces: Gauges,
    guest_problems: Gauges,
    guest_reattachments: Counters,
    lease_remaining: Seconds,
    frontend_backends: Gauges,
    frontend_backends_used: Gauges,
    frontend_info: Gauges,
    frontend_failures: Counters,
    failover_stage: Histograms,
    backends: Backends,
    closing_mode: Gauges,
    namespaces_unreached: Gauges,
    table_on_disk_age: Seconds,
    table_on_disk_generation: Gauges,
    table_on_disk_writable: Gauges,
    kubelet_info: Gauges,
    source_hosts: Gauges,
    source_failing: Gauges,
    source_heard_age: Seconds,
    listener_up: Gauges,
    listener_active_connections: Gauges,
    listener_connections: Counters,
    vip: VipSeries,
}

impl Metrics {
    /// Names and explains every series.
    #[rustfmt::skip]
    fn register(self, registry: &mut Registry) {
        let Self {
            build_info, verdict, agent_uptime, config_generation, config_reload_successful,
            datapath_attached, datapath_problems, datapath_reattachments, datapath_outcomes,
            map_writes, map_syncs_failed, map_sync_duration, map_sync_lag, failover_stage,
            self_tests, guest_interfaces, guest_problems, guest_reattachments, lease_remaining, frontend_backends, frontend_backends_used,
            frontend_info, frontend_failures, backends, closing_mode, namespaces_unreached,
            table_on_disk_age, table_on_disk_generation, table_on_disk_writable, kubelet_info,
            source_hosts, source_failing, source_heard_age,
            listener_up, listener_active_connections, listener_connections,
            vip,
        } = self;
        registry.register("build_info", "1; version of the agent and of the layout of the maps", build_info);
        registry.register("verdict", "1 for the verdict on this node, as nllb status says: healthy, degraded, panic or not-attached", verdict);
        registry.register_with_unit("agent_uptime", "Time since the agent started", Unit::Seconds, agent_uptime);
        registry.register("config_generation", "Configurations applied so far", config_generation);
        registry.register("config_reload_successful", "0 while a newer configuration is refused", config_reload_successful);
        registry.register("datapath_attached", "1 while the program of this hook is attached as it should be", datapath_attached);
        registry.register("datapath_problems", "What status lists under PROBLEMS of the data path", datapath_problems);
        registry.register("datapath_reattachments", "Lost attachments repaired", datapath_reattachments);
        registry.register("map_writes", "Writes to the maps", map_writes);
        registry.register("map_syncs_failed", "Rounds of writes that a failing one stopped", map_syncs_failed);
        registry.register_with_unit("map_sync_duration", "Rounds of writes, from the decision until the maps have it", Unit::Seconds, map_sync_duration);
        registry.register_with_unit("map_sync_lag", "For how long the maps have not been as decided; 0 while they are", Unit::Seconds, map_sync_lag);
        registry.register_with_unit("failover_stage", "Failovers: verdict, from the first sign of a failure until the maps have the backend out of service; close, from the order to close the connections to a dead backend until they are closed", Unit::Seconds, failover_stage);
        registry.register("datapath_outcomes", "What the kernel programs did and saw, see below", datapath_outcomes);
        registry.register("self_tests", "Self-tests that passed or failed", self_tests);
        registry.register("guest_interfaces", "Interfaces of sandboxed pods: served, one-way (answers go past the programs) or failed; absent without sandboxes", guest_interfaces);
        registry.register("guest_problems", "What status lists under PROBLEMS of sandboxed pods; absent without sandboxes", guest_problems);
        registry.register("guest_reattachments", "Lost attachments to interfaces of sandboxed pods repaired; absent without sandboxes", guest_reattachments);
        registry.register_with_unit("lease_remaining", "What is left of the lease", Unit::Seconds, lease_remaining);
        registry.register("frontend_backends", "Backends in the frontend's pool", frontend_backends);
        registry.register("frontend_backends_used", "Backends among which the kernel chooses for it", frontend_backends_used);
        registry.register("frontend_info", "1; how the frontend chooses among its backends", frontend_info);
        registry.register("frontend_failures", "Failing connections through it that the kernel told of, by what it saw, see below", frontend_failures);
        backends.register(registry);
        registry.register("closing_mode", "1 for how connections to a dead backend end: sock-diag, timeouts or off", closing_mode);
        registry.register("namespaces_unreached", "Network namespaces that the last attempt to close could not reach", namespaces_unreached);
        registry.register_with_unit("table_on_disk_age", "Time since the last known backends were written; absent with state.file: off", Unit::Seconds, table_on_disk_age);
        registry.register("table_on_disk_generation", "Writes of the last known backends, by all agents; absent with state.file: off", table_on_disk_generation);
        registry.register("table_on_disk_writable", "Whether the last known backends can be written; absent with state.file: off", table_on_disk_writable);
        registry.register("kubelet_info", "1; version of this node's kubelet, once it is known", kubelet_info);
        registry.register("source_hosts", "Hosts that a source of controlPlane lists", source_hosts);
        registry.register("source_failing", "1 while a source of hosts is not heard; what it listed stays", source_failing);
        registry.register_with_unit("source_heard_age", "Time since a source of hosts was heard", Unit::Seconds, source_heard_age);
        registry.register("listener_up", "Whether the listener on a loopback frontend listens", listener_up);
        registry.register("listener_active_connections", "Connections being relayed now", listener_active_connections);
        vip.register(registry);
        registry.register("listener_connections", "Connections to the listener: relayed, failed, loop or over_limit", listener_connections);
    }

    fn fill(&self, status: &Status) {
        let Status {
            schema: _,
            verdict,
            agent,
            confinement: _,
            config,
            datapath,
            sandboxes,
            lease,
            closing,
            failovers,
            table_on_disk,
            journal: _,
            log: _,
            kubelet_version,
            vip_ownership,
            discovery,
            frontends,
            pools,
            listeners,
            vip,
            counters,
        } = status;
        let versions = vec![
            ("version", agent.version.clone()),
            ("abi_version", agent.abi_version.to_string()),
        ];
        gauge(&self.build_info, versions, 1);
        for known in Verdict::ALL {
            let labels = vec![("verdict", known.label().to_owned())];
            gauge(&self.verdict, labels, (known == verdict.state).into());
        }
        seconds(&self.agent_uptime, Vec::new(), millis(agent.uptime_ms));
        gauge(&self.config_generation, Vec::new(), config.generation);
        let successful = config.last_reload_error.is_none();
        gauge(&self.config_reload_successful, Vec::new(), successful.into());
        seconds(&self.lease_remaining, Vec::new(), millis(lease.remaining_ms));
        for (outcome, count) in counters {
            counter(&self.datapath_outcomes, vec![("outcome", outcome.clone())], *count);
        }
        self.fill_datapath(datapath);
        sandboxes.iter().for_each(|sandboxes| self.fill_sandboxes(sandboxes));
        frontends.iter().for_each(|frontend| self.fill_frontend(frontend));
        self.backends.fill(pools);
        self.fill_closing(closing);
        let Failovers { verdict, close } = failovers;
        for (stage, durations) in [("verdict", verdict), ("close", close)] {
            histogram(&self.failover_stage, vec![("stage", stage.to_owned())], durations);
        }
        self.fill_table_on_disk(table_on_disk);
        if let Some(version) = kubelet_version {
            gauge(&self.kubelet_info, vec![("version", version.clone())], 1);
        }
        discovery.sources.iter().for_each(|source| self.fill_source(source));
        listeners.iter().for_each(|listener| self.fill_listener(listener));
        self.vip.fill(vip.as_ref(), vip_ownership.as_ref());
    }

    fn fill_datapath(&self, datapath: &DatapathState) {
        for link in &datapath.links {
            let labels = vec![("hook", link.hook.clone())];
            gauge(&self.datapath_attached, labels, link.problem.is_none().into());
        }
        gauge(&self.datapath_problems, Vec::new(), datapath.problems().len() as u64);
        counter(&self.datapath_reattachments, Vec::new(), datapath.reattached);
        counter(&self.map_writes, Vec::new(), datapath.map_writes);
        counter(&self.map_syncs_failed, Vec::new(), datapath.failed_syncs);
        histogram(&self.map_sync_duration, Vec::new(), &datapath.syncs);
        seconds(&self.map_sync_lag, Vec::new(), millis(datapath.sync_lag_ms));
        let test = &datapath.self_test;
        let passed = test.runs.saturating_sub(test.failed_runs);
        counter(&self.self_tests, result("passed"), passed);
        counter(&self.self_tests, result("failed"), test.failed_runs);
    }

    fn fill_sandboxes(&self, sandboxes: &Sandboxes) {
        for state in GuestState::ALL {
            let count = sandboxes.interfaces.iter().filter(|it| it.state() == state).count();
            let labels = vec![("state", state.label().to_owned())];
            gauge(&self.guest_interfaces, labels, count as u64);
        }
        gauge(&self.guest_problems, Vec::new(), sandboxes.problems().count() as u64);
        counter(&self.guest_reattachments, Vec::new(), sandboxes.reattached);
    }

    fn fill_frontend(&self, frontend: &Frontend) {
        for (cause, count) in &frontend.failures {
            let labels = vec![("frontend", frontend.name.clone()), ("cause", cause.clone())];
            counter(&self.frontend_failures, labels, *count);
        }
        let used = frontend.backends.iter().filter(|backend| backend.used).count();
        for address in &frontend.addresses {
            let labels =
                vec![("frontend", frontend.name.clone()), ("address", address.to_string())];
            gauge(&self.frontend_backends, labels.clone(), frontend.backends.len() as u64);
            gauge(&self.frontend_backends_used, labels, used as u64);
        }
        let labels = vec![
            ("frontend", frontend.name.clone()),
            ("policy", frontend.policy.clone()),
            ("version_skew", frontend.version_skew.clone()),
        ];
        gauge(&self.frontend_info, labels, 1);
    }

    fn fill_closing(&self, closing: &Closing) {
        let Closing { mode, reason: _, unreached } = closing;
        for known in ["sock-diag", "timeouts", "off"] {
            let labels = vec![("mode", known.to_owned())];
            gauge(&self.closing_mode, labels, (known == mode).into());
        }
        gauge(&self.namespaces_unreached, Vec::new(), unreached.len() as u64);
    }

    fn fill_table_on_disk(&self, table: &TableOnDisk) {
        let TableOnDisk { file, generation, age_ms, error, used: _ } = table;
        if file.is_none() {
            return;
        }
        gauge(&self.table_on_disk_generation, Vec::new(), *generation);
        gauge(&self.table_on_disk_writable, Vec::new(), error.is_none().into());
        if let Some(age) = age_ms {
            seconds(&self.table_on_disk_age, Vec::new(), millis(*age));
        }
    }

    fn fill_source(&self, source: &Source) {
        let labels = vec![("source", source.name.clone())];
        gauge(&self.source_hosts, labels.clone(), source.hosts);
        if source.watched {
            gauge(&self.source_failing, labels.clone(), source.error.is_some().into());
        }
        if let Some(age) = source.heard_ms {
            seconds(&self.source_heard_age, labels, millis(age));
        }
    }

    fn fill_listener(&self, listener: &Listener) {
        let Listener { address, state, active, relayed, loops, failed, over_limit } = listener;
        let labels = vec![("address", address.to_string())];
        gauge(&self.listener_up, labels.clone(), (*state == ListenerState::Listening).into());
        gauge(&self.listener_active_connections, labels.clone(), *active);
        let results =
            [("relayed", relayed), ("loop", loops), ("failed", failed), ("over_limit", over_limit)];
        for (name, count) in results {
            let mut labels = labels.clone();
            labels.extend(result(name));
            counter(&self.listener_connections, labels, *count);
        }
    }
}

fn result(name: &str) -> Labels {
    vec![("result", name.to_owned())]
}

fn gauge(family: &Gauges, labels: impl Into<Labels>, value: u64) {
    family.get_or_create(&labels.into()).set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn counter(family: &Counters, labels: impl Into<Labels>, value: u64) {
    family.get_or_create(&labels.into()).inc_by(value);
}

fn histogram(family: &Histograms, labels: impl Into<Labels>, durations: &Durations) {
    let Durations { bounds_us, counts, sum_us } = durations;
    let bounds = bounds_us.iter().map(|bound| micros((*bound).into()));
    let classes = bounds.chain([f64::INFINITY]).zip(counts.iter().copied()).collect();
    family.get_or_create(&labels.into()).set(classes, micros(*sum_us));
}

fn seconds(family: &Seconds, labels: impl Into<Labels>, value: f64) {
    family.get_or_create(&labels.into()).set(value);
}

fn millis(ms: u64) -> f64 {
    ms as f64 / 1e3
}

fn micros(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests;
