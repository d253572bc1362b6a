//! Which interfaces are served.

use super::*;
use proptest::prelude::*;

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).expect("a pattern")
}

fn interface(index: u32, name: &str, kind: &str) -> Interface {
    let kind = (!kind.is_empty()).then(|| kind.to_owned());
    Interface { index, name: name.to_owned(), kind, ..Interface::default() }
}

fn by_name(patterns: &[&str]) -> Selection {
    Selection {
        patterns: patterns.iter().map(|text| pattern(text)).collect(),
        ..Selection::default()
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.serve.values().map(|meant| meant.name.as_str()).collect()
}

#[test]
fn a_star_is_anything_and_a_question_mark_is_one_character() {
    let table = [
        ("veth*", "veth1a2b", true),
        ("veth*", "veth", true),
        ("veth*", "eveth1", false),
        ("*", "eth0", true),
        ("tap?", "tap0", true),
        ("tap?", "tap", false),
        ("tap?", "tap10", false),
        ("*_kata", "tap0_kata", true),
        ("*_kata", "tap0_kata2", false),
        ("k*a*b", "kaab", true),
        ("k*a*b", "kab0", false),
        ("***?", "", false),
        ("eth0", "eth0", true),
        ("eth0", "eth01", false),
    ];
    for (text, name, wanted) in table {
        assert_eq!(pattern(text).matches(name), wanted, "{text} and {name}");
    }
}

#[test]
fn what_no_name_can_match_is_no_pattern() {
    assert_eq!(Pattern::new(""), Err(PatternError::Empty));
    assert_eq!(Pattern::new("a b"), Err(PatternError::Character(' ')));
    assert_eq!(Pattern::new("a/b"), Err(PatternError::Character('/')));
    assert_eq!(Pattern::new("abcdefghijklmnop"), Err(PatternError::TooLong));
    assert_eq!(pattern("abcdefghijklmno*").text(), "abcdefghijklmno*");
}

proptest! {
    #[test]
    fn a_pattern_matches_as_the_plain_definition_says(
        text in "[ab?*]{1,8}",
        name in "[ab]{0,8}",
    ) {
        fn plain(pattern: &[u8], name: &[u8]) -> bool {
            match (pattern.split_first(), name.split_first()) {
                (None, rest) => rest.is_none(),
                (Some((b'*', rest)), first) => {
                    plain(rest, name) || first.is_some_and(|(_, fewer)| plain(pattern, fewer))
                }
                (Some(_), None) => false,
                (Some((wanted, rest)), Some((found, fewer))) => {
                    (*wanted == b'?' || wanted == found) && plain(rest, fewer)
                }
            }
        }
        prop_assert_eq!(pattern(&text).matches(&name), plain(text.as_bytes(), name.as_bytes()));
    }
}

#[test]
fn interfaces_are_served_by_name_or_by_pod_and_loopback_never() {
    let lo = Interface { loopback: true, ..interface(1, "lo", "") };
    let all = [
        lo,
        interface(3, "tap1", "tun"),
        interface(4, "veth1", "veth"),
        interface(5, "dummy", ""),
        interface(6, "tun7", "tun"),
        interface(7, "veth2", "veth"),
        interface(8, "old", "veth"),
    ];
    let pod = |pod: &str, last, interface| PodCable {
        pod: pod.into(),
        ip: [10, 244, 0, last].into(),
        interface,
    };
    let pods = vec![
        pod("a/node", 1, Some(1)),
        pod("a/good", 2, Some(4)),
        // By one of its addresses is enough.
        pod("a/good", 3, None),
        pod("a/named", 4, Some(3)),
        pod("a/dummy", 5, Some(5)),
        pod("a/tunnel", 6, Some(6)),
        pod("a/lost", 7, None),
        pod("a/lost", 8, None),
    ];
    let selection = Selection { pods, earlier: [8, 9].into(), ..by_name(&["tap*", "l*"]) };
    let plan = plan(&selection, &all, &BTreeMap::new(), &BTreeSet::new(), 10);
    let served: Vec<_> =
        plan.serve.values().map(|Meant { name, rule }| format!("{name}: {rule}")).collect();
    let earlier = "old: served before, pods not known yet";
    assert_eq!(served, ["tap1: name tap*", "veth1: pod a/good", earlier]);
    let left: Vec<_> = plan.left.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert_eq!(
        left,
        [
            "dummy: never served: it is no cable of pod a/dummy",
            "lo: never served: it is no cable of pod a/node",
            "pod a/lost: not served: no interface of this node leads to 10.244.0.7",
            "tun7: never served: it is no cable of pod a/tunnel",
        ]
    );
}

#[test]
fn the_way_to_others_is_never_served_nor_is_what_it_stands_on() {
    let vlan = Interface { lower: Some(4), ..interface(5, "bond0.7", "vlan") };
    let port = |index, name, kind, master| Interface {
        master: Some(master),
        ..interface(index, name, kind)
    };
    let all = [
        port(2, "eth0", "", 4),
        port(3, "veth9", "veth", 4),
        interface(4, "bond0", "bond"),
        vlan,
        port(7, "eth1", "", 8),
        interface(8, "br0", "bridge"),
        port(9, "tap0", "tun", 8),
        interface(10, "pod0", "veth"),
    ];
    let ip = IpAddr::from([10, 0, 0, 11]);
    let uplinks = [(5, Uplink::DefaultRoute), (8, Uplink::Backend(ip))].into();
    let plan = plan(&by_name(&["*"]), &all, &uplinks, &BTreeSet::new(), 10);
    assert_eq!(names(&plan), ["tap0", "pod0"]);
    let left: Vec<_> = plan.left.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    let part = "never served: it is a part of";
    assert_eq!(
        left,
        [
            format!("bond0: {part} bond0.7, over which this node reaches others"),
            "bond0.7: never served: it has a default route of this node".to_owned(),
            "br0: never served: this node reaches 10.0.0.11 over it".to_owned(),
            format!("eth0: {part} bond0.7, over which this node reaches others"),
            format!("eth1: {part} br0, over which this node reaches others"),
            format!("veth9: {part} bond0.7, over which this node reaches others"),
        ]
    );
}

#[test]
fn the_other_end_of_a_cable_in_the_same_namespace_is_not_what_it_stands_on() {
    let all = [
        Interface { lower: Some(3), ..interface(2, "one", "veth") },
        Interface { lower: Some(2), ..interface(3, "other", "veth") },
    ];
    let uplinks = [(2, Uplink::DefaultRoute)].into();
    let plan = plan(&by_name(&["o*"]), &all, &uplinks, &BTreeSet::new(), 10);
    assert_eq!((names(&plan), plan.left.len()), (vec!["other"], 1));
}

#[test]
fn where_room_is_short_those_that_are_served_stay() {
    let all: Vec<_> = (2..6).map(|index| interface(index, "tap", "tun")).collect();
    let plan = plan(&by_name(&["tap"]), &all, &BTreeMap::new(), &[4, 5].into(), 3);
    assert_eq!(plan.serve.keys().copied().collect::<Vec<_>>(), [2, 4, 5]);
    assert_eq!(plan.left, [("tap".to_owned(), Refusal::Full)]);
}
