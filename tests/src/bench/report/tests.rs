//! The result as programs and people find it.

use super::*;

fn report() -> Report {
    let side = |median: u64| Latency::of((1..=101).map(|n| median * 1000 - 51 + n).collect());
    Report {
        direct: side(20),
        unmatched: side(20),
        translated: side(21),
        kernel: KernelNs {
            connect4_translated: 251.27,
            connect4_unmatched: 90.0,
            sock_ops: 80.0,
            sock_ops_calls: 5,
        },
        floor_ns: 40.0,
        samples: 101,
        counted: 10,
        pinned: true,
        cores: 2,
    }
}

#[test]
fn percentiles_do_not_depend_on_the_order_of_the_samples() {
    let latency = Latency::of((1..=100).rev().map(|us| us * 1000).collect());
    assert_eq!(latency, Latency { p50_us: 51.0, p99_us: 100.0 });
    assert_eq!(Latency::of(Vec::new()), Latency { p50_us: 0.0, p99_us: 0.0 });
}

#[test]
fn programs_find_the_promised_keys() {
    let json = report().json();
    assert_eq!(json["direct"]["p50_us"], 20.0);
    assert_eq!(json["translated"]["p50_us"], 21.0);
    assert_eq!(json["ratio_p50"], 1.05);
    assert_eq!(json["kernel_ns"]["connect4_translated"], 251.3);
    for key in ["connect4_unmatched", "sock_ops"] {
        assert!(json["kernel_ns"][key].is_number(), "{key}");
    }
    assert!(json["direct"]["p99_us"].is_number() && json["translated"]["p99_us"].is_number());
}

#[test]
fn people_see_the_goals_beside_the_figures() {
    let table = report().table();
    let find = |start: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(start));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(find("translated /").as_deref(), Some("translated / direct 1.050 goal <= 1.05"));
    assert_eq!(
        find("connect4, translated").as_deref(),
        Some("connect4, translated 251 goal <= 300")
    );
}
