//! What one source says as a whole: the last of it stays while the source is silent.

use std::net::SocketAddr;
use std::time::Instant;

use crate::membership::{SourceId, SourceView};

/// What a source said, and how it stands.
#[derive(Clone, Debug)]
pub(crate) struct Heard<T> {
    /// The last that it said; `None` before that.
    pub(crate) listing: Option<T>,
    changed: Option<Instant>,
    heard: Option<Instant>,
    /// What is wrong since when.
    failure: Option<(String, Instant)>,
}

impl<T> Default for Heard<T> {
    fn default() -> Self {
        Self { listing: None, changed: None, heard: None, failure: None }
    }
}

impl<T: PartialEq> Heard<T> {
    /// Takes what it says now; gives what it said before.
    pub(crate) fn take(&mut self, listing: T, now: Instant) -> Option<T> {
        self.heard = Some(now);
        self.failure = None;
        let before = self.listing.replace(listing);
        if before != self.listing {
            self.changed = Some(now);
        }
        before
    }
}

impl<T> Heard<T> {
    /// Takes that it cannot be heard. What it said before stays.
    pub(crate) fn fail(&mut self, reason: String, now: Instant) {
        let since = self.failure.as_ref().map_or(now, |(_, since)| *since);
        self.failure = Some((reason, since));
    }

    /// Whether it is known to be out of reach.
    pub(crate) const fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// The source, for status and metrics.
    pub(crate) fn view(&self, id: SourceId, hosts: usize, vips: Vec<SocketAddr>) -> SourceView {
        let Self { listing: _, changed, heard, failure } = self;
        SourceView {
            id,
            watched: true,
            hosts,
            ignored: 0,
            vips,
            changed: *changed,
            heard: *heard,
            failure: failure.clone(),
        }
    }
}
