//! Latency bands: which backends are so near to the nearest one that the difference does not matter.
//!
//! The kernel draws among the backends of the lowest band, so a band is a decision about where all
//! connections of a node go. It must follow distance and never load: if it followed load, every node
//! would leave a busy backend at once, make the next one busy, and come back together.
//!
//! Hence the estimate is the lowest round trip of the last half to whole minute, and not a mean or
//! peak-EWMA (Finagle and linkerd, where it balances single requests and has to notice load). Queues,
//! retransmissions and a busy process only ever add to a round trip, so the lowest one tells the
//! path's own length. It is the filter that BBR has for its path (Cardwell et al., "BBR:
//! congestion-based congestion control", 2016), with two buckets in place of a sorted window. A route
//! that got longer is believed when the whole window saw nothing shorter; one outlier changes nothing.
//!
//! The borders are excesses over the fastest backend of the pool. The first is 5 ms, because an API
//! call takes a few milliseconds itself: below that a client gains nothing, but a control plane whose
//! servers stand in three buildings of one city would be used one third at a time. The others are five
//! times the one before: a country, a continent, the rest. Far from all of them what matters grows with
//! the distance, so a border is at least a quarter of the fastest round trip.

use std::time::{Duration, Instant};

use nllb_common::mix;

/// Excess over the fastest backend from which on a backend is in the second band.
const FIRST_BORDER: Duration = Duration::from_millis(5);
/// The share of the fastest round trip that is no excess, whatever it is in milliseconds.
const RELATIVE: u32 = 4;
/// How much further each border is than the one before.
const STEP: u32 = 5;
/// The highest band.
const HIGHEST: u8 = 3;

/// A lower band is entered when the excess is below its border by this share, in per cent.
const RETURN_PERCENT: u32 = 70;

/// Half of the window over which the lowest round trip is taken.
const BUCKET: Duration = Duration::from_secs(30);
/// Round trips that are needed for an opinion: one may have had to be sent again.
const ENOUGH: u32 = 3;

/// The least time in a band; up to twice as long, by the seed, so that the nodes which saw the same
/// route change do not all move in the same second.
const DWELL: Duration = Duration::from_secs(30);

/// How far away a backend is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distance {
    current: Option<Bucket>,
    before: Option<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    start: Instant,
    lowest: Duration,
    samples: u32,
}

impl Distance {
    /// Takes a round trip.
    pub fn observe(&mut self, sample: Duration, now: Instant) {
        if let Some(bucket) = self.current.as_mut().filter(|bucket| now < bucket.start + BUCKET) {
            bucket.lowest = bucket.lowest.min(sample);
            bucket.samples = bucket.samples.saturating_add(1);
            return;
        }
        self.before = self.current.replace(Bucket { start: now, lowest: sample, samples: 1 });
    }

    /// The lowest round trip lately; `None` while too few are known or all are old.
    #[must_use]
    pub fn lowest(&self, now: Instant) -> Option<Duration> {
        let fresh = |bucket: &&Bucket| now < bucket.start + BUCKET * 2;
        let buckets = || self.current.iter().chain(&self.before).filter(fresh);
        let samples: u32 = buckets().map(|bucket| bucket.samples).sum();
        buckets().map(|bucket| bucket.lowest).min().filter(|_| samples >= ENOUGH)
    }
}

/// The band of one backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Band {
    number: u8,
    /// When it was entered; `None` before the first opinion.
    since: Option<Instant>,
}

impl Band {
    /// The band that the maps say.
    #[must_use]
    pub fn adopted(number: u8, now: Instant) -> Self {
        Self { number: number.min(HIGHEST), since: Some(now) }
    }

    /// Its number, 0 for the nearest.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// Takes the backend's round trip and that of the fastest of its pool; true when the band changed.
    pub fn review(&mut self, own: Duration, fastest: Duration, seed: u32, now: Instant) -> bool {
        let excess = own.saturating_sub(fastest);
        let Some(since) = self.since else {
            // Nobody was told anything yet, so nothing can swing.
            let before = self.number;
            *self = Self { number: band_of(excess, fastest, 100), since: Some(now) };
            return self.number != before;
        };
        let dwell = DWELL + DWELL.mul_f64(f64::from(mix(seed)) / f64::from(u32::MAX));
        if now < since + dwell {
            return false;
        }
        let further = band_of(excess, fastest, 100);
        let nearer = band_of(excess, fastest, RETURN_PERCENT);
        // Between `further` and `nearer` lies the room in which it stays where it is.
        let number = self.number.clamp(further, nearer);
        let changed = number != self.number;
        if changed {
            *self = Self { number, since: Some(now) };
        }
        changed
    }

    /// Forgets all opinions: bands are not wanted.
    pub const fn forget(&mut self) {
        *self = Self { number: 0, since: None };
    }
}

/// The band of an excess when each border is taken at so many per cent.
fn band_of(excess: Duration, fastest: Duration, percent: u32) -> u8 {
    let mut border = FIRST_BORDER.max(fastest / RELATIVE) * percent / 100;
    let mut band = 0;
    while band < HIGHEST && excess > border {
        band += 1;
        border *= STEP;
    }
    band
}

#[cfg(test)]
mod tests;
