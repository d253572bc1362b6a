//! Pools and backends in the status document: what probes, pings and the kernel say of each.

use super::Durations;
use nllb_common::maps::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// What its backends are: apiserver, konnectivity, k0s-join, supervisor, etcd, custom or service.
    pub profile: String,
    /// What they are asked, such as `https /readyz`.
    pub probe: String,
    /// Its backends.
    pub backends: Vec<Backend>,
    /// How many nodes the cluster has; `None` when no API server told.
    pub nodes: Option<u64>,
    /// Time between two probes of a settled backend, as that number makes it.
    pub probe_interval_ms: u64,
    /// Time between two pings over a sentinel, as that number makes it; `None` without sentinels.
    pub ping_interval_ms: Option<u64>,
}

/// An API server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its address.
    pub address: SocketAddr,
    /// Who named it; what each is, is under the sources.
    pub sources: Vec<String>,
    /// Its id in the maps.
    pub id: u32,
    /// Epoch of that id.
    pub epoch: u32,
    /// The agent's verdict.
    pub state: String,
    /// For how long.
    pub state_age_ms: u64,
    /// Why.
    pub reason: String,
    /// The same in one word: new, adopted, drained, drill, or the outcome of a probe.
    pub cause: String,
    /// Why others are preferred to it for the moment, though its state stands.
    pub doubt: Option<String>,
    /// How many times it came into doubt so far.
    pub doubts: u64,
    /// Whether an operator drained it.
    pub drained: bool,
    /// The drill that it is in: simulate or blackhole.
    pub drill: Option<String>,
    /// When that ends unless it is renewed.
    pub drill_ends_in_ms: Option<u64>,
    /// Time until its open connections are closed, because it drains for too long.
    pub closes_in_ms: Option<u64>,
    /// How long it must still answer well before it is let in, because it was lost often.
    pub held_ms: Option<u64>,
    /// Connections that the agent closed so far, by cause: dead, drained, drill, rebalance or waiting.
    pub closed: BTreeMap<String, u64>,
    /// The connection that tells of its death.
    pub sentinel: Sentinel,
    /// Smoothed round-trip time, of pings or else of connects.
    pub rtt_us: Option<u64>,
    /// Round trips of pings and connects so far.
    pub round_trips: Durations,
    /// Version of its API server.
    pub version: Option<String>,
    /// Latency class.
    pub band: u8,
    /// Share within the class.
    pub weight: u16,
    /// Changes of state so far.
    pub transitions: u64,
    /// Outcomes in a row that ask for another state.
    pub run: Option<Run>,
    /// The kernel's evidence.
    pub evidence: Option<Evidence>,
    /// Failures that the kernel told of so far, by what it saw. At most one in 10 ms is told.
    pub failures: BTreeMap<String, u64>,
    /// The last probe that ended.
    pub last_probe: Option<LastProbe>,
    /// Time to the next probe; `None` while one is under way.
    pub next_probe_ms: Option<u64>,
    /// Probes so far, by outcome.
    pub probes: BTreeMap<String, u64>,
    /// The last certificate seen.
    pub certificate: Option<Certificate>,
}

impl Backend {
    /// Whether it may get new connections.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        State::from_label(&self.state).is_some_and(State::is_eligible)
    }
}

/// Outcomes in a row, still too few.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// up or down.
    pub direction: String,
    /// How many there are.
    pub count: u32,
    /// How many it takes.
    pub needed: u32,
}

/// What the kernel saw of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// For how long it is still suspect; 0 when it is not.
    pub suspect_ms: u64,
    /// Failed connects in a row.
    pub fail_streak: u32,
    /// Smoothed round-trip time of the last handshake; `None` when there was none.
    pub srtt_us: Option<u32>,
    /// Translated connections established now.
    pub active: u64,
    /// Translated connections established so far.
    pub established: u64,
    /// Time since the last one was established.
    pub last_answer_age_ms: Option<u64>,
}

/// A probe that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastProbe {
    /// How long ago.
    pub age_ms: u64,
    /// What came of it, in one word.
    pub outcome: String,
    /// The same in a sentence.
    pub text: String,
    /// Round-trip time of the TCP handshake.
    pub rtt_us: Option<u64>,
    /// Time the whole probe took.
    pub latency_us: u64,
}

/// What matters of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// DNS names and IP addresses it is for.
    pub names: Vec<String>,
    /// First second of its validity, unix time.
    pub not_before: i64,
    /// Last second of its validity, unix time.
    pub not_after: i64,
    /// Who issued it.
    pub issuer: String,
    /// Whom it names.
    pub subject: String,
    /// Last second of whichever authority above it ends first, unix time.
    pub chain_not_after: Option<i64>,
    /// Time until the first of these ends, in seconds; below 0 when it has ended.
    pub ends_in_s: i64,
    /// none, month, week or expired: how near that is.
    pub urgency: String,
    /// The same in a sentence, where it is near.
    pub warning: Option<String>,
}

/// The long-lived connection to a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sentinel {
    /// up, opening, down, no-http2 or off.
    pub state: String,
    /// For how long it is up.
    pub age_ms: Option<u64>,
    /// Why it could not be opened the last time.
    pub reason: Option<String>,
}
