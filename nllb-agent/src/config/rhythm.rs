//! When probes and pings are made and how many of them count: the keys of the `probe` section that
//! become the health machine's settings.

use super::duration::{Limits, show};
use super::error::{Fault, Problem};
use super::place::At;
use super::question::refuse;
use nllb_core::settings::HealthSettings;
use std::time::Duration;

const INTERVAL: Limits = Limits {
    default: Duration::from_secs(1),
    min: Duration::from_millis(10),
    max: Duration::from_secs(3600),
};
const CONFIRM_INTERVAL: Limits = Limits {
    default: Duration::from_millis(100),
    min: Duration::from_millis(1),
    max: Duration::from_secs(60),
};
const MAX_BACKOFF: Limits = Limits {
    default: Duration::from_secs(30),
    min: Duration::from_millis(10),
    max: Duration::from_secs(3600),
};
/// Below two pings a second to each backend. Rarer than once a minute, the connection's end would
/// tell more than its pings.
const PING_INTERVAL: Limits = Limits {
    default: Duration::from_millis(600),
    min: Duration::from_millis(50),
    max: Duration::from_secs(60),
};
const DEFAULT_JITTER: f64 = 0.2;
const DEFAULT_RUN: u32 = 2;
const DEFAULT_FRESH_EVERY: u32 = 10;
/// A longer run only hides a sick server; more patience belongs into the interval.
const MAX_RUN: u32 = 100;
/// An old connection says nothing about the accept queue: a quarter of an hour without a look at it
/// is long enough.
const MAX_FRESH_EVERY: u32 = 1000;

/// The keys as they are written.
pub(super) struct Rhythm {
    /// What a sentinel does not go together with, if there is such a thing.
    pub(super) no_sentinel: Option<&'static str>,
    pub(super) interval: Option<At<String>>,
    pub(super) jitter: Option<At<f64>>,
    pub(super) confirm_interval: Option<At<String>>,
    pub(super) max_backoff: Option<At<String>>,
    pub(super) rise: Option<At<u32>>,
    pub(super) fall: Option<At<u32>>,
    pub(super) sentinel: Option<At<bool>>,
    pub(super) ping_interval: Option<At<String>>,
    pub(super) fresh_every: Option<At<u32>>,
}

impl TryFrom<Rhythm> for HealthSettings {
    type Error = Fault;

    fn try_from(rhythm: Rhythm) -> Result<Self, Fault> {
        let Rhythm {
            no_sentinel,
            interval,
            jitter,
            confirm_interval,
            max_backoff,
            rise,
            fall,
            sentinel,
            ping_interval,
            fresh_every,
        } = rhythm;
        let interval = INTERVAL.apply(interval)?;
        let backoff_place = max_backoff.as_ref().map(|raw| raw.place.clone());
        let max_backoff = MAX_BACKOFF.apply(max_backoff)?;
        if let (Some(place), true) = (backoff_place, max_backoff < interval) {
            let other = format!("interval, {}", show(interval));
            return Err(place.fault(Problem::LessThan { found: show(max_backoff), other }));
        }
        if let Some(other) = no_sentinel {
            refuse(sentinel.as_ref().filter(|sentinel| sentinel.value), other)?;
        }
        let off = sentinel.is_some_and(|sentinel| !sentinel.value).then_some("sentinel: false");
        let without = off.or(no_sentinel);
        if let Some(other) = without {
            // Every probe is fresh then, and nothing is pinged.
            refuse(ping_interval.as_ref(), other)?;
            refuse(fresh_every.as_ref(), other)?;
        }
        Ok(Self {
            interval,
            jitter: match jitter {
                Some(raw) => raw.check(share)?.value,
                None => DEFAULT_JITTER,
            },
            confirm_interval: CONFIRM_INTERVAL.apply(confirm_interval)?,
            // Left at its default, the limit follows a long interval.
            max_backoff: max_backoff.max(interval),
            rise: count(rise, DEFAULT_RUN, MAX_RUN)?,
            fall: count(fall, DEFAULT_RUN, MAX_RUN)?,
            sentinel: without.is_none(),
            ping_interval: PING_INTERVAL.apply(ping_interval)?,
            fresh_every: count(fresh_every, DEFAULT_FRESH_EVERY, MAX_FRESH_EVERY)?,
            // In a section of its own.
            drain_close_after: None,
        })
    }
}

fn share(found: f64) -> Result<f64, Problem> {
    if (0.0..=1.0).contains(&found) {
        return Ok(found);
    }
    Err(Problem::Range { found: found.to_string(), min: "0".to_owned(), max: "1".to_owned() })
}

fn count(raw: Option<At<u32>>, default: u32, most: u32) -> Result<u32, Fault> {
    let Some(raw) = raw else {
        return Ok(default);
    };
    let checked = raw.check(|found| {
        if (1..=most).contains(&found) {
            return Ok(found);
        }
        let (min, max) = ("1".to_owned(), most.to_string());
        Err(Problem::Range { found: found.to_string(), min, max })
    })?;
    Ok(checked.value)
}
