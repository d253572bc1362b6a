//! Troubles of backends and of those that frontends may use.

use super::*;
use crate::status::FrontendBackend;

pub(super) const CASES: &[Case] = &[
    (
        "one left",
        |s| fail(&mut s.pools[0].backends[1]),
        Verdict::Degraded,
        &[
            "R pool apiserver: only 10.0.0.11:6443 of 2 backends is left",
            "R 10.0.0.12:6443 is unhealthy: connect refused",
        ],
    ),
    (
        "one of three lost",
        |s| {
            add(s, "10.0.0.13:6443");
            fail(&mut s.pools[0].backends[1]);
        },
        Verdict::Degraded,
        &["R 10.0.0.12:6443 is unhealthy: connect refused"],
    ),
    (
        "none left",
        |s| s.pools[0].backends.iter_mut().for_each(fail),
        Verdict::Panic,
        &[
            "R pool apiserver: none of its 2 backends may get connections",
            "R 10.0.0.11:6443 is unhealthy: connect refused",
            "R 10.0.0.12:6443 is unhealthy: connect refused",
        ],
    ),
    (
        "nobody",
        |s| s.pools[0].backends.clear(),
        Verdict::Panic,
        &["R pool apiserver has no backend"],
    ),
    (
        "the only one lost",
        |s| {
            leave_one(s);
            fail(&mut s.pools[0].backends[0]);
        },
        Verdict::Panic,
        &[
            "R pool apiserver: its only backend may not get connections",
            "R 10.0.0.11:6443 is unhealthy: connect refused",
        ],
    ),
    (
        "a single one",
        |s| leave_one(s),
        Verdict::Healthy,
        &["N pool apiserver has one backend, so nobody can take its place"],
    ),
    (
        "a start",
        |s| {
            s.pools[0].backends.iter_mut().for_each(|backend| {
                backend.state = "unknown".to_owned();
                backend.last_probe = None;
            });
        },
        Verdict::Degraded,
        &[
            "R pool apiserver: no probe has ended yet",
            "N 10.0.0.11:6443 was not probed yet",
            "N 10.0.0.12:6443 was not probed yet",
        ],
    ),
    (
        "limited",
        |s| {
            s.pools[0].backends[0].state = "degraded".to_owned();
            s.pools[0].backends[0].reason = "401".to_owned();
        },
        Verdict::Degraded,
        &["R 10.0.0.11:6443 is degraded: 401"],
    ),
    (
        "drained by hand",
        |s| {
            add(s, "10.0.0.13:6443");
            s.pools[0].backends[0].state = "draining".to_owned();
            s.pools[0].backends[0].drained = true;
        },
        Verdict::Healthy,
        &["N 10.0.0.11:6443 is drained by an operator"],
    ),
    (
        "about to go",
        |s| {
            add(s, "10.0.0.13:6443");
            s.pools[0].backends[0].state = "draining".to_owned();
            s.pools[0].backends[0].cause = "leaving".to_owned();
            s.pools[0].backends[0].reason = "about to go".to_owned();
        },
        Verdict::Healthy,
        &["N 10.0.0.11:6443 is about to go"],
    ),
    (
        "a Service without endpoints",
        |s| {
            let (name, profile) = ("kube-system/kube-dns:53".to_owned(), "service".to_owned());
            s.pools.push(Pool { name, profile, ..Default::default() });
        },
        Verdict::Healthy,
        &["N the Service has no endpoint for kube-system/kube-dns:53"],
    ),
    (
        "in a drill",
        |s| {
            add(s, "10.0.0.13:6443");
            s.pools[0].backends[0].state = "unhealthy".to_owned();
            s.pools[0].backends[0].reason = "drill (blackhole)".to_owned();
            s.pools[0].backends[0].drill = some("blackhole");
        },
        Verdict::Healthy,
        &["N 10.0.0.11:6443 is unhealthy: drill (blackhole)"],
    ),
    (
        "not ready",
        |s| {
            add(s, "10.0.0.13:6443");
            s.pools[0].backends[0].state = "draining".to_owned();
            s.pools[0].backends[0].reason = "not ready (500)".to_owned();
        },
        Verdict::Degraded,
        &["R 10.0.0.11:6443 is draining: not ready (500)"],
    ),
    (
        "a doubt",
        |s| s.pools[0].backends[0].doubt = some("a ping is overdue"),
        Verdict::Healthy,
        &["N 10.0.0.11:6443 is doubted: a ping is overdue"],
    ),
    (
        "doubts everywhere",
        |s| {
            s.pools[0].backends[0].doubt = some("a ping is overdue");
            s.pools[0].backends[1].evidence.as_mut().expect("evidence").suspect_ms = 100;
        },
        Verdict::Degraded,
        &[
            "R pool apiserver: all that may get connections are in doubt",
            "N 10.0.0.11:6443 is doubted: a ping is overdue",
        ],
    ),
    (
        "a certificate's last month",
        |s| certificate(s, "month"),
        Verdict::Healthy,
        &["N 10.0.0.11:6443: its certificate ends"],
    ),
    (
        "its last week",
        |s| certificate(s, "week"),
        Verdict::Degraded,
        &["R 10.0.0.11:6443: its certificate ends"],
    ),
    (
        "its end",
        |s| certificate(s, "expired"),
        Verdict::Degraded,
        &["R 10.0.0.11:6443: its certificate ends"],
    ),
    (
        "a frontend that may use the dead one alone",
        |s| {
            add(s, "10.0.0.13:6443");
            fail(&mut s.pools[0].backends[1]);
            use_second(s);
        },
        Verdict::Panic,
        &[
            "R frontend kubernetes: none of the backends that it may use may get connections",
            "R 10.0.0.12:6443 is unhealthy: connect refused",
        ],
    ),
    (
        "a frontend that may use one",
        |s| {
            add(s, "10.0.0.13:6443");
            use_second(s);
        },
        Verdict::Degraded,
        &["R frontend kubernetes: it may use only 10.0.0.12:6443 of 3 backends in service"],
    ),
    (
        "a certificate that fits nobody",
        |s| overrule(s, "certificate"),
        Verdict::Degraded,
        &["R frontend kubernetes: 10.0.0.11:6443 is used although"],
    ),
    (
        "a version that fits too few",
        |s| overrule(s, "version"),
        Verdict::Healthy,
        &["N frontend kubernetes: 10.0.0.11:6443 is used although"],
    ),
];

/// The first backend, and the sources that name it.
fn leave_one(status: &mut Status) {
    status.pools[0].backends.truncate(1);
    status.discovery.sources.truncate(2);
}

/// Adds a backend to the pool and to those that the first frontend may use.
fn add(status: &mut Status, address: &str) {
    let address = address.parse().expect("an address");
    let pool = &mut status.pools[0].backends;
    pool.push(Backend { address, id: 2, ..pool[0].clone() });
    let seen = &mut status.frontends[0].backends;
    seen.push(FrontendBackend { address, ..seen[0].clone() });
}

/// The first frontend may use the second backend and no other.
fn use_second(status: &mut Status) {
    for (index, seen) in status.frontends[0].backends.iter_mut().enumerate() {
        seen.used = index == 1;
    }
}

fn certificate(status: &mut Status, urgency: &str) {
    let facts = status.pools[0].backends[0].certificate.as_mut().expect("a certificate");
    facts.urgency = urgency.to_owned();
    facts.warning = some("its certificate ends");
}

fn overrule(status: &mut Status, about: &str) {
    let seen = &mut status.frontends[0].backends[0];
    seen.reason = some("used although");
    seen.about = some(about);
}
