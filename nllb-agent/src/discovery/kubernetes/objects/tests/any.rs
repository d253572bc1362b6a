//! Whatever an API server could answer: it is read or refused, and what is read of it is bounded.

use super::super::promises;
use super::*;
use kube::core::ObjectList;
use proptest::prelude::*;
use proptest::sample::Index;

/// Any JSON, with a liking for the keys that matter.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC*".prop_map(Value::from),
        prop_oneof![Just("IPv4"), Just("IPv6"), Just("10.0.0.1"), Just("fd00::1"), Just("TCP")]
            .prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("metadata".to_owned()),
        Just("name".to_owned()),
        Just("resourceVersion".to_owned()),
        Just("addressType".to_owned()),
        Just("endpoints".to_owned()),
        Just("addresses".to_owned()),
        Just("conditions".to_owned()),
        Just("ready".to_owned()),
        Just("ports".to_owned()),
        Just("port".to_owned()),
        Just("spec".to_owned()),
        Just("clusterIPs".to_owned()),
        Just("items".to_owned()),
        Just("type".to_owned()),
        Just("object".to_owned()),
        "\\PC{0,8}",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// What can happen to a text.
#[derive(Clone, Debug)]
enum Damage {
    /// Octets in the place of others.
    Replace(Index, Vec<u8>),
    /// Octets between others.
    Insert(Index, Vec<u8>),
    /// A part of it is gone.
    Remove(Index, Index),
    /// A part of it stands somewhere else once more.
    Repeat(Index, Index, Index),
}

impl Damage {
    fn inflict(&self, text: &mut Vec<u8>) {
        let at = |index: &Index, text: &[u8]| index.index(text.len() + 1);
        let part = |from: &Index, to: &Index, text: &[u8]| {
            let (from, to) = (at(from, text), at(to, text));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Replace(from, with) => {
                let from = at(from, text);
                let to = text.len().min(from + with.len());
                text.splice(from..to, with.iter().copied());
            }
            Self::Insert(before, what) => {
                let before = at(before, text);
                text.splice(before..before, what.iter().copied());
            }
            Self::Remove(from, to) => drop(text.drain(part(from, to, text))),
            Self::Repeat(from, to, before) => {
                let (what, before) = (text[part(from, to, text)].to_vec(), at(before, text));
                text.splice(before..before, what);
            }
        }
    }
}

fn any_damage() -> impl Strategy<Value = Damage> {
    // What means something to a reader of JSON more often than the rest.
    let octet =
        prop_oneof![any::<u8>(), proptest::sample::select(&b"0123456789-.:,\"\\[]{}entu\n\0"[..])];
    let octets = proptest::collection::vec(octet, 1..5);
    let index = any::<Index>;
    prop_oneof![
        (index(), octets.clone()).prop_map(|(from, with)| Damage::Replace(from, with)),
        (index(), octets).prop_map(|(before, what)| Damage::Insert(before, what)),
        (index(), index()).prop_map(|(from, to)| Damage::Remove(from, to)),
        (index(), index(), index()).prop_map(|(from, to, before)| Damage::Repeat(from, to, before)),
    ]
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(value in any_json()) {
        let wrapped = [
            value.clone(),
            json!({"items": [value]}),
            json!({"type": "ADDED", "object": value}),
        ];
        for value in wrapped {
            let text = value.to_string();
            promises::objects(text.as_bytes());
        }
    }

    #[test]
    fn any_slice_is_read_and_bounded(
        names in proptest::collection::vec(any::<String>(), 0..40),
        addresses in proptest::collection::vec(
            prop_oneof![any::<IpAddr>().prop_map(|ip| ip.to_string()), any::<String>()],
            0..30,
        ),
        family in prop_oneof![Just("IPv4".to_owned()), Just("IPv6".to_owned()), any::<String>()],
        port in any::<i64>(),
    ) {
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let items: Vec<Value> =
            names.iter().map(|name| slice(name, &family, &addresses, port % 70_000)).collect();
        let list = json!({"metadata": {}, "items": items}).to_string();
        serde_json::from_str::<ObjectList<EndpointSlice>>(&list).expect("a list");
        promises::objects(list.as_bytes());
        for Sighting { ip, port, .. } in read::<EndpointSlice>(&items).items {
            prop_assert!(usable(ip) == Ok(ip) && port != Some(0));
        }
    }

    #[test]
    fn what_is_good_but_for_a_few_octets_is_read_or_refused(
        damages in proptest::collection::vec(any_damage(), 1..8),
    ) {
        let slices = [
            slice("a", "IPv4", &["10.0.0.11", "10.0.0.12"], 6443),
            slice("b", "IPv6", &["fd00::11"], 6443),
        ];
        let service = service(&json!({"clusterIPs": ["10.96.0.1"], "ports": [{"port": 443}]}));
        for good in [
            json!({"metadata": {}, "items": slices}),
            json!({"metadata": {}, "items": [service]}),
            json!({"type": "ADDED", "object": slices[0]}),
            json!({"type": "ADDED", "object": service}),
        ] {
            let mut text = good.to_string().into_bytes();
            damages.iter().for_each(|damage| damage.inflict(&mut text));
            promises::objects(&text);
        }
    }

    #[test]
    fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        promises::objects(&octets);
    }
}
