//! What the kernel told of failing connections, by backend and by frontend.
//!
//! The kernel's own counters are exact, but of all backends together. Its events name backend and frontend,
//! but are at most one per backend in 10 ms, so these numbers are the least that there was.

use std::collections::{BTreeMap, HashMap, HashSet};

use nllb_common::{Event, EventKind};
use nllb_core::BackendId;

use super::probes::Who;

/// How many of each kind, in the order of [`EventKind::ALL`].
type Counts = [u64; EventKind::ALL.len()];

/// Events so far.
#[derive(Debug, Default)]
pub(super) struct Hints {
    backends: HashMap<Who, Counts>,
    /// By the id of the frontend.
    frontends: HashMap<u32, Counts>,
}

impl Hints {
    /// Counts one.
    pub(super) fn count(&mut self, event: &Event, kind: EventKind) {
        let who = (BackendId(event.backend), event.epoch);
        for counts in [
            self.backends.entry(who).or_default(),
            self.frontends.entry(event.frontend).or_default(),
        ] {
            counts[kind as usize - EventKind::ALL[0] as usize] += 1;
        }
    }

    /// Those of a backend, by the word for the kind.
    pub(super) fn of_backend(&self, who: Who) -> BTreeMap<String, u64> {
        named(self.backends.get(&who))
    }

    /// Those of a frontend, by the word for the kind.
    pub(super) fn of_frontend(&self, id: u32) -> BTreeMap<String, u64> {
        named(self.frontends.get(&id))
    }

    /// Forgets backends and frontends that are gone, and strangers whose events came late.
    pub(super) fn retain(&mut self, backends: &HashSet<Who>, frontends: &HashSet<u32>) {
        self.backends.retain(|who, _| backends.contains(who));
        self.frontends.retain(|id, _| frontends.contains(id));
    }
}

fn named(counts: Option<&Counts>) -> BTreeMap<String, u64> {
    let counts = counts.copied().unwrap_or_default();
    EventKind::ALL.into_iter().map(|kind| kind.label().to_owned()).zip(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_for_its_backend_and_its_frontend_until_they_are_gone() {
        let mut hints = Hints::default();
        let event = Event { at_ns: 7, kind: 2, backend: 3, epoch: 4, frontend: 5 };
        hints.count(&event, EventKind::ConnectReset);
        let who = (BackendId(3), 4);
        for counts in [hints.of_backend(who), hints.of_frontend(5)] {
            assert_eq!(counts.len(), EventKind::ALL.len());
            assert_eq!((counts["connect_reset"], counts["syn_silence"]), (1, 0));
        }
        assert_eq!(hints.of_backend((BackendId(3), 5))["connect_reset"], 0, "another epoch");
        hints.retain(&[who].into(), &HashSet::new());
        assert_eq!(hints.of_frontend(5)["connect_reset"], 0);
        assert_eq!(hints.of_backend(who)["connect_reset"], 1);
    }
}
