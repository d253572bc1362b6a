//! Troubles around them: configuration, sources, sockets, listeners, disk, kubelet.

use super::*;

pub(super) const CASES: &[Case] = &[
    (
        "a guest's interface without programs",
        |s| {
            let interface = &mut s.sandboxes.as_mut().expect("wanted").interfaces[0];
            interface.attached_by = None;
            interface.problem = some("cannot attach a program");
        },
        Verdict::Degraded,
        &["R sandboxes: tap0: cannot attach a program"],
    ),
    (
        "programs for guests that the kernel refuses",
        |s| {
            let sandboxes = s.sandboxes.as_mut().expect("wanted");
            sandboxes.problem = some("the kernel refused program nllb_to_guest");
        },
        Verdict::Degraded,
        &["R sandboxes: the kernel refused program nllb_to_guest"],
    ),
    (
        "a guest whose answers go past our programs, and an interface that is never served",
        |s| {
            let sandboxes = s.sandboxes.as_mut().expect("wanted");
            sandboxes.interfaces[0].one_way = true;
            sandboxes.left_alone = vec!["tap9: never served: why".to_owned()];
        },
        Verdict::Healthy,
        &["N sandboxes: tap9: never served", "N sandboxes: tap0: answers go past"],
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
