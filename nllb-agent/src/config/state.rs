//! The `state` section: what the agent keeps on disk.

use super::address::absolute;
use super::error::Fault;
use super::place::{At, Place};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::path::PathBuf;

/// Where the last known backends are kept when nothing else is said.
pub const DEFAULT_STATE_FILE: &str = "/var/lib/nllb/table.json";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawState {
    file: Option<Spanned<String>>,
}

/// What is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The last known backends; `None` to keep nothing.
    pub file: Option<PathBuf>,
}

impl State {
    pub(super) fn check(document: &Place, raw: Option<At<RawState>>) -> Result<Self, Fault> {
        let (place, RawState { file }) = match raw {
            Some(At { place, value }) => (place, value),
            None => (document.named("state"), RawState::default()),
        };
        let file = match place.optional("file", file) {
            Some(raw) if raw.value == "off" => None,
            Some(raw) => Some(raw.check(absolute("/var/lib/nllb/table.json, or off"))?.value),
            None => Some(PathBuf::from(DEFAULT_STATE_FILE)),
        };
        Ok(Self { file })
    }
}
