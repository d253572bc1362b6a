//! The series of pools and of each backend.

use super::histogram::Histograms;
use super::{
    Counters, Gauges, Labels, Seconds, counter, gauge, histogram, micros, millis, seconds,
};
use crate::status::{Backend, Certificate, Evidence, LastProbe, Pool, Sentinel};
use nllb_common::maps::State;
use prometheus_client::registry::{Registry, Unit};

/// Every series that a pool or a backend has.
#[derive(Debug, Default)]
pub(super) struct Backends {
    cluster_nodes: Gauges,
    pool_backends: Gauges,
    pool_eligible: Gauges,
    probe_interval: Seconds,
    ping_interval: Seconds,
    state: Gauges,
    state_reason: Gauges,
    state_age: Seconds,
    transitions: Counters,
    doubted: Gauges,
    doubts: Counters,
    drained: Gauges,
    held: Gauges,
    sentinel_up: Gauges,
    closed_sockets: Counters,
    rtt: Seconds,
    round_trips: Histograms,
    band: Gauges,
    info: Gauges,
    probes: Counters,
    probe_rtt: Seconds,
    probe_duration: Seconds,
    certificate_expiry: Seconds,
    certificate_chain_expiry: Seconds,
    suspect: Gauges,
    connections: Counters,
    failures: Counters,
    active_connections: Gauges,
}

impl Backends {
    /// Names and explains every series.
    #[rustfmt::skip]
    pub(super) fn register(self, registry: &mut Registry) {
        let Self {
            cluster_nodes, pool_backends, pool_eligible, probe_interval, ping_interval, state, state_reason, state_age, transitions, doubted,
            doubts, drained, held, sentinel_up, closed_sockets, rtt, round_trips, band, info, probes, probe_rtt,
            probe_duration, certificate_expiry, certificate_chain_expiry, suspect, connections,
            failures, active_connections,
        } = self;
        registry.register("cluster_nodes", "Nodes of the cluster; absent while no API server told", cluster_nodes);
        registry.register("pool_backends", "Backends in the pool; with the profile service those that the cluster tells of", pool_backends);
        registry.register("pool_backends_eligible", "Backends of the pool that may get connections by their state", pool_eligible);
        registry.register_with_unit("probe_interval", "Time between two probes of a settled backend, as in force", Unit::Seconds, probe_interval);
        registry.register_with_unit("ping_interval", "Time between two pings over a sentinel in calm, as in force", Unit::Seconds, ping_interval);
        registry.register("backend_state", "1 for the state that it is in", state);
        registry.register("backend_state_reason", "1; why it is in that state: the outcome of a probe as in nllb_backend_probes_total, new, adopted (from the maps), drained (by an operator) or drill", state_reason);
        registry.register_with_unit("backend_state_age", "Time in that state", Unit::Seconds, state_age);
        registry.register("backend_transitions", "Changes of state", transitions);
        registry.register("backend_doubted", "1 while others are preferred to it, though its state stands", doubted);
        registry.register("doubts", "Times that it came into doubt", doubts);
        registry.register("backend_drained", "1 while an operator drains it", drained);
        registry.register("backend_held", "1 while it answers and is held back, because it was lost often", held);
        registry.register("backend_sentinel_up", "1 while the sentinel to it is up", sentinel_up);
        registry.register("closed_sockets", "Connections closed by the agent: to a dead backend, to one drained for too long, for the sake of balance, for a drill, and connects that would have slept on (waiting) although a backend answers again", closed_sockets);
        registry.register_with_unit("backend_rtt", "Smoothed round-trip time, of pings or else of connects", Unit::Seconds, rtt);
        registry.register_with_unit("backend_round_trip", "Round trips of pings and connects", Unit::Seconds, round_trips);
        registry.register("backend_band", "Latency band; 0 is the nearest", band);
        registry.register("backend_info", "1; version of its API server, once it is known", info);
        registry.register("backend_probes", "Probes that ended", probes);
        registry.register_with_unit("backend_probe_rtt", "TCP handshake in the last probe; absent when there was none", Unit::Seconds, probe_rtt);
        registry.register_with_unit("backend_probe_duration", "Duration of the last probe", Unit::Seconds, probe_duration);
        registry.register_with_unit("backend_certificate_expiry_timestamp", "End of the certificate's validity in unix time", Unit::Seconds, certificate_expiry);
        registry.register_with_unit("backend_certificate_chain_expiry_timestamp", "End of the first of the authorities above it to end, in unix time", Unit::Seconds, certificate_chain_expiry);
        registry.register("backend_suspect", "1 while the kernel de-prefers it", suspect);
        registry.register("backend_connections", "Translated connections established", connections);
        registry.register("backend_failures", "Failing connections to it that the kernel told of, by what it saw, see below", failures);
        registry.register("backend_active_connections", "Translated connections open now", active_connections);
    }

    pub(super) fn fill(&self, pools: &[Pool]) {
        for pool in pools {
            let Pool {
                name, profile, backends, nodes, probe_interval_ms, ping_interval_ms, ..
            } = pool;
            let labels = || vec![("pool", name.clone())];
            if let Some(nodes) = nodes {
                gauge(&self.cluster_nodes, labels(), *nodes);
            }
            let with_profile = [labels(), vec![("profile", profile.clone())]].concat();
            let eligible = backends.iter().filter(|backend| backend.is_eligible()).count();
            gauge(&self.pool_backends, with_profile.clone(), backends.len() as u64);
            gauge(&self.pool_eligible, with_profile, eligible as u64);
            seconds(&self.probe_interval, labels(), millis(*probe_interval_ms));
            if let Some(ms) = ping_interval_ms {
                seconds(&self.ping_interval, labels(), millis(*ms));
            }
            for backend in backends {
                let address = backend.address.to_string();
                let labels = vec![("pool", name.clone()), ("backend", address)];
                self.fill_backend(&labels, backend);
            }
        }
    }

    fn fill_backend(&self, labels: &Labels, backend: &Backend) {
        let labels = || labels.clone();
        let with = |name: &'static str, value: &str| {
            let mut labels = labels();
            labels.push((name, value.to_owned()));
            labels
        };
        for state in State::ALL.map(State::label) {
            gauge(&self.state, with("state", state), (state == backend.state).into());
        }
        gauge(&self.state_reason, with("reason", &backend.cause), 1);
        seconds(&self.state_age, labels(), millis(backend.state_age_ms));
        counter(&self.transitions, labels(), backend.transitions);
        gauge(&self.doubted, labels(), backend.doubt.is_some().into());
        counter(&self.doubts, labels(), backend.doubts);
        gauge(&self.drained, labels(), backend.drained.into());
        gauge(&self.held, labels(), backend.held_ms.is_some().into());
        let Sentinel { state, age_ms: _, reason: _ } = &backend.sentinel;
        gauge(&self.sentinel_up, labels(), (state == "up").into());
        for (cause, count) in &backend.failures {
            counter(&self.failures, with("cause", cause), *count);
        }
        for (cause, count) in &backend.closed {
            counter(&self.closed_sockets, with("cause", cause), *count);
        }
        if let Some(rtt) = backend.rtt_us {
            seconds(&self.rtt, labels(), micros(rtt));
        }
        histogram(&self.round_trips, labels(), &backend.round_trips);
        gauge(&self.band, labels(), backend.band.into());
        if let Some(version) = &backend.version {
            gauge(&self.info, with("version", version), 1);
        }
        for (outcome, count) in &backend.probes {
            counter(&self.probes, with("outcome", outcome), *count);
        }
        if let Some(LastProbe { rtt_us, latency_us, .. }) = &backend.last_probe {
            seconds(&self.probe_duration, labels(), micros(*latency_us));
            if let Some(rtt) = rtt_us {
                seconds(&self.probe_rtt, labels(), micros(*rtt));
            }
        }
        if let Some(Certificate { not_after, chain_not_after, .. }) = &backend.certificate {
            seconds(&self.certificate_expiry, labels(), *not_after as f64);
            if let Some(chain) = chain_not_after {
                seconds(&self.certificate_chain_expiry, labels(), *chain as f64);
            }
        }
        if let Some(Evidence { suspect_ms, active, established, .. }) = &backend.evidence {
            gauge(&self.suspect, labels(), (*suspect_ms > 0).into());
            gauge(&self.active_connections, labels(), *active);
            counter(&self.connections, labels(), *established);
        }
    }
}
