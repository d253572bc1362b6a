//! Every reason and every note, each from a document in which nothing else is wrong.

use super::*;
use crate::status::{Backend, FrontendBackend, Run, example};

#[test]
fn nothing_wrong_is_healthy_without_a_word() {
    let healthy = Judgement { state: Verdict::Healthy, reasons: vec![], notes: vec![] };
    assert_eq!(example::healthy().judge(), healthy);
}

/// What is done to a healthy document, and what it makes of the verdict: `R` lines are reasons and
/// `N` lines notes, in their order.
type Case = (&'static str, fn(&mut Status), Verdict, &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "no link",
        |s| s.datapath.links.clear(),
        Verdict::NotAttached,
        &["R connect4: there is no link", "R connect6: there is no link"],
    ),
    (
        "a lost link",
        |s| s.datapath.links[1].problem = some("detached"),
        Verdict::NotAttached,
        &["R connect4: detached"],
    ),
    (
        "no evidence",
        |s| s.datapath.links[0].problem = some("detached"),
        Verdict::Degraded,
        &["R sock_ops: detached"],
    ),
    (
        "not where it matters",
        |s| {
            s.datapath.watched[0].missing = vec!["connect4".to_owned()];
            s.datapath.watched[0].problem = some("not effective there: connect4");
        },
        Verdict::NotAttached,
        &["R pid 1 (/sys/fs/cgroup/init.scope): not effective there: connect4"],
    ),
    (
        "nobody can tell",
        |s| s.datapath.watched[0].problem = some("cannot be asked: no"),
        Verdict::Degraded,
        &["R pid 1 (/sys/fs/cgroup/init.scope): cannot be asked: no"],
    ),
    (
        "a self-test that failed",
        |s| s.datapath.self_test.failures = vec!["lost".to_owned()],
        Verdict::NotAttached,
        &["R self-test: lost"],
    ),
    (
        "no self-test yet",
        |s| s.datapath.self_test.age_ms = None,
        Verdict::Degraded,
        &["R self-test: not run yet"],
    ),
    (
        "a shortcoming",
        |s| {
            s.datapath.shortcomings = vec!["/a is not the root".to_owned()];
            s.datapath.cgroup_is_root = false;
        },
        Verdict::Degraded,
        &["R /a is not the root"],
    ),
    (
        "another cgroup by configuration",
        |s| s.datapath.cgroup_is_root = false,
        Verdict::Healthy,
        &["N attached as configured to /sys/fs/cgroup: sockets outside are not served"],
    ),
    (
        "a repaired attachment",
        |s| s.datapath.reattached = 2,
        Verdict::Healthy,
        &["N the attachment was lost and repaired since the agent started"],
    ),
    (
        "maps not in sync",
        |s| s.datapath.sync_error = some("VERDICT: no"),
        Verdict::Degraded,
        &["R the maps are not as they should be: VERDICT: no"],
    ),
    (
        "a lapsed lease",
        |s| s.lease.remaining_ms = 0,
        Verdict::Degraded,
        &["R the lease has lapsed: verdicts do not count, the kernel goes by evidence"],
    ),
    ("a third of the lease", |s| s.lease.remaining_ms = 1000, Verdict::Healthy, &[]),
    (
        "less of it",
        |s| s.lease.remaining_ms = 999,
        Verdict::Degraded,
        &["R the lease is about to lapse: the agent does not get to renew it in time"],
    ),
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
    (
        "a refused configuration",
        |s| s.config.last_reload_error = some("a.yaml:3"),
        Verdict::Degraded,
        &["R the newest configuration is refused: a.yaml:3"],
    ),
    (
        "unresolved names",
        |s| s.config.unresolved = vec!["api: cannot be resolved".to_owned()],
        Verdict::Degraded,
        &["R api: cannot be resolved"],
    ),
    (
        "a source with an error",
        |s| s.discovery.sources[2].error = some("no name server"),
        Verdict::Degraded,
        &["R dns cp.example.org: no name server"],
    ),
    (
        "a source not heard",
        |s| s.discovery.sources[1].heard_ms = None,
        Verdict::Healthy,
        &["N kubernetes was not heard yet"],
    ),
    (
        "odd entries",
        |s| s.discovery.sources[1].ignored = 3,
        Verdict::Healthy,
        &["N kubernetes: 3 of its entries cannot be backends"],
    ),
    (
        "a source that feeds no pool",
        |s| {
            for backend in s.pools.iter_mut().flat_map(|pool| &mut pool.backends) {
                backend.sources.retain(|source| source != "kubernetes");
            }
        },
        Verdict::Healthy,
        &[
            "N kubernetes: no pool uses its hosts; a pool with endpoints of its own does with a port",
        ],
    ),
    (
        "left out",
        |s| s.discovery.left_out = vec!["10.96.0.1 is left out".to_owned()],
        Verdict::Healthy,
        &["N 10.96.0.1 is left out"],
    ),
    (
        "lists not gone by",
        |s| s.discovery.problem = some("too many"),
        Verdict::Degraded,
        &["R the newest hosts are not used: too many"],
    ),
    (
        "sockets that cannot be closed",
        |s| s.closing.unreached = vec!["netns 1".to_owned()],
        Verdict::Degraded,
        &["R not closed: netns 1"],
    ),
    (
        "no SOCK_DESTROY",
        |s| {
            s.closing.mode = "timeouts".to_owned();
            s.closing.reason = some("no CONFIG_INET_DIAG_DESTROY");
        },
        Verdict::Healthy,
        &["N connections to a dead backend end by timeouts only: no CONFIG_INET_DIAG_DESTROY"],
    ),
    (
        "a listener that failed",
        |s| s.listeners[0].state = ListenerState::Failed("no".to_owned()),
        Verdict::Degraded,
        &["R listener 127.0.0.1:7443: no"],
    ),
    (
        "a listener of another",
        |s| s.listeners[0].state = ListenerState::OwnedByOther,
        Verdict::Healthy,
        &["N listener 127.0.0.1:7443: another program has the address; translation goes on"],
    ),
    (
        "a full disk",
        |s| s.table_on_disk.error = some("cannot write"),
        Verdict::Degraded,
        &["R cannot write"],
    ),
    (
        "a journal that is not written",
        |s| s.journal.error = some("cannot write"),
        Verdict::Healthy,
        &["N cannot write"],
    ),
    (
        "an unknown kubelet",
        |s| s.kubelet_version = None,
        Verdict::Healthy,
        &[
            "N the version of this node's kubelet is not known: versionSkew of kubernetes has no effect",
        ],
    ),
];

/// The first backend, and the sources that name it.
fn leave_one(status: &mut Status) {
    status.pools[0].backends.truncate(1);
    status.discovery.sources.truncate(2);
}

#[test]
fn each_trouble_has_its_word_and_its_lines() {
    for (what, change, state, lines) in CASES {
        let mut status = example::healthy();
        change(&mut status);
        let judgement = status.judge();
        assert_eq!(judgement.state, *state, "{what}: {judgement:?}");
        let reasons = judgement.reasons.iter().map(|line| format!("R {line}"));
        let notes = judgement.notes.iter().map(|line| format!("N {line}"));
        let said: Vec<_> = reasons.chain(notes).collect();
        assert_eq!(said.len(), lines.len(), "{what}: {said:#?}");
        for (said, line) in said.iter().zip(*lines) {
            assert!(said.starts_with(line), "{what}: {said:?} is not {line:?}");
        }
    }
}

#[test]
fn the_worst_comes_first_and_gives_the_word() {
    let mut status = example::healthy();
    status.config.last_reload_error = some("no");
    status.pools[0].backends.iter_mut().for_each(fail);
    status.datapath.links[2].problem = some("detached");
    let Judgement { state, reasons, notes: _ } = status.judge();
    assert_eq!(state, Verdict::NotAttached);
    assert_eq!(reasons[0], "connect6: detached");
    assert!(reasons[1].starts_with("pool apiserver: none of"), "{reasons:?}");
    let order = [Verdict::Healthy, Verdict::Degraded, Verdict::Panic, Verdict::NotAttached];
    assert!(order.is_sorted());
    for verdict in order {
        let word = serde_json::to_value(verdict).expect("JSON");
        assert_eq!(word, verdict.label());
    }
}

#[test]
fn outcomes_on_the_way_change_nothing() {
    let mut status = example::healthy();
    let direction = "down".to_owned();
    status.pools[0].backends[0].run = Some(Run { direction, count: 1, needed: 2 });
    status.counters.insert("panic".to_owned(), 7);
    assert_eq!(status.judge(), example::healthy().judge());
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn fail(backend: &mut Backend) {
    backend.state = "unhealthy".to_owned();
    backend.reason = "connect refused".to_owned();
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
