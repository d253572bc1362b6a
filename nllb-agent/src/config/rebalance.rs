//! The `rebalance` section of a pool: how established connections find back to a backend that
//! returned. Off unless the section is there.

use super::error::{Fault, Problem};
use super::place::At;
use nllb_core::settings::RebalanceSettings;
use serde::Deserialize;
use serde_saphyr::Spanned;

/// Less would take more than an hour and a half for one connection of a hundred.
const LEAST_SHARE: f64 = 0.01;
/// Half of what is too much in one minute is a herd, however it is spread.
const LARGEST_SHARE: f64 = 0.5;
/// More than any node has to one API server; whoever wants that wants no rebalancing.
const LARGEST_FLOOR: u32 = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawRebalance {
    share_per_minute: Option<Spanned<f64>>,
    floor: Option<Spanned<u32>>,
}

pub(super) fn check(raw: Option<At<RawRebalance>>) -> Result<Option<At<RebalanceSettings>>, Fault> {
    let Some(At { place, value: RawRebalance { share_per_minute, floor } }) = raw else {
        return Ok(None);
    };
    let default = RebalanceSettings::default();
    let value = RebalanceSettings {
        share_per_minute: match place.optional("sharePerMinute", share_per_minute) {
            Some(raw) => raw.check(|share| within(share, LEAST_SHARE, LARGEST_SHARE))?.value,
            None => default.share_per_minute,
        },
        floor: match place.optional("floor", floor) {
            Some(raw) => raw.check(|floor| within(floor, 0, LARGEST_FLOOR))?.value,
            None => default.floor,
        },
    };
    Ok(Some(At { place, value }))
}

fn within<T: PartialOrd + ToString>(found: T, min: T, max: T) -> Result<T, Problem> {
    if (&min..=&max).contains(&&found) {
        return Ok(found);
    }
    let [found, min, max] = [found, min, max].map(|bound| bound.to_string());
    Err(Problem::Range { found, min, max })
}
