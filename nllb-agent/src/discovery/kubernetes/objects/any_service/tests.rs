//! Objects as an API server shows them.

use super::*;
use serde_json::{Value, json};

fn read<O: Object<Sought = ()>>(value: Value) -> Reading<O::Item> {
    let mut reading = Reading::new(O::ROOM);
    serde_json::from_value::<O>(value).expect("an object").read(&(), &mut reading);
    reading
}

#[test]
fn every_port_of_an_endpoint_is_told_with_where_it_is_and_how_it_stands() {
    let slice = json!({
        "metadata": {"name": "kube-dns-x7k2p", "resourceVersion": "7"},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.244.0.2"], "nodeName": "worker-1", "zone": "a",
             "conditions": {"ready": false, "serving": true, "terminating": true},
             "hints": {"forZones": [{"name": "a"}, {"name": "b"}]}},
            {"addresses": ["10.244.0.3", "10.244.0.4"]},
            {"addresses": ["fd00::3"]},
        ],
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53},
            {"name": "sctp", "port": 53, "protocol": "SCTP"},
            {"name": "Bad Name", "port": 80},
            {"name": "none", "port": 0},
        ],
    });
    let reading = read::<AnySlice>(slice);
    let told: Vec<_> = reading
        .items
        .iter()
        .map(|one| {
            let ServiceEndpoint { addr, port, protocol, ready, serving, terminating, .. } = one;
            let conditions = [*ready, *serving, *terminating].map(u8::from);
            let place = (one.node.as_deref(), one.zone.as_deref(), one.for_zones.len());
            format!("{addr} {port}/{} {conditions:?} {place:?}", protocol.label())
        })
        .collect();
    assert_eq!(
        told,
        [
            "10.244.0.2:53 dns/udp [0, 1, 1] (Some(\"worker-1\"), Some(\"a\"), 2)",
            "10.244.0.2:53 dns-tcp/tcp [0, 1, 1] (Some(\"worker-1\"), Some(\"a\"), 2)",
            "10.244.0.3:53 dns/udp [1, 1, 0] (None, None, 0)",
            "10.244.0.3:53 dns-tcp/tcp [1, 1, 0] (None, None, 0)",
        ]
    );
    assert_eq!(
        reading.complaint(),
        (
            3,
            "kube-dns-x7k2p: Bad Name is no port's name, kube-dns-x7k2p: port 0 is none, kube-dns-x7k2p: fd00::3 is not IPv4"
                .to_owned()
        )
    );
}

#[test]
fn every_address_of_a_service_is_told_with_every_port() {
    let service = |spec: Value| json!({"metadata": {"name": "kube-dns"}, "spec": spec});
    let ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "metrics", "port": 9153},
    ]);
    let told = |spec| {
        let items = read::<AnyService>(service(spec)).items;
        let told = items.iter().map(|ServiceAddress { vip, port, protocol }| {
            format!("{vip} {port}/{}", protocol.label())
        });
        told.collect::<Vec<_>>()
    };
    let both = ["10.96.0.10:53 dns/udp", "10.96.0.10:9153 metrics/tcp"];
    assert_eq!(told(json!({"clusterIP": "10.96.0.10", "ports": ports})), both);
    let dual = json!({"clusterIPs": ["10.96.0.10", "fd00::a"], "ports": ports});
    assert_eq!(told(dual)[2..], ["[fd00::a]:53 dns/udp", "[fd00::a]:9153 metrics/tcp"]);
    let headless = read::<AnyService>(service(json!({"clusterIP": "None", "ports": ports})));
    assert!(headless.items.is_empty());
    assert_eq!(headless.complaint().1, "kube-dns: it is headless, so nobody dials it");
}
