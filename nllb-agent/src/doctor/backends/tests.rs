//! Each fault of a backend and of the way to it, as it is observed.

use super::super::Verdict::{self, Fail, Pass, Skip, Warn};
use super::*;

const DAY: i64 = 86_400;

fn good() -> Backend {
    let took = Duration::from_micros(1500);
    let certificate = CertificateFacts {
        names: Vec::new(),
        not_before: 0,
        not_after: 300 * DAY,
        chain_not_after: None,
        issuer: String::new(),
        subject: String::new(),
    };
    Backend {
        address: ([10, 0, 0, 11], 6443).into(),
        question: "https /readyz".to_owned(),
        known: true,
        seen: Examination {
            tcp: Ok(took),
            tls: Some(Ok(took)),
            answer: Some(Ok(Answer { outcome: Outcome::Ready, took, ahead: Some(0) })),
            large: Some(Ok(took)),
            certificate: Some(Arc::new(certificate)),
            version: Some("v1.34.2".parse().expect("a version")),
            path: Some(Path { mtu: 1500, ..Path::default() }),
        },
        anonymous: Some(Outcome::Ready),
        on_loopback: None,
        uncovered: Vec::new(),
        from_pod: Some(("process 7".to_owned(), Outcome::Ready)),
    }
}

fn around() -> Around {
    Around { now: 100 * DAY, kubelet: Some("v1.33.1".parse().expect("a version")) }
}

fn all(backend: &Backend) -> Vec<Check> {
    checks(backend, &around())
}

fn find(backend: &Backend, what: &str) -> Option<(Verdict, String)> {
    let name = format!("{} {what}", backend.address);
    let check = all(backend).into_iter().find(|check| check.name == name)?;
    assert_eq!(check.fix.is_some(), matches!(check.verdict, Warn | Fail), "{check:?}");
    Some((check.verdict, check.found))
}

fn verdict(backend: &Backend, what: &str) -> Option<Verdict> {
    find(backend, what).map(|(verdict, _)| verdict)
}

#[test]
fn a_good_backend_passes() {
    let checks = all(&good());
    assert_eq!(checks.len(), 8);
    assert!(checks.iter().all(|check| check.verdict == Pass), "{checks:?}");
}

#[test]
fn a_connect_that_fails_is_all_there_is_to_say() {
    let mut dead = good();
    dead.seen = Examination {
        tcp: Err(Outcome::Silent),
        tls: None,
        answer: None,
        large: None,
        certificate: None,
        version: None,
        path: None,
    };
    (dead.anonymous, dead.from_pod) = (None, None);
    let checks = all(&dead);
    assert_eq!((checks.len(), checks[0].verdict), (1, Fail), "{checks:?}");
    dead.seen.tcp = Err(Outcome::Refused);
    dead.on_loopback = Some(true);
    let (verdict, found) = find(&dead, "tcp").expect("a check");
    assert_eq!((verdict, found.contains("listens on loopback alone")), (Fail, true), "{found}");
    dead.on_loopback = Some(false);
    assert!(!find(&dead, "tcp").expect("a check").1.contains("loopback"));
}

#[test]
fn a_frozen_server_is_told_from_a_way_that_loses_full_packets() {
    let mut silent = good();
    silent.seen.tls = Some(Err(Outcome::Hung));
    (silent.seen.answer, silent.seen.large, silent.seen.certificate) = (None, None, None);
    assert_eq!((verdict(&silent, "tls"), verdict(&silent, "mtu")), (Some(Fail), None));
    silent.seen.path = Some(Path { mtu: 1500, out_of_order: 1, ..Path::default() });
    assert_eq!((verdict(&silent, "tls"), verdict(&silent, "mtu")), (Some(Fail), Some(Fail)));

    let mut outwards = good();
    outwards.seen.large = Some(Err(Outcome::Slow));
    assert_eq!(verdict(&outwards, "mtu"), None, "slow, and everything was acknowledged");
    let path = Path { mtu: 1500, retransmitted: 2, unacknowledged: 3, ..Path::default() };
    outwards.seen.path = Some(path);
    assert_eq!(verdict(&outwards, "mtu"), Some(Fail));
}

#[test]
fn each_reason_of_a_failed_handshake_has_a_fix_of_its_own() {
    let mut fixes = std::collections::BTreeSet::new();
    let reasons = ["certificate not valid for name \"x\"", "UnknownIssuer", "Expired", "other"];
    for reason in reasons {
        let mut backend = good();
        backend.seen.tls = Some(Err(Outcome::TlsFailed { reason: reason.to_owned() }));
        let check = all(&backend).into_iter().find(|check| check.name.ends_with(" tls"));
        fixes.insert(check.expect("a check").fix.expect("a fix"));
    }
    assert_eq!(fixes.len(), reasons.len());
}

#[test]
fn a_certificate_must_be_for_every_frontend_and_last() {
    let with = |change: fn(&mut CertificateFacts)| {
        let mut backend = good();
        let mut certificate =
            CertificateFacts::clone(backend.seen.certificate.as_ref().expect("one"));
        change(&mut certificate);
        backend.seen.certificate = Some(Arc::new(certificate));
        verdict(&backend, "certificate")
    };
    assert_eq!(with(|certificate| certificate.not_after = 120 * DAY), Some(Warn));
    assert_eq!(with(|certificate| certificate.not_after = 105 * DAY), Some(Fail));
    assert_eq!(with(|certificate| certificate.chain_not_after = Some(99 * DAY)), Some(Fail));
    assert_eq!(with(|certificate| certificate.not_before = 101 * DAY), Some(Fail));
    let backend = Backend { uncovered: vec!["kubernetes: no".to_owned()], ..good() };
    assert_eq!(verdict(&backend, "certificate"), Some(Fail));
}

#[test]
fn what_is_answered_decides_and_so_do_missing_credentials() {
    let with = |outcome: Outcome, known| {
        let mut backend = Backend { known, ..good() };
        let took = Duration::from_millis(2);
        backend.seen.answer = Some(Ok(Answer { outcome, took, ahead: None }));
        find(&backend, "https /readyz").expect("a check")
    };
    assert_eq!(with(Outcome::Unauthorized, false).0, Warn);
    assert_eq!(with(Outcome::CredentialsRefused, true).0, Warn);
    assert_eq!(with(Outcome::NotReady { status: 500 }, true).0, Fail);
    let (verdict, found) = with(Outcome::NotReady { status: 403 }, false);
    assert_eq!((verdict, found.contains("anonymous requests are forbidden")), (Fail, true));
    let mut slow = good();
    slow.seen.answer = Some(Err(Outcome::Slow));
    assert_eq!(find(&slow, "https /readyz").expect("a check").0, Fail);
}

#[test]
fn anonymous_auth_is_told_and_no_fault() {
    for (outcome, expected) in [
        (Outcome::Unauthorized, Pass),
        (Outcome::NotReady { status: 403 }, Pass),
        (Outcome::Silent, Skip),
    ] {
        let backend = Backend { anonymous: Some(outcome), ..good() };
        assert_eq!(verdict(&backend, "anonymous auth"), Some(expected));
    }
}

#[test]
fn no_kubelet_is_newer_than_its_api_server_nor_much_older() {
    for (kubelet, expected) in
        [("v1.34.9", Pass), ("v1.35.0", Fail), ("v1.31.0", Pass), ("v1.30.0", Warn), ("v2.0", Fail)]
    {
        let kubelet = Some(kubelet.parse().expect("a version"));
        let checks = checks(&good(), &Around { kubelet, ..around() });
        let check = checks.iter().find(|check| check.name.ends_with("version")).expect("one");
        assert_eq!(check.verdict, expected, "{}", check.found);
    }
}

#[test]
fn a_pod_that_cannot_reach_what_the_node_can_is_a_warning() {
    for (outcome, expected) in [
        (Outcome::Silent, Warn),
        (Outcome::Unauthorized, Pass),
        (Outcome::Local { reason: "gone".to_owned() }, Skip),
    ] {
        let backend = Backend { from_pod: Some(("process 7".to_owned(), outcome)), ..good() };
        assert_eq!(verdict(&backend, "from a pod"), Some(expected));
    }
}
