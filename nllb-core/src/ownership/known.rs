//! What is known of the Lease, and since when.

use std::time::Instant;

use super::Record;

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) record: Option<Record>,
    /// When this version was first seen, or that there is none.
    pub(super) since: Instant,
}

impl Known {
    /// Whether a change with this version is news. Versions are compared as Kubernetes promises they can be;
    /// where they are no numbers every other one is news.
    pub(super) fn is_older(&self, version: &str) -> bool {
        let Some(record) = &self.record else { return true };
        match (record.version.parse::<u64>(), version.parse::<u64>()) {
            (Ok(own), Ok(new)) => own < new,
            (Ok(_) | Err(_), Ok(_) | Err(_)) => record.version != version,
        }
    }
}
