//! Certificates against frontends: names, wildcards, addresses, dates, and never an empty pool.

use super::*;

const NOW: i64 = 1_000;

fn seen(names: &[&str]) -> Seen {
    let name = |text: &&str| match text.parse() {
        Ok(ip) => SubjectName::Ip(ip),
        Err(_) => SubjectName::Dns((*text).to_owned()),
    };
    let certificate = CertificateFacts {
        names: names.iter().map(name).collect(),
        not_before: NOW - 10,
        not_after: NOW + 10,
        chain_not_after: None,
        issuer: String::from("ca"),
        subject: String::from("kube-apiserver"),
    };
    Seen { certificate: Arc::new(certificate), unix_time: NOW }
}

fn at(unix_time: i64, seen: &Seen) -> Seen {
    Seen { unix_time, ..seen.clone() }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn used(
    kind: FrontendKind,
    coverage: &Coverage,
    dialled: &[&str],
    home: Option<usize>,
    backends: &[Option<&Seen>],
) -> Vec<bool> {
    let addresses = addresses(dialled);
    let demand =
        Demand { kind, coverage, addresses: &addresses, home, own: false, skew: Skew::default() };
    decide(demand, &knowledge(backends)).iter().map(Eligibility::is_used).collect()
}

fn knowledge<'a>(seen: &[Option<&'a Seen>]) -> Vec<Candidate<'a>> {
    let known = |seen: &Option<&'a Seen>| seen.map_or(Knowledge::Nothing, Knowledge::Seen);
    let known: Vec<_> = seen.iter().map(known).collect();
    candidates(&known)
}

fn candidates<'a>(known: &[Knowledge<'a>]) -> Vec<Candidate<'a>> {
    known.iter().map(|k| Candidate { certificate: *k, version: None, serving: true }).collect()
}

const VIP: FrontendKind = FrontendKind::Vip;
const NODE: FrontendKind = FrontendKind::NodeAddress;

#[test]
fn a_wildcard_stands_for_exactly_one_whole_first_label() {
    for (pattern, wanted, expected) in [
        ("kubernetes", "kubernetes", true),
        ("Kubernetes.Default", "kubernetes.default.", true),
        ("kubernetes.default.", "KUBERNETES.default", true),
        ("kubernetes", "kubernetes.default", false),
        ("*.example.com", "a.example.com", true),
        ("*.EXAMPLE.com", "A.example.COM", true),
        ("*.example.com", "example.com", false),
        ("*.example.com", ".example.com", false),
        ("*.example.com", "a.b.example.com", false),
        ("a*.example.com", "ab.example.com", false),
        ("*", "example", false),
        ("*.", "example.", false),
        ("", "", false),
        ("*.0.0.1", "10.0.0.1", false),
    ] {
        assert_eq!(covers_name(&seen(&[pattern]).certificate.names, wanted), expected, "{pattern}");
    }
}

#[test]
fn an_ip_address_is_matched_as_an_address_in_either_spelling() {
    let names = &seen(&["10.0.0.1", "fd00::1", "kubernetes"]).certificate.names;
    for (wanted, expected) in [
        ("10.0.0.1", true),
        ("::ffff:10.0.0.1", true),
        ("fd00:0:0::1", true),
        ("10.0.0.2", false),
        ("kubernetes", true),
    ] {
        assert_eq!(covers_name(names, wanted), expected, "{wanted}");
    }
    let text_only = [SubjectName::Dns(String::from("10.0.0.1"))];
    assert!(!covers_name(&text_only, "10.0.0.1"), "an address as a DNS name does not count");
}

#[test]
fn only_backends_that_cover_every_address_serve_a_vip() {
    let (both, one) = (seen(&["10.96.0.1", "fd00::1"]), seen(&["10.96.0.1"]));
    let dialled = ["10.96.0.1:443", "[fd00::1]:443"];
    let backends = [Some(&both), Some(&one)];
    assert_eq!(used(VIP, &Coverage::Address, &dialled, None, &backends), [true, false]);
}

#[test]
fn a_vip_uses_a_backend_that_was_not_seen_yet() {
    let fits = seen(&["10.96.0.1"]);
    let backends = [Some(&fits), None];
    assert_eq!(used(VIP, &Coverage::Address, &["10.96.0.1:443"], None, &backends), [true, true]);
    assert_eq!(used(VIP, &Coverage::Address, &["10.96.0.1:443"], None, &[None]), [true]);
}

#[test]
fn a_vip_is_never_emptied_and_the_reason_says_why_a_backend_is_used() {
    let wrong = seen(&["kubernetes"]);
    let addresses = addresses(&["10.96.0.1:443"]);
    for kind in [FrontendKind::Vip, FrontendKind::Loopback] {
        let demand = Demand {
            kind,
            coverage: &Coverage::Address,
            addresses: &addresses,
            home: None,
            own: false,
            skew: Skew::default(),
        };
        // The one that was not seen may be dead for good: it is not enough to leave the others out.
        let decisions = decide(demand, &knowledge(&[Some(&wrong), None]));
        assert!(decisions.iter().all(Eligibility::is_used));
        assert_eq!(
            decisions[0].to_string(),
            "used although its certificate does not cover 10.96.0.1, only kubernetes, because no \
             backend is known to fit"
        );
    }
}

#[test]
fn a_certificate_out_of_its_dates_counts_as_one_that_does_not_fit() {
    let fits = seen(&["10.96.0.1"]);
    let (expired, early) = (at(NOW + 11, &fits), at(NOW - 11, &fits));
    let backends = [Some(&fits), Some(&expired), Some(&early)];
    let dialled = ["10.96.0.1:443"];
    assert_eq!(used(VIP, &Coverage::Address, &dialled, None, &backends), [true, false, false]);
    let all_expired = [Some(&expired), Some(&expired)];
    assert_eq!(used(VIP, &Coverage::Address, &dialled, None, &all_expired), [true, true]);
    let edges = [at(NOW + 10, &fits), at(NOW - 10, &fits)];
    assert!(edges.iter().all(|seen| seen.outdated().is_none()));
}

#[test]
fn a_node_address_takes_nobody_else_on_a_guess() {
    let (own, fits, wrong) = (seen(&["10.0.0.1"]), seen(&["10.0.0.1", "10.0.0.2"]), seen(&["x"]));
    let expired = at(NOW + 11, &fits);
    let backends = [Some(&own), Some(&fits), Some(&wrong), None, Some(&expired)];
    let dialled = ["10.0.0.1:6443"];
    let expected = [true, true, false, false, false];
    assert_eq!(used(NODE, &Coverage::Address, &dialled, Some(0), &backends), expected);
}

#[test]
fn a_node_address_always_keeps_its_own_backend() {
    let wrong = seen(&["x"]);
    let dialled = ["10.0.0.1:6443"];
    for own in [None, Some(&wrong)] {
        assert_eq!(used(NODE, &Coverage::Address, &dialled, Some(0), &[own]), [true]);
    }
}

#[test]
fn a_trusted_frontend_asks_for_nothing() {
    let expired = at(NOW + 11, &seen(&["x"]));
    let backends = [None, Some(&expired), None];
    let dialled = ["10.0.0.1:6443"];
    for kind in [FrontendKind::Vip, FrontendKind::Loopback, FrontendKind::NodeAddress] {
        let home = Some(0);
        assert_eq!(used(kind, &Coverage::Trusted, &dialled, home, &backends), [true; 3]);
    }
}

#[test]
fn a_server_name_is_asked_for_instead_of_the_address() {
    let (named, other) = (seen(&["*.cluster.local"]), seen(&["10.96.0.1"]));
    let name = Coverage::ServerName(String::from("kubernetes.cluster.local"));
    let backends = [Some(&named), Some(&other)];
    assert_eq!(used(VIP, &name, &["10.96.0.1:443"], None, &backends), [true, false]);
    let ip = Coverage::ServerName(String::from("10.96.0.1"));
    assert_eq!(used(VIP, &ip, &["127.0.0.1:7443"], None, &backends), [false, true]);
}

#[test]
fn the_decisions_of_the_agent_before_stand_until_a_certificate_is_seen() {
    let (fits, wrong) = (seen(&["10.0.0.1"]), seen(&["x"]));
    let addresses = addresses(&["10.0.0.1:6443"]);
    let (yes, no) = (Knowledge::Inherited { used: true }, Knowledge::Inherited { used: false });
    for (kind, backends, expected) in [
        (VIP, vec![yes, no], vec![true, false]),
        (VIP, vec![no, no], vec![true, true]),
        (VIP, vec![yes, Knowledge::Nothing], vec![true, true]),
        (VIP, vec![Knowledge::Seen(&wrong), yes], vec![false, true]),
        (VIP, vec![Knowledge::Seen(&wrong), no], vec![true, true]),
        (NODE, vec![no, yes, no, Knowledge::Seen(&fits)], vec![true, true, false, true]),
        (NODE, vec![yes, yes, Knowledge::Seen(&wrong)], vec![true, true, false]),
    ] {
        let coverage = &Coverage::Address;
        let demand = Demand {
            kind,
            coverage,
            addresses: &addresses,
            home: Some(0),
            own: false,
            skew: Skew::default(),
        };
        let used: Vec<_> =
            decide(demand, &candidates(&backends)).iter().map(Eligibility::is_used).collect();
        assert_eq!(used, expected, "{kind:?} {backends:?}");
    }
}

#[test]
fn the_own_address_of_this_host_is_served_by_nobody_else() {
    let fits = seen(&["10.0.0.1"]);
    let addresses = ["10.0.0.1:6443".parse().expect("an address")];
    for (own, others) in [(false, true), (true, false)] {
        let demand = Demand {
            kind: FrontendKind::NodeAddress,
            coverage: &Coverage::Address,
            addresses: &addresses,
            home: Some(0),
            own,
            skew: Skew::default(),
        };
        let decisions = decide(demand, &knowledge(&[Some(&fits), Some(&fits)]));
        assert!(decisions[0].is_used(), "its own server stays");
        assert_eq!(decisions[1].is_used(), others);
    }
}
