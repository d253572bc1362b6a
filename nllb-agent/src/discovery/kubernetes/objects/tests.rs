//! Objects as API servers have them, and as nobody should.

mod any;

use super::*;
use serde_json::{Value, json};
use std::slice::from_ref;

fn slice(name: &str, family: &str, addresses: &[&str], port: impl Into<Value>) -> Value {
    let endpoints: Vec<_> = addresses
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}))
        .collect();
    json!({
        "metadata": {"name": name, "resourceVersion": "7"},
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": "https", "port": port.into(), "protocol": "TCP"}],
    })
}

fn read<O: Object>(values: &[Value]) -> Reading<O::Item> {
    let mut store = Store::<O>::default();
    let objects =
        values.iter().map(|value| serde_json::from_value(value.clone()).expect("an object"));
    store.replace(&objects.collect::<Vec<O>>());
    store.reading()
}

fn hosts(values: &[Value]) -> Vec<String> {
    let shown = |sighting: Sighting| {
        let Sighting { ip, port, ready, terminating } = sighting;
        let port = port.map_or("?".to_owned(), |port| port.to_string());
        let ready = ready.map_or("", |ready| if ready { " ready" } else { " unready" });
        format!("{ip} {port}{ready}{}", if terminating { " terminating" } else { "" })
    };
    read::<EndpointSlice>(values).items.into_iter().map(shown).collect()
}

fn complaint(value: Value) -> String {
    let (left_out, line) = read::<EndpointSlice>(&[value]).complaint();
    assert!(left_out > 0);
    line
}

#[test]
fn both_families_and_all_conditions_are_read() {
    let mut first = slice("a", "IPv4", &["10.0.0.11"], 6443);
    first["endpoints"][0]["conditions"] =
        json!({"ready": false, "serving": true, "terminating": true});
    let second = slice("b", "IPv6", &["fd00::12"], 6444);
    let mut third = slice("c", "IPv4", &["10.0.0.13"], 6443);
    third["endpoints"][0].as_object_mut().expect("an object").remove("conditions");
    assert_eq!(
        hosts(&[first, second, third]),
        ["10.0.0.11 6443 unready terminating", "10.0.0.13 6443", "fd00::12 6444 ready"]
    );
}

#[test]
fn the_port_is_the_one_named_https_or_the_first_of_tcp() {
    let mut many = slice("a", "IPv4", &["10.0.0.11"], 6443);
    many["ports"] = json!([
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "metrics", "port": 9100},
        {"name": "https", "port": 6443},
    ]);
    assert_eq!(hosts(&[many.clone()]), ["10.0.0.11 6443 ready"]);
    many["ports"].as_array_mut().expect("a list").pop();
    assert_eq!(hosts(&[many.clone()]), ["10.0.0.11 9100 ready"]);
    for none in [Value::Null, json!([]), json!([{"port": null}])] {
        many["ports"] = none;
        assert_eq!(hosts(&[many.clone()]), ["10.0.0.11 ? ready"]);
    }
}

#[test]
fn go_writes_null_for_an_empty_list() {
    let mut empty = slice("a", "IPv4", &[], 6443);
    empty["endpoints"] = Value::Null;
    assert!(hosts(&[empty.clone()]).is_empty());
    assert_eq!(read::<EndpointSlice>(&[empty]).complaint(), (0, String::new()));
}

#[test]
fn what_is_told_twice_is_there_once() {
    let one = slice("a", "IPv4", &["10.0.0.11", "10.0.0.11"], 6443);
    let two = slice("b", "IPv4", &["10.0.0.11", "10.0.0.12"], 6443);
    assert_eq!(hosts(&[one, two]), ["10.0.0.11 6443 ready", "10.0.0.12 6443 ready"]);
}

#[test]
fn addresses_that_no_api_server_has_are_left_out_and_the_others_stay() {
    let wrong = [
        ("IPv4", "127.0.0.1", "loopback"),
        ("IPv4", "0.0.0.0", "no address"),
        ("IPv4", "0.1.2.3", "broadcast"),
        ("IPv4", "255.255.255.255", "broadcast"),
        ("IPv4", "224.0.0.1", "multicast"),
        ("IPv4", "169.254.169.254", "link-local"),
        ("IPv4", "fd00::1", "not IPv4"),
        ("IPv4", "::ffff:10.0.0.1", "not IPv4"),
        ("IPv4", "10.0.0.011", "no IP address"),
        ("IPv4", "cp.example.org", "no IP address"),
        ("IPv6", "10.0.0.1", "not IPv6"),
        ("IPv6", "::ffff:10.0.0.1", "not IPv6"),
        ("IPv6", "::1", "loopback"),
        ("IPv6", "::", "no address"),
        ("IPv6", "ff02::1", "multicast"),
        ("IPv6", "fe80::1", "link-local"),
        ("IPv6", "fe80::1%eth0", "no IP address"),
        ("FQDN", "cp.example.org", "no IP address"),
        ("FQDN", "10.0.0.1", "of an unknown address type"),
    ];
    for (family, address, why) in wrong {
        let good = if family == "IPv6" { "fd00::9" } else { "10.0.0.9" };
        let value = slice("a", family, &[address, good], 6443);
        if family != "FQDN" {
            assert_eq!(hosts(from_ref(&value)), [format!("{good} 6443 ready")], "{address}");
        }
        let line = complaint(value);
        assert!(line.starts_with(&format!("a: {address} is {why}")), "{line}");
    }
}

#[test]
fn a_port_that_is_none_takes_its_slice_out() {
    for port in [0, -1, 65_536, i64::MAX] {
        let bad = slice("a", "IPv4", &["10.0.0.11"], port);
        let good = slice("b", "IPv4", &["10.0.0.12"], 6443);
        assert_eq!(hosts(&[bad.clone(), good]), ["10.0.0.12 6443 ready"]);
        assert_eq!(complaint(bad), format!("a: port {port} is none"));
    }
}

#[test]
fn names_of_others_cannot_write_into_the_log() {
    let line = complaint(slice("a\n\u{1b}[2J", "IPv4", &["1\r\n2", &"9".repeat(9000)], 1));
    assert!(!line.contains(char::is_control), "{line}");
    assert!(line.len() < 1500, "{}", line.len());
    let long = slice(&"x".repeat(300), "IPv4", &["10.0.0.1"], 1);
    assert!(hosts(from_ref(&long)).is_empty());
    assert!(complaint(long).ends_with("one too many"));
}

#[test]
fn there_is_room_for_hundreds_and_an_end_to_it() {
    let Room { objects, items, answer: _ } = Room::OF_A_SERVICE;
    let address = |n: usize| format!("10.{}.{}.{}", n / 65_536, n / 256 % 256, n % 256);
    let values: Vec<Value> = (0..objects + 3)
        .map(|number| {
            let addresses: Vec<String> = (0..400).map(|n| address(number * 400 + n)).collect();
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            slice(&format!("s{number:03}"), "IPv4", &addresses, 6443)
        })
        .collect();
    assert_eq!(hosts(&values[..2]).len(), 800);
    let all = read::<EndpointSlice>(&values);
    assert_eq!(all.items.len(), items);
    assert_eq!(all.left_out as usize, 3 + objects * 400 - items);
    assert_eq!(all.examples.len(), EXAMPLES);
    let again = read::<EndpointSlice>(&values);
    assert_eq!(all, again, "the same are left out every time");
}

#[test]
fn an_object_that_changes_or_goes_takes_its_hosts_along() {
    let object = |value| serde_json::from_value::<EndpointSlice>(value).expect("an object");
    let mut store = Store::default();
    store.apply(&object(slice("a", "IPv4", &["10.0.0.1", "10.0.0.2"], 1)));
    store.apply(&object(slice("b", "IPv4", &["10.0.0.2"], 1)));
    store.apply(&object(slice("a", "IPv4", &["10.0.0.3"], 1)));
    assert_eq!(store.reading().items.len(), 2);
    store.remove(&object(slice("a", "IPv4", &[], 1)));
    assert_eq!(store.reading().items.len(), 1);
    store.remove(&object(slice("never", "IPv4", &[], 1)));
    store.remove(&object(slice("b", "IPv4", &[], 1)));
    assert!(store.reading().items.is_empty());
}

fn service(spec: &Value) -> Value {
    json!({"metadata": {"name": "kubernetes"}, "spec": spec})
}

fn vips(spec: &Value) -> Vec<String> {
    read::<Service>(&[service(spec)]).items.iter().map(ToString::to_string).collect()
}

#[test]
fn the_vips_are_every_address_with_every_port() {
    let ports = json!([
        {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443},
        {"name": "alt", "port": 6443},
        {"name": "quic", "port": 443, "protocol": "UDP"},
    ]);
    let both = json!({
        "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"], "ports": ports
    });
    assert_eq!(vips(&both), ["10.96.0.1:443", "10.96.0.1:6443", "[fd00::1]:443", "[fd00::1]:6443"]);
    assert_eq!(
        vips(&json!({"clusterIP": "10.96.0.1", "ports": [{"port": 443}]})),
        ["10.96.0.1:443"]
    );
    assert!(vips(&json!({"ports": [{"port": 443}]})).is_empty());
    assert!(vips(&Value::Null).is_empty());
}

#[test]
fn a_service_without_usable_vips_says_so() {
    for (spec, expected) in [
        (
            json!({"clusterIP": "None", "ports": [{"port": 443}]}),
            "kubernetes: None is no IP address",
        ),
        (
            json!({"clusterIPs": ["127.0.0.1"], "ports": [{"port": 443}]}),
            "kubernetes: 127.0.0.1 is loopback",
        ),
        (json!({"clusterIP": "10.96.0.1", "ports": [{"port": 0}]}), "kubernetes: port 0 is none"),
    ] {
        let reading = read::<Service>(&[service(&spec)]);
        assert!(reading.items.is_empty());
        assert_eq!(reading.complaint(), (1, expected.to_owned()));
    }
}
