//! Which interfaces of a node lead to guests, whose sockets no hook on a cgroup sees.
//!
//! A sandboxed pod (Kata, KubeVirt, gVisor) has a kernel of its own, so what it dials is translated on the node's
//! side of its cable. That is chosen by name, or by the pod's annotation. What comes in from outside must never be
//! translated there: an interface over which this node reaches others is left alone, whatever its name, and so
//! is what lies below it.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Longest name of an interface (`IFNAMSIZ` of `uapi/linux/if.h`, without the zero at its end).
pub const MAX_NAME: usize = 15;

/// Kinds of interfaces that are a guest's cable where they are ports of a bridge.
const CABLES: [&str; 2] = ["veth", "tun"];
/// Kinds whose ports are nothing but parts of them.
const BUNDLES: [&str; 2] = ["bond", "team"];

/// Names of interfaces: `*` stands for any characters or none, `?` for any one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

/// Why something is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// More than any interface's name has.
    #[error("is longer than the {MAX_NAME} characters of an interface's name")]
    TooLong,
    /// What no interface's name has.
    #[error("has the character {0:?}, which no interface's name has")]
    Character(char),
}

impl Pattern {
    /// The pattern of this text.
    ///
    /// # Errors
    /// When no interface can have such a name.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        // As the kernel sees it (`dev_valid_name`).
        let strange = |c: &char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
        if let Some(character) = text.chars().find(strange) {
            return Err(PatternError::Character(character));
        }
        if text.bytes().filter(|byte| *byte != b'*').count() > MAX_NAME {
            return Err(PatternError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether an interface's name is one of these.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut looked) = (0, 0);
        // Where the last star stands, and how much of the name it has taken so far.
        let mut star: Option<(usize, usize)> = None;
        while looked < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, looked));
                    at += 1;
                }
                Some(wanted) if *wanted == b'?' || *wanted == name[looked] => {
                    at += 1;
                    looked += 1;
                }
                _ => match star {
                    Some((stands, taken)) => {
                        star = Some((stands, taken + 1));
                        (at, looked) = (stands + 1, taken + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An interface of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is, as the kernel names it: `veth`, `tun`, `bridge`; nothing for hardware.
    pub kind: Option<String>,
    /// The bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// The interface of the same namespace that it stands on, as a VLAN does.
    pub lower: Option<u32>,
    /// Whether it is the loopback interface.
    pub loopback: bool,
}

/// What is to be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// By name.
    pub patterns: Vec<Pattern>,
    /// Those of pods that are annotated, by number.
    pub annotated: BTreeSet<u32>,
}

/// Why this node reaches others over an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// It has a default route.
    DefaultRoute,
    /// This backend is behind it.
    Backend(IpAddr),
}

/// Why an interface that is meant is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Others are reached over it.
    Uplink(Uplink),
    /// It is a part of such an interface, which has this name.
    PartOf(String, Uplink),
    /// More are meant than there is room for.
    Full,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uplink(Uplink::DefaultRoute) => {
                f.write_str("never served: it has a default route of this node")
            }
            Self::Uplink(Uplink::Backend(ip)) => {
                write!(f, "never served: this node reaches {ip} over it")
            }
            Self::PartOf(name, _) => {
                write!(
                    f,
                    "never served: it is a part of {name}, over which this node reaches others"
                )
            }
            Self::Full => f.write_str("not served: there are more than the data path has room for"),
        }
    }
}

/// What follows from a selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Numbers and names of the interfaces to serve.
    pub serve: BTreeMap<u32, String>,
    /// Names of those that are meant and not served, with the reason, in their order.
    pub left: Vec<(String, Refusal)>,
}

/// Decides which interfaces are served: at most `room`, those in `held` first, since they have connections.
#[must_use]
pub fn plan(
    selection: &Selection,
    interfaces: &[Interface],
    uplinks: &BTreeMap<u32, Uplink>,
    held: &BTreeSet<u32>,
    room: usize,
) -> Plan {
    let Selection { patterns, annotated } = selection;
    let meant = |interface: &&Interface| {
        let by_name = || patterns.iter().any(|pattern| pattern.matches(&interface.name));
        !interface.loopback && (annotated.contains(&interface.index) || by_name())
    };
    let mut meant: Vec<_> = interfaces.iter().filter(meant).collect();
    meant.sort_by_key(|interface| (!held.contains(&interface.index), interface.index));
    let mut plan = Plan::default();
    for interface in meant {
        let Interface { index, name, .. } = interface;
        let refusal = refusal(interface, interfaces, uplinks);
        let refusal = refusal.or_else(|| (plan.serve.len() >= room).then_some(Refusal::Full));
        match refusal {
            Some(refusal) => plan.left.push((name.clone(), refusal)),
            None => drop(plan.serve.insert(*index, name.clone())),
        }
    }
    plan.left.sort_by(|(one, _), (other, _)| one.cmp(other));
    plan
}

fn refusal(
    interface: &Interface,
    interfaces: &[Interface],
    uplinks: &BTreeMap<u32, Uplink>,
) -> Option<Refusal> {
    if let Some(uplink) = uplinks.get(&interface.index) {
        return Some(Refusal::Uplink(*uplink));
    }
    // What stands on it or has it as a port, and what that stands on. An uplink on a bond on a VLAN is
    // two steps; interfaces cannot stand in a circle.
    let above = |below: &Interface| {
        let is_above = |other: &&Interface| {
            let stands = other.lower == Some(below.index) && !is_cable(other);
            stands || (below.master == Some(other.index) && is_part(below, other))
        };
        interfaces.iter().filter(is_above).collect::<Vec<_>>()
    };
    let mut looked = BTreeSet::from([interface.index]);
    let mut next = above(interface);
    while let Some(one) = next.pop() {
        if let Some(uplink) = uplinks.get(&one.index) {
            return Some(Refusal::PartOf(one.name.clone(), *uplink));
        }
        if looked.insert(one.index) {
            next.extend(above(one));
        }
    }
    None
}

/// Whether what comes in at the master is what comes in at this port: a guest's cable is a port like the
/// hardware beside it, and still the guest's alone.
fn is_part(port: &Interface, master: &Interface) -> bool {
    let is_bundle = master.kind.as_deref().is_some_and(|kind| BUNDLES.contains(&kind));
    is_bundle || !is_cable(port)
}

fn is_cable(interface: &Interface) -> bool {
    interface.kind.as_deref().is_some_and(|kind| CABLES.contains(&kind))
}

#[cfg(test)]
mod tests {
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
        plan.serve.values().map(String::as_str).collect()
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
    fn interfaces_are_served_by_name_or_by_annotation_and_loopback_never() {
        let lo = Interface { loopback: true, ..interface(1, "lo", "") };
        let all = [
            lo,
            interface(3, "tap1", "tun"),
            interface(4, "veth1", "veth"),
            interface(5, "dummy", ""),
        ];
        let selection = Selection { annotated: [1, 4].into(), ..by_name(&["tap*", "l*"]) };
        let plan = plan(&selection, &all, &BTreeMap::new(), &BTreeSet::new(), 10);
        assert_eq!((names(&plan), plan.left.len()), (vec!["tap1", "veth1"], 0));
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
}
