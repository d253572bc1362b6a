//! The `drain` section of a pool: what becomes of connections to a backend that gets no new ones.

use super::duration::within;
use super::error::{Fault, Problem};
use super::place::At;
use crate::drain::CLOSE_AFTER;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::time::Duration;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawDrain {
    close_after: Option<Spanned<String>>,
}

/// How long connections to a draining backend may stay; `None` when they end by themselves.
pub(super) fn check(raw: Option<At<RawDrain>>) -> Result<Option<At<Duration>>, Fault> {
    let Some(At { place, value: RawDrain { close_after: raw } }) = raw else {
        return Ok(None);
    };
    match place.optional("closeAfter", raw) {
        Some(raw) if raw.value != "off" => Ok(Some(raw.check(|text| close_after(&text))?)),
        Some(_) | None => Ok(None),
    }
}

/// A time after which connections are closed, as it is written in the configuration and on the
/// command line.
///
/// # Errors
/// When it is no duration, or out of bounds.
pub fn close_after(text: &str) -> Result<Duration, Problem> {
    within(text, *CLOSE_AFTER.start(), *CLOSE_AFTER.end())
}
