//! A document with everything in it, for the tests of whatever shows or sends one.

use super::*;

pub(crate) fn status() -> Status {
    let status = Status {
        schema: SCHEMA,
        verdict: Judgement::default(),
        agent: Agent {
            version: "0.1.0".to_owned(),
            abi_version: 1,
            pid: 4711,
            uptime_ms: 185_000,
            adopted: true,
            kernel_features: [("set_retval".to_owned(), true)].into(),
        },
        confinement: Confinement {
            capabilities: ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF"]
                .map(str::to_owned)
                .into(),
            system_calls: SystemCalls::Filtered,
            problems: Vec::new(),
        },
        log: LogState {
            level: "debug".to_owned(),
            usual: "info".to_owned(),
            back_in_ms: Some(540_000),
        },
        config: ConfigState {
            path: "/etc/nllb/agent.yaml".into(),
            generation: 2,
            age_ms: 60_000,
            last_reload_error: None,
            unresolved: Vec::new(),
        },
        datapath: datapath(),
        sandboxes: Some(sandboxes()),
        lease: Lease { length_ms: 3000, remaining_ms: 2800 },
        failovers: Failovers {
            verdict: durations(&[50_000, 2_000_000], &[1, 2, 0], 700_000),
            close: durations(&[50_000, 2_000_000], &[2, 0, 1], 2_300_000),
        },
        closing: Closing { mode: "sock-diag".to_owned(), reason: None, unreached: Vec::new() },
        table_on_disk: TableOnDisk {
            file: Some("/var/lib/nllb/table.json".into()),
            generation: 31,
            age_ms: Some(12_000),
            error: None,
            used: 2,
        },
        journal: Journal {
            file: Some("/var/lib/nllb/journal.jsonl".into()),
            newest: 218,
            dropped: 0,
            error: None,
        },
        kubelet_version: Some("v1.30.4".to_owned()),
        vip_ownership: Some(vip_ownership()),
        discovery: discovery(),
        frontends: frontends(),
        pools: vec![Pool {
            name: "apiserver".to_owned(),
            profile: "apiserver".to_owned(),
            probe: "https /readyz".to_owned(),
            backends: backends(),
            nodes: Some(3600),
            probe_interval_ms: 3000,
            ping_interval_ms: Some(720),
        }],
        listeners: vec![listener("127.0.0.1:7443", ListenerState::Listening)],
        vip: Some(vip()),
        counters: [("translated".to_owned(), 120), ("panic".to_owned(), 0)].into(),
    };
    Status { verdict: status.judge(), ..status }
}

fn vip() -> Vip {
    let member = |address: [u8; 4], own, way: Option<&str>| VipMember {
        address: address.into(),
        own,
        way: way.map(str::to_owned),
    };
    Vip {
        addresses: vec![[10, 0, 0, 100].into()],
        port: 6443,
        pool: "apiserver".to_owned(),
        interface: Some("eth0".to_owned()),
        mode: Some("native".to_owned()),
        forwarding: "auto".to_owned(),
        ownership: "lease".to_owned(),
        is_owner: true,
        arp_announce: Some(2),
        members: vec![
            member([10, 0, 0, 11], true, None),
            member([10, 0, 0, 12], false, Some("link")),
        ],
        problems: Vec::new(),
        counters: [("forwarded".to_owned(), 17), ("local".to_owned(), 9)].into(),
    }
}

/// The same where nothing is wrong.
pub(crate) fn healthy() -> Status {
    let mut status = status();
    let good = status.pools[0].backends[0].clone();
    let second = &mut status.pools[0].backends[1];
    let sources = std::mem::take(&mut second.sources);
    *second = Backend { address: second.address, id: 1, sources, ..good };
    Status { verdict: status.judge(), ..status }
}

/// The history beside it.
pub(crate) fn history() -> History {
    let of = |address, best_us: &[Option<u32>], smoothed_us: &[Option<u32>]| BackendHistory {
        pool: "apiserver".to_owned(),
        address: socket(address),
        best_us: best_us.to_vec(),
        smoothed_us: smoothed_us.to_vec(),
    };
    let backends = vec![
        of("10.0.0.11:6443", &[Some(390), None, Some(400)], &[Some(410), None, Some(420)]),
        of("10.0.0.12:6443", &[Some(520), Some(530), None], &[Some(560), Some(560), None]),
    ];
    History { slot_ms: 10_000, backends, ..History::default() }
}

pub(crate) fn listener(address: &str, state: ListenerState) -> Listener {
    let address = socket(address);
    Listener { address, state, active: 1, relayed: 7, loops: 0, failed: 0, over_limit: 0 }
}

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn durations(bounds_us: &[u32], counts: &[u64], sum_us: u64) -> Durations {
    Durations { bounds_us: bounds_us.to_vec(), counts: counts.to_vec(), sum_us }
}

fn failures(resets: u64) -> BTreeMap<String, u64> {
    [("connect_reset".to_owned(), resets), ("syn_silence".to_owned(), 0)].into()
}

pub(crate) fn sandboxes() -> Sandboxes {
    let interface = GuestInterface {
        name: "tap0".to_owned(),
        index: 7,
        chosen_by: "name tap*".to_owned(),
        attached_by: Some("tcx".to_owned()),
        program_ids: vec![21, 22],
        one_way: false,
        translated: 41,
        problem: None,
    };
    Sandboxes { interfaces: vec![interface], ..Sandboxes::default() }
}

fn datapath() -> DatapathState {
    let link = |hook: &str, program_id| Link { hook: hook.to_owned(), program_id, problem: None };
    DatapathState {
        directory: "/sys/fs/bpf/nllb/v2".into(),
        cgroup: "/sys/fs/cgroup".into(),
        cgroup_is_root: true,
        links: vec![link("sock_ops", 11), link("connect4", 12), link("connect6", 13)],
        watched: vec![Watched {
            whose: "pid 1".to_owned(),
            path: "/sys/fs/cgroup/init.scope".into(),
            missing: Vec::new(),
            problem: None,
        }],
        shortcomings: Vec::new(),
        self_test: SelfTest { age_ms: Some(2100), failures: Vec::new(), runs: 37, failed_runs: 0 },
        reattached: 0,
        map_writes: 12,
        failed_syncs: 0,
        last_sync_us: Some(9),
        syncs: durations(&[100, 25_000], &[9, 2, 1], 90_000),
        sync_lag_ms: 0,
        sync_error: None,
    }
}

fn discovery() -> Discovery {
    let source = |kind: &str, name: &str, hosts| Source {
        name: format!("{kind} {name}").trim_end().to_owned(),
        kind: kind.to_owned(),
        hosts,
        ..Source::default()
    };
    let heard = |source: Source, heard, changed| Source {
        watched: true,
        heard_ms: Some(heard),
        changed_ms: Some(changed),
        ..source
    };
    let kubernetes = Source {
        vips: vec![socket("10.96.0.1:443")],
        ..heard(source("kubernetes", "", 2), 2000, 180_000)
    };
    Discovery {
        sources: vec![
            source("static", "", 1),
            kubernetes,
            heard(source("dns", "cp.example.org", 1), 41_000, 180_000),
        ],
        left_out: Vec::new(),
        problem: None,
    }
}

fn frontends() -> Vec<Frontend> {
    let backend = |address: &str, reason: Option<&str>| FrontendBackend {
        address: socket(address),
        used: reason.is_none(),
        reason: reason.map(str::to_owned),
        about: reason.map(|_| "certificate".to_owned()),
    };
    vec![
        Frontend {
            name: "kubernetes".to_owned(),
            id: 1,
            kind: "vip".to_owned(),
            protocol: "tcp".to_owned(),
            addresses: vec![socket("10.96.0.1:443"), socket("[fd00:10:96::1]:443")],
            pool: "apiserver".to_owned(),
            scope: "all".to_owned(),
            on_empty: "pass-through".to_owned(),
            server_name: None,
            checks_certificates: true,
            policy: "random".to_owned(),
            version_skew: "kubelet".to_owned(),
            min_version: Some("1.29".to_owned()),
            home: None,
            failures: failures(5),
            backends: vec![backend("10.0.0.11:6443", None), backend("10.0.0.12:6443", None)],
        },
        Frontend {
            name: "nodes".to_owned(),
            id: 2,
            kind: "node-address".to_owned(),
            protocol: "tcp".to_owned(),
            addresses: vec![socket("10.0.0.11:6443")],
            pool: "apiserver".to_owned(),
            scope: "all".to_owned(),
            on_empty: "pass-through".to_owned(),
            server_name: None,
            checks_certificates: true,
            policy: "random".to_owned(),
            version_skew: "off".to_owned(),
            min_version: None,
            home: Some(socket("10.0.0.11:6443")),
            failures: failures(2),
            backends: vec![
                backend("10.0.0.11:6443", None),
                backend(
                    "10.0.0.12:6443",
                    Some(
                        "not eligible: its certificate covers kubernetes, 10.96.0.1, not 10.0.0.11",
                    ),
                ),
            ],
        },
    ]
}

fn backends() -> Vec<Backend> {
    let certificate = Certificate {
        names: vec!["kubernetes".to_owned(), "10.96.0.1".to_owned()],
        not_before: 1_577_836_800,
        not_after: 4_102_444_800,
        issuer: "CN=kubernetes".to_owned(),
        subject: "CN=kube-apiserver".to_owned(),
        chain_not_after: Some(1_900_000_000),
        ends_in_s: 100_000_000,
        urgency: "none".to_owned(),
        warning: None,
    };
    let good = Backend {
        address: socket("10.0.0.11:6443"),
        sources: vec!["static".to_owned(), "kubernetes".to_owned()],
        id: 0,
        epoch: 1,
        state: "healthy".to_owned(),
        state_age_ms: 180_000,
        reason: "ready".to_owned(),
        cause: "ready".to_owned(),
        doubt: None,
        doubts: 3,
        drained: false,
        drill: None,
        drill_ends_in_ms: None,
        closes_in_ms: None,
        held_ms: None,
        closed: [("dead".to_owned(), 0), ("drained".to_owned(), 0)].into(),
        sentinel: Sentinel { state: "up".to_owned(), age_ms: Some(180_000), reason: None },
        rtt_us: Some(415),
        round_trips: durations(&[250, 500, 1_000], &[3, 170, 6, 1], 76_000),
        version: Some("v1.30.4".to_owned()),
        band: 0,
        weight: 1,
        transitions: 1,
        run: None,
        evidence: Some(Evidence {
            suspect_ms: 0,
            fail_streak: 0,
            srtt_us: Some(410),
            active: 12,
            established: 118,
            last_answer_age_ms: Some(300),
        }),
        failures: failures(0),
        last_probe: Some(LastProbe {
            age_ms: 700,
            outcome: "ready".to_owned(),
            text: "ready".to_owned(),
            rtt_us: Some(420),
            latency_us: 2600,
        }),
        next_probe_ms: Some(300),
        probes: [("ready".to_owned(), 180)].into(),
        certificate: Some(certificate),
    };
    let dead = Backend {
        address: socket("10.0.0.12:6443"),
        sources: vec!["dns cp.example.org".to_owned(), "kubernetes".to_owned()],
        id: 1,
        state: "unhealthy".to_owned(),
        state_age_ms: 4200,
        reason: "no answer to the connect".to_owned(),
        cause: "silent".to_owned(),
        closed: [("dead".to_owned(), 40), ("drained".to_owned(), 0)].into(),
        sentinel: Sentinel {
            state: "down".to_owned(),
            age_ms: None,
            reason: Some("connect refused".to_owned()),
        },
        rtt_us: Some(560),
        round_trips: durations(&[250, 500, 1_000], &[0, 9, 167, 0], 98_000),
        version: Some("v1.29.9".to_owned()),
        held_ms: Some(4000),
        band: 1,
        transitions: 2,
        run: Some(Run { direction: "up".to_owned(), count: 1, needed: 2 }),
        evidence: Some(Evidence {
            suspect_ms: 750,
            fail_streak: 3,
            active: 1,
            established: 40,
            ..Evidence::default()
        }),
        failures: failures(7),
        last_probe: Some(LastProbe {
            age_ms: 1200,
            outcome: "silent".to_owned(),
            text: "no answer to the connect".to_owned(),
            rtt_us: None,
            latency_us: 1_000_000,
        }),
        next_probe_ms: None,
        probes: [("ready".to_owned(), 176), ("silent".to_owned(), 4)].into(),
        ..good.clone()
    };
    vec![good, dead]
}

fn vip_ownership() -> VipOwnership {
    let lease = VipLease {
        name: "kube-system/nllb-vip".to_owned(),
        duration_ms: 2000,
        holder: Some("10.0.0.11".to_owned()),
        owned_ms: Some(93_000),
        remaining_ms: Some(1500),
        announces: true,
        taken: 2,
        lost: 0,
        released: 1,
        renewals: 186,
        failures: 3,
        problem: None,
    };
    VipOwnership { by: "lease".to_owned(), fit: true, unfit: None, lease: Some(lease) }
}
