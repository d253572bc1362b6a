//! Versions against frontends, alone and together with certificates.

use std::net::SocketAddr;
use std::sync::Arc;

use super::*;
use crate::eligible::{Knowledge, Seen, decide};
use crate::report::{CertificateFacts, SubjectName};
use crate::settings::Coverage;
use proptest::prelude::*;

const NODE: FrontendKind = FrontendKind::NodeAddress;
const VIP: FrontendKind = FrontendKind::Vip;

#[derive(Clone, Debug)]
struct Backend {
    certificate: Option<Seen>,
    version: Option<KubeVersion>,
    serving: bool,
}

/// What the certificate is (`ok`, `bad`, `unseen`), the version, and `out` when it is not in service.
fn backend(text: &str) -> Backend {
    let mut words = text.split_whitespace();
    let seen = |ip: [u8; 4]| Seen {
        certificate: Arc::new(CertificateFacts {
            names: vec![SubjectName::Ip(ip.into())],
            not_before: 0,
            not_after: 100,
            chain_not_after: None,
            issuer: String::from("ca"),
            subject: String::from("kube-apiserver"),
        }),
        unix_time: 50,
    };
    let certificate = match words.next() {
        Some("ok") => Some(seen([10, 96, 0, 1])),
        Some("bad") => Some(seen([10, 0, 0, 9])),
        _ => None,
    };
    let version = words.next().filter(|word| *word != "?").map(version);
    Backend { certificate, version, serving: words.next() != Some("out") }
}

fn version(text: &str) -> KubeVersion {
    text.parse().expect("a version")
}

fn decisions(kind: FrontendKind, skew: Skew<'_>, backends: &[Backend]) -> Vec<Eligibility> {
    let addresses: [SocketAddr; 1] = ["10.96.0.1:443".parse().expect("an address")];
    let home = (kind == NODE).then_some(0);
    let coverage = &Coverage::Address;
    let demand = Demand { kind, coverage, addresses: &addresses, home, own: false, skew };
    let candidates: Vec<_> = backends
        .iter()
        .map(|Backend { certificate, version, serving }| Candidate {
            certificate: certificate.as_ref().map_or(Knowledge::Nothing, Knowledge::Seen),
            version: version.as_ref(),
            serving: *serving,
        })
        .collect();
    decide(demand, &candidates)
}

fn used(kind: FrontendKind, skew: Skew<'_>, backends: &[&str]) -> Vec<bool> {
    let backends: Vec<_> = backends.iter().map(|text| backend(text)).collect();
    decisions(kind, skew, &backends).iter().map(Eligibility::is_used).collect()
}

const NEWEST: Skew<'_> = Skew { oldest: None, newest_only: true };

#[test]
fn a_backend_below_the_oldest_version_serves_nobody_while_another_does() {
    let oldest = version("1.30");
    let skew = Skew { oldest: Some(&oldest), newest_only: false };
    for (backends, expected) in [
        (vec!["ok 1.30.9", "ok 1.29.15", "ok 1.31"], vec![true, false, true]),
        // The only new one is out of service: it stays, and so do those that answer.
        (vec!["ok 1.30 out", "ok 1.29", "ok 1.28"], vec![true, true, true]),
        (vec!["ok 1.28", "ok 1.29"], vec![true, true]),
        (vec!["ok 1.28", "ok 1.29", "ok 1.30"], vec![false, true, true]),
    ] {
        assert_eq!(used(VIP, skew, &backends), expected, "{backends:?}");
        assert_eq!(used(FrontendKind::Loopback, skew, &backends), expected, "{backends:?}");
    }
}

#[test]
fn only_the_newest_in_service_are_preferred() {
    for (backends, expected) in [
        (vec!["ok 1.31.1", "ok 1.30.2", "ok 1.31.0"], vec![true, false, true]),
        (vec!["ok 1.30", "ok 1.30", "ok 1.30"], vec![true, true, true]),
        (vec!["ok 1.31 out", "ok 1.30", "ok 1.30", "ok 1.29"], vec![true, true, true, false]),
        (vec!["ok 2.0", "ok 2.0", "ok 1.99"], vec![true, true, false]),
    ] {
        assert_eq!(used(VIP, NEWEST, &backends), expected, "{backends:?}");
    }
}

#[test]
fn the_first_that_is_upgraded_does_not_serve_alone() {
    for (backends, expected) in [
        (vec!["ok 1.31", "ok 1.30", "ok 1.30"], vec![true, true, true]),
        (vec!["ok 1.31", "ok 1.30", "ok 1.29"], vec![true, true, false]),
        // Nobody is left to stand beside it.
        (vec!["ok 1.31", "ok 1.30 out", "bad 1.30"], vec![true, false, false]),
    ] {
        assert_eq!(used(VIP, NEWEST, &backends), expected, "{backends:?}");
    }
}

#[test]
fn an_unknown_version_is_used_as_long_as_nothing_better_is_known() {
    let oldest = version("1.30");
    let skew = Skew { oldest: Some(&oldest), newest_only: false };
    for (backends, expected) in [
        (vec!["ok ?", "ok ?"], vec![true, true]),
        (vec!["ok ?", "ok 1.30"], vec![true, true]),
        (vec!["ok ?", "ok 1.30", "ok 1.30"], vec![false, true, true]),
        (vec!["ok ?", "ok 1.30", "ok 1.29"], vec![false, true, true]),
        (vec!["ok ?", "ok 1.30 out"], vec![true, true]),
        (vec!["unseen ?", "ok 1.29"], vec![true, true]),
    ] {
        assert_eq!(used(VIP, skew, &backends), expected, "{backends:?}");
    }
}

#[test]
fn a_certificate_that_does_not_fit_weighs_more_than_a_version() {
    let oldest = version("1.30");
    let skew = Skew { oldest: Some(&oldest), newest_only: false };
    // The new one fails its handshakes, so it makes nobody else too old.
    assert_eq!(used(VIP, skew, &["bad 1.31", "ok 1.29"]), [false, true]);
    assert_eq!(used(VIP, NEWEST, &["bad 1.31", "ok 1.29", "ok 1.28"]), [false, true, true]);
    // Nobody's certificate fits: all are used, whatever their version.
    let backends = [backend("bad 1.31"), backend("bad 1.29")];
    let found = decisions(VIP, skew, &backends);
    assert!(found.iter().all(Eligibility::is_used));
    assert!(matches!(found[1], Eligibility::Overruled(Reason::NotCovered { .. })), "{found:?}");
}

#[test]
fn the_reason_says_which_version_is_missing() {
    let oldest = version("1.30");
    let skew = Skew { oldest: Some(&oldest), newest_only: false };
    let texts = |skew, backends: &[&str]| -> Vec<String> {
        let backends: Vec<_> = backends.iter().map(|text| backend(text)).collect();
        decisions(VIP, skew, &backends).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        texts(skew, &["ok 1.30", "ok 1.30", "ok v1.29.3", "ok ?"])[1..],
        [
            "eligible",
            "not eligible: its version v1.29.3 is older than 1.30",
            "not eligible: its version is not known yet"
        ]
    );
    assert_eq!(
        texts(skew, &["ok v1.29.3"]),
        [
            "used although its version v1.29.3 is older than 1.30, because fewer than two backends in \
             service are known to fit"
        ]
    );
    assert_eq!(
        texts(NEWEST, &["ok v1.31.0", "ok v1.31.0", "ok v1.30.3"])[2],
        "not eligible: its version v1.30.3 is older than v1.31.0, which is in service"
    );
    assert_eq!(
        texts(NEWEST, &["ok v1.31.0", "ok v1.30.3"])[1],
        "used although its version v1.30.3 is older than v1.31.0, which is in service, because fewer \
         than two backends in service are known to fit"
    );
}

#[test]
fn a_node_address_keeps_its_own_backend_and_takes_no_other_that_is_known_to_be_too_old() {
    let oldest = version("1.30");
    let skew = Skew { oldest: Some(&oldest), newest_only: false };
    assert_eq!(used(NODE, skew, &["ok 1.29", "ok 1.29"]), [true, false]);
    assert_eq!(used(NODE, skew, &["ok 1.29", "ok 1.30", "ok ?"]), [true, true, false]);
    assert_eq!(used(NODE, skew, &["ok 1.29", "ok ?"]), [true, true]);
    // Its own backend is no measure for the others: they are asked for when it is gone.
    assert_eq!(used(NODE, NEWEST, &["ok 1.31", "ok 1.30", "ok 1.29"]), [true, true, false]);
}

fn some_backend() -> impl Strategy<Value = String> {
    let certificate = prop::sample::select(vec!["ok", "bad", "unseen"]);
    let release = prop::sample::select(vec!["?", "1.28", "1.29", "1.30", "1.31"]);
    let service = prop::sample::select(vec!["", "out"]);
    (certificate, release, service).prop_map(|(c, r, s)| format!("{c} {r} {s}"))
}

proptest! {
    #[test]
    fn versions_leave_a_frontend_two_backends_in_service_where_there_are_two(
        backends in prop::collection::vec(some_backend(), 1..8), newest_only: bool,
        oldest in prop::option::of(prop::sample::select(vec!["1.29", "1.30", "1.40"])),
    ) {
        let oldest = oldest.map(version);
        let backends: Vec<_> = backends.iter().map(|text| backend(text)).collect();
        let serves = |skew| {
            let found = decisions(VIP, skew, &backends);
            let used = found.iter().zip(&backends).filter(|(found, _)| found.is_used());
            used.fold((0, 0), |(all, up), (_, it)| (all + 1, up + u32::from(it.serving)))
        };
        let without = serves(Skew::default());
        let with = serves(Skew { oldest: oldest.as_ref(), newest_only });
        prop_assert!(with.0 > 0);
        prop_assert_eq!(with.1.min(2), without.1.min(2), "{:?} became {:?}", without, with);
    }
}

#[test]
fn who_did_not_tell_its_version_yet_is_not_older_than_who_did() {
    // The agent restarted; 10.0.0.1 runs 1.29 and its answer was the first.
    assert_eq!(used(VIP, NEWEST, &["ok 1.29", "ok ?", "ok ?"]), [true, true, true]);
}
