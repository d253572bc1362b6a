//! The sources of hosts in the status document.

use std::time::Instant;

use nllb_core::SourceView;

use super::super::members::Members;
use super::millis;
use crate::status;

pub(super) fn of(members: &Members, now: Instant) -> status::Discovery {
    status::Discovery {
        sources: members.sources().into_iter().map(|view| source(view, now)).collect(),
        left_out: members.left_out().collect(),
        problem: members.problem.clone(),
    }
}

fn source(view: SourceView, now: Instant) -> status::Source {
    let SourceView { id, watched, hosts, ignored, vips, changed, heard, failure } = view;
    let since = |at: Instant| millis(now.saturating_duration_since(at));
    let (error, error_age_ms) = failure.map(|(reason, at)| (reason, since(at))).unzip();
    status::Source {
        name: id.to_string(),
        kind: id.kind.label().to_owned(),
        watched,
        hosts: u64::try_from(hosts).unwrap_or(u64::MAX),
        ignored: u64::try_from(ignored).unwrap_or(u64::MAX),
        vips,
        changed_ms: changed.map(since),
        heard_ms: heard.map(since),
        error,
        error_age_ms,
    }
}
