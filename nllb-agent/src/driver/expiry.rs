//! Tells once for each level when a certificate nears its end.

use std::collections::HashMap;

use nllb_core::{Expiry, Urgency, View};
use tracing::warn;

use super::probes::Who;
use crate::probe::unix_time;

/// What was told already.
#[derive(Debug, Default)]
pub(super) struct ExpiryWarnings(HashMap<Who, Urgency>);

impl ExpiryWarnings {
    /// Looks at the certificates that were seen.
    pub(super) fn look(&mut self, view: &View) {
        let now = unix_time();
        let mut told_now = HashMap::new();
        for backend in view.pools.iter().flat_map(|pool| &pool.backends) {
            let Some(certificate) = &backend.certificate else {
                continue;
            };
            let expiry = Expiry::of(certificate, now);
            let who = (backend.id, backend.epoch);
            if expiry.urgency > self.0.get(&who).copied().unwrap_or_default() {
                warn!(backend = %backend.addr, certificate = certificate.subject, "{expiry}");
            }
            told_now.insert(who, expiry.urgency);
        }
        self.0 = told_now;
    }
}
