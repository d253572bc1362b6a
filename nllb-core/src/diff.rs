//! The writes that lead from one table to another.
//!
//! The kernel reads the maps at every moment in between, so the order is the point: what a write
//! refers to is written before it, and what is removed is removed after the last reference to it.

use std::collections::BTreeMap;
use std::fmt;

use nllb_common::maps::{Frontend, FrontendKey, PoolSet, Verdict};

use crate::backend::BackendId;
use crate::table::Table;
use crate::table::dump::{self, FrontendText, PoolText};

/// One write to the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Forget what the kernel saw of the backend that had this id before.
    ResetEvidence {
        /// The id.
        id: BackendId,
        /// The epoch from now on.
        epoch: u32,
    },
    /// Set the verdict of a backend.
    SetVerdict {
        /// The backend.
        id: BackendId,
        /// Its verdict.
        verdict: Verdict,
    },
    /// Set the backends of a pool.
    SetPool {
        /// Index into POOLS.
        pool: u32,
        /// Its backends. Boxed because a set is ten times the size of any other change.
        set: Box<PoolSet>,
    },
    /// Set a frontend.
    SetFrontend {
        /// What is dialled.
        key: FrontendKey,
        /// Where it leads.
        frontend: Frontend,
    },
    /// Remove a frontend.
    RemoveFrontend {
        /// What was dialled.
        key: FrontendKey,
    },
    /// Remove a pool.
    RemovePool {
        /// Index into POOLS.
        pool: u32,
    },
    /// Clear the verdict of an id that is no longer in use. Its evidence stays until the id gets a
    /// new epoch, so that closing connections still find their counter.
    RemoveVerdict {
        /// The id.
        id: BackendId,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dialled = |key: &FrontendKey| {
            format!("{} from {}", dump::dialled(key), dump::scope_word(key.scope()))
        };
        match self {
            Self::ResetEvidence { id, epoch } => write!(f, "reset evidence {id}.{epoch}"),
            Self::SetVerdict { id, verdict } => {
                let doubted = if verdict.is_doubted() { " doubted" } else { "" };
                let (epoch, state) = (verdict.epoch(), verdict.state().label());
                write!(f, "set verdict {id}.{epoch} {state}{doubted}")
            }
            Self::SetPool { pool, set } => write!(f, "set pool {pool}:{}", PoolText(set)),
            Self::SetFrontend { key, frontend } => {
                write!(f, "set {} -> {}", dialled(key), FrontendText(frontend))
            }
            Self::RemoveFrontend { key } => write!(f, "remove {}", dialled(key)),
            Self::RemovePool { pool } => write!(f, "remove pool {pool}"),
            Self::RemoveVerdict { id } => write!(f, "remove verdict {id}"),
        }
    }
}

/// The index that frontend and pool of the agent's self-test have.
const SELF_TEST: u32 = 0;

/// The writes that make `desired` out of `actual`, in an order that is safe at every step.
///
/// What belongs to the agent's self-test stays as it is, and so does the evidence of ids that are no
/// longer in use.
#[must_use]
pub fn diff(actual: &Table, desired: &Table) -> Vec<Change> {
    let fresh = changed(&actual.fresh, &desired.fresh);
    let verdicts = changed(&actual.verdicts, &desired.verdicts);
    let pools = changed(&actual.pools, &desired.pools);
    let frontends = changed(&actual.frontends, &desired.frontends);

    let own = |(_, frontend): &(&FrontendKey, &Frontend)| u32::from(frontend.pool) != SELF_TEST;
    let stale_frontends = gone(&actual.frontends, &desired.frontends).filter(own);
    let stale_pools = gone(&actual.pools, &desired.pools).filter(|(pool, _)| **pool != SELF_TEST);
    let stale_verdicts = gone(&actual.verdicts, &desired.verdicts);

    let mut changes = Vec::new();
    changes.extend(
        fresh.map(|(id, epoch)| Change::ResetEvidence { id: BackendId(*id), epoch: *epoch }),
    );
    changes.extend(
        verdicts.map(|(id, verdict)| Change::SetVerdict { id: BackendId(*id), verdict: *verdict }),
    );
    changes.extend(pools.map(|(pool, set)| Change::SetPool { pool: *pool, set: Box::new(*set) }));
    changes.extend(
        frontends.map(|(key, frontend)| Change::SetFrontend { key: *key, frontend: *frontend }),
    );
    changes.extend(stale_frontends.map(|(key, _)| Change::RemoveFrontend { key: *key }));
    changes.extend(stale_pools.map(|(pool, _)| Change::RemovePool { pool: *pool }));
    changes.extend(stale_verdicts.map(|(id, _)| Change::RemoveVerdict { id: BackendId(*id) }));
    changes
}

/// The entries of `desired` that `actual` has not, or has with another value.
fn changed<'a, K: Ord, V: PartialEq>(
    actual: &'a BTreeMap<K, V>,
    desired: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    desired.iter().filter(|(key, value)| actual.get(key) != Some(value))
}

/// The entries of `actual` whose key `desired` has not.
fn gone<'a, K: Ord, V>(
    actual: &'a BTreeMap<K, V>,
    desired: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    actual.iter().filter(|(key, _)| !desired.contains_key(key))
}

#[cfg(test)]
mod tests;
