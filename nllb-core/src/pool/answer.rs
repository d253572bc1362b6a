//! The signal of an answer to a question that was asked over a sentinel: versions, and how large the
//! cluster is.
//!
//! A version changes only with a restart, so it is asked for whenever a sentinel has come up. The
//! number of nodes is asked for every few minutes, of any one backend: it belongs to the cluster.

use std::time::{Duration, Instant};

use crate::backend::BackendId;
use crate::command::Question;
use crate::jitter::Jitter;
use crate::pool::roster::Roster;
use crate::pool::{Machine, What};
use crate::report::Answer;
use crate::settings::VersionSkew;

/// How often a node asks for the number of nodes, more or less: a cluster does not double in less.
const COUNT_INTERVAL: Duration = Duration::from_secs(300);

/// What is known of the cluster behind a pool.
#[derive(Clone, Debug)]
pub(crate) struct Census {
    pub(crate) nodes: Option<u64>,
    /// When to ask; `None` while there is no sentinel to ask over.
    ask_at: Option<Instant>,
    jitter: Jitter,
}

impl Census {
    pub(crate) const fn new(seed: u32) -> Self {
        Self { nodes: None, ask_at: None, jitter: Jitter::new(seed) }
    }
}

impl Roster {
    /// Whether somebody wants to know the kubelet's version and nobody has said it.
    fn wants_kubelet(&self) -> bool {
        let mut skews = self.settings.frontends.iter().map(|front| front.version_skew);
        self.settings.kubelet_version.is_none() && skews.any(|skew| skew == VersionSkew::Kubelet)
    }
}

impl Machine {
    /// Takes the answer to a question that was asked over a sentinel.
    pub fn handle_answer(&mut self, id: BackendId, epoch: u32, answer: Answer, _now: Instant) {
        let Some((backend, _)) = self.roster.backend_mut(id, epoch) else { return };
        let pool = backend.pool;
        match answer {
            Answer::Version(version) => {
                backend.version = Some(version);
                self.rebuild_table();
            }
            Answer::KubeletVersion(version) => {
                self.roster.kubelet = Some(version);
                self.rebuild_table();
            }
            Answer::Nodes(nodes) => {
                if let Some(census) = self.roster.census.get_mut(&pool) {
                    census.nodes = Some(nodes);
                }
            }
        }
    }

    /// A sentinel has come up: the cluster can be asked, if nobody was asked yet.
    pub(crate) fn count_soon(&mut self, id: BackendId, now: Instant) {
        let pool = self.roster.backends.get(&id).map(|backend| backend.pool);
        let census = pool.and_then(|pool| self.roster.census.get_mut(&pool));
        if let Some(census) = census {
            census.ask_at.get_or_insert(now);
        }
    }

    /// When to ask the cluster behind a pool.
    pub(crate) fn count_due(&self, pool: usize) -> Option<Instant> {
        self.roster.census.get(&pool)?.ask_at
    }

    pub(crate) fn ask_due(&mut self, now: Instant) {
        for pool in 0..self.roster.settings.pools.len() {
            if self.count_due(pool).is_some_and(|due| due <= now) {
                self.ask(pool, now);
            }
        }
    }

    fn ask(&mut self, pool: usize, now: Instant) {
        let open = self.roster.pool(pool).filter(|backend| backend.has_sentinel());
        let asked = open.max_by_key(|backend| backend.is_eligible());
        let asked = asked.map(|backend| (backend.id, backend.epoch));
        let Some(census) = self.roster.census.get_mut(&pool) else { return };
        census.ask_at = asked.map(|_| now + census.jitter.around(COUNT_INTERVAL, 0.2));
        let Some(asked) = asked else { return };
        self.wish(asked, What::Ask(Question::Nodes));
        if self.roster.wants_kubelet() {
            self.wish(asked, What::Ask(Question::Kubelet));
        }
    }
}
