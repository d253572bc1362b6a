//! The pods of this node as the cluster tells of them, and which addresses are those of sandboxed ones.
//!
//! A pod says of itself no more than that it is sandboxed, and its address leads to the interface. So an address
//! that two pods have is nobody's, or one pod's annotation would have another's interface served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Refusal;
use crate::heard::Heard;
use crate::membership::{SourceId, SourceKind, SourceView};

/// An address of a pod of this node that has a network of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodAddress {
    /// The address.
    pub ip: IpAddr,
    /// Whose it is, as `namespace/name`.
    pub pod: Arc<str>,
    /// Whether the pod is annotated.
    pub sandboxed: bool,
    /// Whether the pod is about to go: another may have its address already.
    pub ending: bool,
}

/// What is known of the pods.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    /// The annotation; none where the pods are not asked for.
    annotation: Option<Arc<str>>,
    heard: Heard<Vec<PodAddress>>,
}

/// The addresses of sandboxed pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandboxed {
    /// Whose each is.
    pub pods: BTreeMap<IpAddr, Arc<str>>,
    /// Pods that share an address, with the reason why it counts for none of them.
    pub left: Vec<(String, Refusal)>,
}

impl Pods {
    /// Those with this annotation, or none. Nobody is heard yet.
    #[must_use]
    pub fn new(annotation: Option<&str>) -> Self {
        Self { annotation: annotation.map(Arc::from), heard: Heard::default() }
    }

    /// Goes by another annotation; what is known by the same one is kept.
    pub fn set_annotation(&mut self, annotation: Option<&str>) {
        if self.annotation.as_deref() != annotation {
            *self = Self::new(annotation);
        }
    }

    /// Takes all addresses that there are now, by this annotation; says whether others are sandboxed than before.
    pub fn handle_listing(&mut self, by: &str, addresses: Vec<PodAddress>, now: Instant) -> bool {
        // News of a watch that a reload has ended may still be on its way.
        if self.annotation.as_deref() != Some(by) {
            return false;
        }
        let before = self.sandboxed();
        self.heard.take(addresses, now);
        before != self.sandboxed()
    }

    /// Takes that they cannot be asked for. What is known stays.
    pub fn handle_failure(&mut self, reason: String, now: Instant) {
        self.heard.fail(reason, now);
    }

    /// Whether they are known to be out of reach.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.heard.is_failing()
    }

    /// Those that are sandboxed; `None` while that is not known.
    #[must_use]
    pub fn sandboxed(&self) -> Option<Sandboxed> {
        match (&self.annotation, &self.heard.listing) {
            (None, _) => Some(Sandboxed::default()),
            (Some(_), None) => None,
            (Some(_), Some(addresses)) => Some(choose(addresses)),
        }
    }

    /// The source, for status and metrics; none where they are not asked for.
    #[must_use]
    pub fn view(&self) -> Option<SourceView> {
        let name = Arc::clone(self.annotation.as_ref()?);
        let pods = self.sandboxed().map(|one| one.pods.into_values().collect::<BTreeSet<_>>());
        let id = SourceId { kind: SourceKind::Pods, name };
        Some(self.heard.view(id, pods.map_or(0, |pods| pods.len()), Vec::new()))
    }
}

/// An address is the one pod's that has it; one that goes gives way to one that stays.
fn choose(addresses: &[PodAddress]) -> Sandboxed {
    let mut claims: BTreeMap<IpAddr, Vec<&PodAddress>> = BTreeMap::new();
    for one in addresses {
        claims.entry(one.ip).or_default().push(one);
    }
    let mut chosen = Sandboxed::default();
    for (ip, mut claims) in claims {
        if claims.iter().any(|one| !one.ending) {
            claims.retain(|one| !one.ending);
        }
        let sandboxed = claims.iter().filter(|one| one.sandboxed);
        if let [PodAddress { pod, sandboxed: true, .. }] = claims.as_slice() {
            chosen.pods.insert(ip, Arc::clone(pod));
        } else {
            let left = sandboxed.map(|one| (format!("pod {}", one.pod), Refusal::Shared(ip)));
            chosen.left.extend(left);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(last: u8, name: &str, sandboxed: bool) -> PodAddress {
        PodAddress { ip: [10, 244, 0, last].into(), pod: name.into(), sandboxed, ending: false }
    }

    fn names(pods: &Pods) -> Vec<String> {
        let sandboxed = pods.sandboxed().expect("known");
        sandboxed.pods.into_iter().map(|(ip, pod)| format!("{pod} {ip}")).collect()
    }

    #[test]
    fn pods_that_are_not_asked_for_are_none_and_those_that_were_not_heard_are_unknown() {
        let now = Instant::now();
        let mut pods = Pods::default();
        assert!(!pods.handle_listing("x", vec![pod(2, "a/b", true)], now));
        assert_eq!((pods.sandboxed(), pods.view()), (Some(Sandboxed::default()), None));
        pods.set_annotation(Some("x"));
        assert_eq!(pods.sandboxed(), None);
        // Even that there are none is news then.
        assert!(pods.handle_listing("x", vec![pod(2, "a/b", false)], now));
        assert_eq!(names(&pods), [""; 0]);
    }

    #[test]
    fn what_was_known_stays_while_nobody_is_heard_and_not_for_another_annotation() {
        let now = Instant::now();
        let mut pods = Pods::new(Some("x"));
        assert!(pods.handle_listing("x", vec![pod(2, "a/b", true), pod(3, "a/c", false)], now));
        assert_eq!(names(&pods), ["a/b 10.244.0.2"]);
        pods.handle_failure("refused".to_owned(), now);
        pods.set_annotation(Some("x"));
        assert_eq!((names(&pods).len(), pods.is_failing()), (1, true));
        let more = vec![pod(2, "a/b", true), pod(3, "a/c", false), pod(4, "a/d", false)];
        assert!(!pods.handle_listing("x", more, now), "others alone are no news");
        assert!(!pods.is_failing());
        assert_eq!(pods.view().expect("asked for").hosts, 1);
        pods.set_annotation(Some("y"));
        assert!(!pods.handle_listing("x", vec![pod(2, "a/b", true)], now), "an old watch");
        assert_eq!(pods.sandboxed(), None);
    }

    #[test]
    fn an_address_that_two_pods_have_is_nobodys_unless_one_is_about_to_go() {
        let now = Instant::now();
        let mut pods = Pods::new(Some("x"));
        pods.handle_listing("x", vec![pod(2, "evil/a", true), pod(2, "good/b", false)], now);
        assert_eq!(names(&pods), [""; 0]);
        let left = pods.sandboxed().expect("known").left;
        assert_eq!(left, [("pod evil/a".to_owned(), Refusal::Shared([10, 244, 0, 2].into()))]);
        let ending = |one| PodAddress { ending: true, ..one };
        pods.handle_listing("x", vec![ending(pod(2, "a/old", false)), pod(2, "a/new", true)], now);
        assert_eq!(names(&pods), ["a/new 10.244.0.2"]);
        pods.handle_listing("x", vec![ending(pod(2, "a/old", true)), pod(2, "a/new", false)], now);
        assert_eq!(names(&pods), [""; 0]);
        pods.handle_listing("x", vec![ending(pod(2, "a/last", true))], now);
        assert_eq!(names(&pods), ["a/last 10.244.0.2"], "as long as it runs");
    }
}
