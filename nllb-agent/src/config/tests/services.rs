//! What an entry of `services` becomes.

use super::*;
use crate::health_check::{Dns, Kind, Rcode};
use nllb_common::maps::Protocol::{self, Tcp, Udp};
use nllb_core::services::{PortChoice, Topology};
use std::collections::BTreeSet;

fn services(text: &str) -> Vec<Service> {
    let text = format!(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
controlPlane: {{hosts: ['10.0.0.11'], kubernetes: {{}}}}
frontends: [{{name: kubernetes, kind: vip}}]
pools: [{{name: apiserver, probe: {{insecureSkipVerify: true}}}}]
services:
{text}
"
    );
    parse(&text, &Discovered::default()).services
}

fn kind(service: &Service, port: u16, protocols: &[Protocol]) -> Result<Kind, String> {
    let protocols: BTreeSet<_> = protocols.iter().copied().collect();
    service.probe(port, &protocols).map(|check| check.kind)
}

#[test]
fn a_name_alone_is_all_ports_probed_by_what_they_are() {
    let service = &services("- {name: kube-system/kube-dns}")[0];
    let plan = &service.plan;
    assert_eq!(&*plan.name, "kube-system/kube-dns");
    assert!(plan.ports.is_empty() && plan.given.is_none());
    assert_eq!((plan.topology, plan.on_empty), (Topology::None, OnEmpty::PassThrough));
    assert!(!plan.health.sentinel);
    let dns = |tcp| Ok(Kind::Dns(Dns { tcp, ..Dns::default() }));
    assert_eq!(kind(service, 53, &[Tcp, Udp]), dns(false));
    assert_eq!(kind(service, 53, &[Udp]), dns(false));
    assert_eq!(kind(service, 53, &[Tcp]), dns(true));
    assert_eq!(kind(service, 9153, &[Tcp]), Ok(Kind::Tcp));
    let nobody = kind(service, 123, &[Udp]).expect_err("nobody answers");
    assert!(nobody.contains("over UDP") && nobody.contains("probe.port"), "{nobody}");
    assert_eq!(service.question(), "dns for port 53, else tcp");
    assert!(service.may_have_datagrams());
}

#[test]
fn what_is_written_wins() {
    let text = "- name: kube-system/kube-dns
  ports: [dns, 9153, 53/tcp]
  topology: prefer-zone
  onEmpty: fail
  probe: {query: example.org., accept: [NOERROR], interval: 3s}
- {name: kube-system/metrics-server, ports: [443/tcp], probe: {kind: https, path: /livez, insecureSkipVerify: true}}
- {name: time, addresses: [10.96.0.9], ports: [123/udp], endpoints: [10.0.0.9], probe: {kind: tcp, port: 124}}";
    let [dns, metrics, time] = services(text).try_into().expect("three");
    let plan = &dns.plan;
    let name = |name: &str| PortChoice::Name(name.to_owned());
    let ports = [name("dns"), PortChoice::Number(9153, None), PortChoice::Number(53, Some(Tcp))];
    assert_eq!(plan.ports, ports);
    assert_eq!((plan.topology, plan.on_empty), (Topology::PreferZone, OnEmpty::Fail));
    assert_eq!(plan.health.interval, Duration::from_secs(3));
    let asked = Dns { query: "example.org".to_owned(), accept: vec![Rcode::NOERROR], tcp: false };
    // Who says what is to be asked for means name servers on every port.
    assert_eq!(kind(&dns, 9153, &[Tcp, Udp]), Ok(Kind::Dns(asked)));
    assert_eq!(metrics.question(), "https /livez");
    assert!(!metrics.may_have_datagrams() && time.may_have_datagrams());
    assert_eq!(kind(&time, 123, &[Udp]), Ok(Kind::Tcp), "on a port of its own");
    let probe = |pool: &str| time.probe_of(pool, &[Udp].into()).map(|check| check.port);
    assert_eq!(probe("time:123"), Some(Some(124)));
    assert_eq!((probe("time"), probe("kube-system/kube-dns:53")), (None, None));
}

#[test]
fn a_service_that_is_given_is_every_address_with_every_port() {
    let text = "- {name: dns, addresses: [10.96.0.53, 'fd00::53'], ports: [53/udp, 53], endpoints: [10.0.0.21, '10.0.0.22:5353']}";
    let given = services(text).remove(0).plan.given.expect("given");
    let addresses = given.addresses.iter();
    let addresses: Vec<_> =
        addresses.map(|one| format!("{}/{}", one.vip, one.protocol.label())).collect();
    let wanted =
        ["10.96.0.53:53/tcp", "10.96.0.53:53/udp", "[fd00::53]:53/tcp", "[fd00::53]:53/udp"];
    assert_eq!(addresses, wanted);
    let endpoints: BTreeSet<_> = given.endpoints.iter().map(|one| one.addr.to_string()).collect();
    assert_eq!(endpoints, ["10.0.0.21:53".to_owned(), "10.0.0.22:5353".to_owned()].into());
    assert_eq!(given.endpoints.len(), 4);
}
