//! What profiles preset, and that what is written wins.

use super::*;
use crate::health_check::Kind;

/// A pool, and the first frontend, which says no more than it must.
fn pool(text: &str) -> (Pool, FrontendSettings) {
    let text = format!(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends: [{{name: front, kind: vip, addresses: ['10.96.0.1:443']}}]
pools: [{{name: pool, endpoints: ['10.0.0.11:9999'], {text}}}]
"
    );
    let mut config = parse(&text, &Discovered::default());
    (config.pools.remove(0), config.frontends.remove(0))
}

const TRUSTING: &str = "probe: {insecureSkipVerify: true}";

#[test]
fn each_profile_presets_port_probe_and_policy() {
    for (profile, port, asked, sentinel, policy) in [
        ("apiserver", Some(6443), "https /readyz", true, Policy::Random),
        ("konnectivity", Some(8132), "tls, health port 8092 /healthz", false, Policy::RoundRobin),
        ("k0s-join", Some(9443), "https /", true, Policy::Random),
        ("supervisor", Some(9345), "https /ping", true, Policy::Random),
        ("etcd", Some(2379), "https /health", true, Policy::Random),
    ] {
        let (pool, frontend) = pool(&format!("profile: {profile}, {TRUSTING}"));
        assert_eq!((pool.profile.label(), pool.profile.default_port()), (profile, port));
        assert_eq!(pool.check.to_string(), asked);
        assert_eq!((pool.health.sentinel, frontend.policy), (sentinel, policy), "{profile}");
        assert_eq!(pool.check.is_api, profile == "apiserver");
        assert_eq!(frontend.coverage, Coverage::Address);
        let accepted = |status| pool.check.kind.accepts(status);
        assert_eq!((accepted(404), accepted(500)), (profile == "k0s-join", false), "{profile}");
    }
    assert_eq!(Profile::Custom.default_port(), None);
}

#[test]
fn what_is_written_wins_over_the_preset() {
    for (text, asked) in [
        ("profile: etcd, probe: {kind: http}", "http /health"),
        ("profile: etcd, probe: {kind: tcp}", "tcp"),
        ("profile: konnectivity, probe: {kind: tcp, healthPort: off}", "tcp"),
        (
            "profile: konnectivity, probe: {kind: http, healthPath: /x}",
            "http /, health port 8092 /x",
        ),
        ("profile: custom, probe: {kind: http, port: 80}", "http / on port 80"),
        ("probe: {kind: tcp, healthPort: 81}", "tcp, health port 81 /healthz"),
        ("probe: {kind: grpc, tls: false}", "grpc without TLS"),
        ("probe: {kind: grpc, service: etcd, insecureSkipVerify: true}", "grpc etcd"),
    ] {
        assert_eq!(pool(text).0.check.to_string(), asked, "{text}");
    }
    let (pool, _) = pool("profile: k0s-join, probe: {kind: http, accept: [204, 300-302]}");
    assert!([204, 300, 302].iter().all(|status| pool.check.kind.accepts(*status)));
    assert!(![200, 303, 404].iter().any(|status| pool.check.kind.accepts(*status)));
}

#[test]
fn where_no_certificate_is_seen_none_is_asked_for() {
    for text in ["probe: {kind: tcp}", "probe: {kind: http}", "probe: {kind: grpc, tls: false}"] {
        assert_eq!(pool(text).1.coverage, Coverage::Trusted, "{text}");
    }
}

#[test]
fn another_port_is_asked_without_a_sentinel() {
    let (pool, _) = pool("probe: {port: 8080, insecureSkipVerify: true}");
    assert_eq!((pool.check.port, pool.health.sentinel), (Some(8080), false));
    let target = pool.check.target(pool.endpoints[0]);
    assert_eq!(target, addresses(&["10.0.0.11:8080"])[0]);
}

#[test]
fn a_frontends_own_policy_wins() {
    let config = parse(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends: [{name: front, kind: vip, addresses: ['10.96.0.1:443'], policy: maglev}]
pools: [{name: pool, profile: konnectivity, endpoints: ['10.0.0.11:8132'], probe: {insecureSkipVerify: true}}]
",
        &Discovered::default(),
    );
    assert_eq!(config.frontends[0].policy, Policy::Maglev);
}

#[test]
fn nothing_of_a_kubeconfig_goes_to_a_probe_without_tls() {
    let discovered = Discovered {
        endpoints: addresses(&["10.0.0.11:6443"]),
        credentials: Credentials {
            token: Some(Material::Inline(b"secret".to_vec())),
            ..Credentials::default()
        },
        unresolved: Vec::new(),
    };
    let config = parse(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends: [{name: front, kind: vip, addresses: ['10.96.0.1:443']}]
pools: [{name: pool, kubeconfig: /k, probe: {kind: tcp}}]
",
        &discovered,
    );
    assert_eq!(config.pools[0].check.kind, Kind::Tcp);
    assert_eq!(config.pools[0].check.credentials, Credentials::default());
}
