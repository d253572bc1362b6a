//! Troubles of the data path: attachment, maps, lease.

use super::*;

pub(super) const CASES: &[Case] = &[
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
];
