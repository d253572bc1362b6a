//! The writes that lead from one table to another.
//!
//! The kernel reads the maps at every moment in between, so the order is the point: what a write
//! refers to is written before it, and what is removed is removed after the last reference to it.

use nllb_common::maps::{Frontend, FrontendKey, PoolSet, Verdict};

use crate::backend::BackendId;
use crate::table::Table;

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

/// The writes that make `desired` out of `actual`, in an order that is safe at every step.
#[must_use]
pub fn diff(actual: &Table, desired: &Table) -> Vec<Change> {
    let _ = (actual, desired);
    todo!()
}
