//! What can happen to the machine, at random.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nllb_core::{
    CertificateFacts, Coverage, Drain, Drill, FrontendKind, FrontendSettings, HealthSettings,
    OnEmpty, Outcome, PoolSettings, ProbeReport, ScopeSetting, SentinelFact, Settings, SubjectName,
    TcpState,
};
use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Time passes, in milliseconds.
    Wait(u64),
    /// A probe that is outstanding ends.
    Answer { pick: prop::sample::Index, outcome: Outcome, certificate: Option<Vec<SubjectName>> },
    /// A report comes that nobody waits for.
    Unasked { id: u32, epoch: u32, outcome: Outcome },
    /// A sentinel tells something, asked or not.
    Fact { pick: prop::sample::Index, fact: SentinelFact },
    /// Every sentinel that is being opened comes up, and every ping is answered.
    Serve,
    /// From now on TCP says this of every sentinel.
    Tcp(TcpState),
    /// An operator drains a backend, or ends that.
    Drain { host: u8, drain: Drain },
    /// Somebody says how many nodes there are.
    Nodes { id: u32, epoch: u32, nodes: u64 },
    /// The kernel gives a hint.
    Evidence { id: u32, epoch: u32 },
    /// The network changes.
    Network,
    /// The settings change to these.
    Settings(usize),
    /// Discovery leads to these settings.
    Members(usize),
    /// A source says that a host is not what it was.
    Hint(u8),
    /// The settings change to some that break a limit.
    TooLarge(usize),
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let answer = (any::<prop::sample::Index>(), outcome(), prop::option::of(names()))
        .prop_map(|(pick, outcome, certificate)| Operation::Answer { pick, outcome, certificate });
    prop_oneof![
        6 => prop_oneof![0u64..200, 0u64..5_000].prop_map(Operation::Wait),
        12 => answer,
        1 => (0u32..8, 0u32..4, outcome())
            .prop_map(|(id, epoch, outcome)| Operation::Unasked { id, epoch, outcome }),
        3 => (any::<prop::sample::Index>(), fact())
            .prop_map(|(pick, fact)| Operation::Fact { pick, fact }),
        8 => Just(Operation::Serve),
        1 => prop::sample::select(vec![TcpState::Acknowledged, TcpState::Silent])
            .prop_map(Operation::Tcp),
        1 => (1u8..6, drain()).prop_map(|(host, drain)| Operation::Drain { host, drain }),
        1 => (0u32..8, 0u32..4, 0u64..10_000)
            .prop_map(|(id, epoch, nodes)| Operation::Nodes { id, epoch, nodes }),
        2 => (0u32..8, 0u32..4).prop_map(|(id, epoch)| Operation::Evidence { id, epoch }),
        1 => Just(Operation::Network),
        1 => (0..SETTINGS).prop_map(Operation::Settings),
        1 => (0..SETTINGS).prop_map(Operation::Members),
        1 => (1u8..6).prop_map(Operation::Hint),
        1 => (0..TOO_LARGE).prop_map(Operation::TooLarge),
    ]
}

fn fact() -> impl Strategy<Value = SentinelFact> {
    let rtt = Duration::from_millis(1);
    prop_oneof![
        4 => Just(SentinelFact::Up { rtt, certificate: None, unix_time: 50 }),
        1 => Just(SentinelFact::Failed { outcome: Outcome::Refused }),
        1 => Just(SentinelFact::NoHttp2),
        8 => Just(SentinelFact::Pong { rtt }),
        1 => Just(SentinelFact::Tcp(TcpState::Acknowledged)),
        1 => Just(SentinelFact::GoAway),
        1 => Just(SentinelFact::Closed),
        1 => Just(SentinelFact::Reset),
        1 => Just(SentinelFact::Lost),
    ]
}

fn drain() -> impl Strategy<Value = Drain> {
    let after = prop::option::of((0u64..3_000).prop_map(Duration::from_millis));
    let on = (after, any::<bool>());
    let how = prop::sample::select(vec![Drill::Simulate, Drill::Blackhole]);
    prop_oneof![
        1 => on.prop_map(|(close_after, force)| Drain::On { close_after, force }),
        2 => (how, 0u64..3_000).prop_map(|(how, ms)| Drain::Drill { how, lease: Duration::from_millis(ms) }),
        1 => Just(Drain::DrillOver),
        1 => Just(Drain::Off),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Ready),
        1 => Just(Outcome::Unauthorized),
        2 => Just(Outcome::NotReady { status: 500 }),
        1 => Just(Outcome::NotServing { reason: String::from("gRPC health NOT_SERVING") }),
        1 => Just(Outcome::Slow),
        2 => Just(Outcome::Refused),
        4 => Just(Outcome::Silent),
        1 => Just(Outcome::Unreachable),
        1 => Just(Outcome::Hung),
        1 => Just(Outcome::Local { reason: String::from("no file descriptor") }),
    ]
}

/// Names as on the certificates of a control plane: the VIP or not, and some nodes.
fn names() -> impl Strategy<Value = Vec<SubjectName>> {
    let name =
        prop::sample::select(vec![[10, 96, 0, 1], [10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]]);
    prop::collection::vec(name.prop_map(|ip| SubjectName::Ip(ip.into())), 0..4)
}

pub(crate) fn report(outcome: &Outcome, names: &Option<Vec<SubjectName>>) -> ProbeReport {
    let certificate = names.as_ref().map(|names| {
        Arc::new(CertificateFacts {
            names: names.clone(),
            not_before: 0,
            not_after: 100,
            chain_not_after: None,
            issuer: String::from("ca"),
            subject: String::from("kube-apiserver"),
        })
    });
    ProbeReport {
        outcome: outcome.clone(),
        rtt: None,
        latency: Duration::from_millis(3),
        certificate,
        unix_time: 50,
    }
}

/// How many good settings there are.
pub(crate) const SETTINGS: usize = 7;

/// Settings that overlap in what pools, endpoints and frontends they have.
pub(crate) fn settings(which: usize) -> Settings {
    let nodes = |pool: &str| FrontendSettings {
        kind: FrontendKind::NodeAddress,
        ..front("nodes", &[], pool)
    };
    let vip = |pool: &str| front("kubernetes", &["10.96.0.1:443"], pool);
    let (pools, frontends) = match which {
        0 => (vec![pool("a", &[1, 2, 3])], vec![vip("a")]),
        1 => (vec![pool("a", &[3, 1])], vec![vip("a"), nodes("a")]),
        2 => (vec![pool("b", &[4]), pool("a", &[2, 3])], vec![nodes("a"), vip("b")]),
        // The same addresses in two pools.
        3 => (
            vec![pool("a", &[1, 2]), pool("b", &[2, 1])],
            vec![front("other", &["127.0.0.1:7443"], "b"), vip("a"), nodes("a")],
        ),
        4 => (vec![pool("a", &[])], vec![vip("a")]),
        5 => (vec![pool("a", &[1, 2, 3, 4, 5])], vec![vip("a")]),
        _ => (vec![drained_for_long(pool("a", &[1, 2, 3, 4]))], vec![vip("a")]),
    };
    Settings { pools, frontends, ..Settings::default() }
}

/// How many settings there are that break a limit.
const TOO_LARGE: usize = 2;

pub(crate) fn too_large(which: usize) -> Settings {
    let mut settings = settings(which);
    settings.pools[0].endpoints = (1..=17).map(endpoint).collect();
    settings
}

fn pool(name: &str, hosts: &[u8]) -> PoolSettings {
    PoolSettings {
        name: name.to_owned(),
        endpoints: hosts.iter().copied().map(endpoint).collect(),
        health: HealthSettings::default(),
        ..PoolSettings::default()
    }
}

/// Without sentinels, and with a limit to draining.
fn drained_for_long(mut pool: PoolSettings) -> PoolSettings {
    pool.health.sentinel = false;
    pool.health.drain_close_after = Some(Duration::from_secs(2));
    pool
}

pub(crate) fn endpoint(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 6443))
}

fn front(name: &str, addresses: &[&str], pool: &str) -> FrontendSettings {
    FrontendSettings {
        name: name.to_owned(),
        kind: FrontendKind::Vip,
        addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
        pool: pool.to_owned(),
        scope: ScopeSetting::All,
        on_empty: OnEmpty::PassThrough,
        coverage: Coverage::Address,
        ..FrontendSettings::default()
    }
}
