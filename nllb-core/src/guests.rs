//! Which interfaces of a node lead to guests, whose sockets no hook on a cgroup sees.
//!
//! A sandboxed pod (Kata, KubeVirt, gVisor) has a kernel of its own, so what it dials is translated on the node's
//! side of its cable. That is chosen by name, or by the pod's annotation ([`Pods`]). What comes in from outside must never be
//! translated there: an interface over which this node reaches others is left alone, whatever its name, and so
//! is what lies below it.

mod pods;
#[cfg(test)]
mod tests;

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

pub use pods::{PodAddress, Pods, Sandboxed};

/// Longest name of an interface (`IFNAMSIZ` of `uapi/linux/if.h`, without the zero at its end).
pub const MAX_NAME: usize = 15;

/// Kinds of interfaces that are a guest's cable where they are ports of a bridge.
const CABLES: [&str; 2] = ["veth", "tun"];
/// Kinds that are a pod's cable wherever they are. A `tun` may be a tunnel to anywhere, so none is found by an
/// address; a name may still mean it.
const POD_CABLES: [&str; 2] = ["veth", "netkit"];
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
    /// By pod: where this node reaches those that are sandboxed.
    pub pods: Vec<PodCable>,
    /// Those that were served by an agent before, by number, as long as the pods are not known.
    pub earlier: BTreeSet<u32>,
}

/// Where this node reaches a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCable {
    /// The pod, as `namespace/name`.
    pub pod: Arc<str>,
    /// One of its addresses.
    pub ip: IpAddr,
    /// The number of the interface; none where it is not reached by one of its own.
    pub interface: Option<u32>,
}

/// By what an interface is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Its name.
    Name(Pattern),
    /// It leads to this pod, which is sandboxed.
    Pod(Arc<str>),
    /// An agent before has served it, and the pods are not known yet.
    Earlier,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(pattern) => write!(f, "name {pattern}"),
            Self::Pod(pod) => write!(f, "pod {pod}"),
            Self::Earlier => f.write_str("served before, pods not known yet"),
        }
    }
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
    /// This pod's address leads to it, and it is not of a kind that is a pod's cable.
    NoCableOf(Arc<str>),
    /// No interface of this node is the pod's: none leads to this address of it.
    Nowhere(IpAddr),
    /// Others have the pod's address as well.
    Shared(IpAddr),
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
            Self::NoCableOf(pod) => write!(f, "never served: it is no cable of pod {pod}"),
            Self::Nowhere(ip) => write!(f, "not served: no interface of this node leads to {ip}"),
            Self::Shared(ip) => write!(f, "not served: other pods have the address {ip} as well"),
            Self::Full => f.write_str("not served: there are more than the data path has room for"),
        }
    }
}

/// What follows from a selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The interfaces to serve, by number.
    pub serve: BTreeMap<u32, Meant>,
    /// Names of interfaces and pods that are meant and not served, with the reason, in their order.
    pub left: Vec<(String, Refusal)>,
}

/// An interface that is to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    /// Its name.
    pub name: String,
    /// By what it is meant.
    pub rule: Rule,
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
    let meant = |interface| Some((interface, rule(selection, interface)?));
    let mut meant: Vec<(&Interface, Rule)> = interfaces.iter().filter_map(meant).collect();
    meant.sort_by_key(|(interface, _)| (!held.contains(&interface.index), interface.index));
    let mut plan = Plan { left: nowhere(selection), ..Plan::default() };
    for (interface, rule) in meant {
        let Interface { index, name, .. } = interface;
        let refusal = refusal(interface, interfaces, uplinks);
        let refusal = refusal.or_else(|| no_cable(interface, &rule));
        let refusal = refusal.or_else(|| (plan.serve.len() >= room).then_some(Refusal::Full));
        match refusal {
            Some(refusal) => plan.left.push((name.clone(), refusal)),
            None => drop(plan.serve.insert(*index, Meant { name: name.clone(), rule })),
        }
    }
    plan.left.sort_by(|(one, _), (other, _)| one.cmp(other));
    plan
}

/// By what an interface is meant, if it is.
fn rule(selection: &Selection, interface: &Interface) -> Option<Rule> {
    let Selection { patterns, pods, earlier } = selection;
    let by_name = || patterns.iter().find(|pattern| pattern.matches(&interface.name));
    let by_pod = || pods.iter().find(|one| one.interface == Some(interface.index));
    let by_name = by_name().filter(|_| !interface.loopback);
    let rule = by_name.map(|pattern| Rule::Name(pattern.clone()));
    let rule = rule.or_else(|| by_pod().map(|one| Rule::Pod(Arc::clone(&one.pod))));
    rule.or_else(|| earlier.contains(&interface.index).then_some(Rule::Earlier))
}

/// Whoever can make the cluster believe in an address of a pod must not choose more with it than a pod.
fn no_cable(interface: &Interface, rule: &Rule) -> Option<Refusal> {
    let Rule::Pod(pod) = rule else { return None };
    let kind = interface.kind.as_deref();
    let is_cable = kind.is_some_and(|kind| POD_CABLES.contains(&kind));
    (!is_cable).then(|| Refusal::NoCableOf(Arc::clone(pod)))
}

/// The pods that no interface leads to by any of their addresses.
fn nowhere(selection: &Selection) -> Vec<(String, Refusal)> {
    let pods = &selection.pods;
    let reached = pods.iter().filter(|one| one.interface.is_some());
    let mut told: BTreeSet<&str> = reached.map(|one| &*one.pod).collect();
    let lost = pods.iter().filter(|one| told.insert(&one.pod));
    lost.map(|one| (format!("pod {}", one.pod), Refusal::Nowhere(one.ip))).collect()
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
