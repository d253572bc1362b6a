//! Decides what is an entry: it is told what the core says and does, remembers since when things are as
//! they are, and gives what follows. It has no clock and no file.

use super::{AttachState, ConfigOutcome, Past, What, short};
use crate::units::millis;
use nllb_common::maps::State;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

/// The state of every backend, by pool.
pub type Pools = BTreeMap<String, BTreeMap<SocketAddr, State>>;

/// A moment on both clocks: durations are measured on one, and what another agent wrote is of the other.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The clock that never jumps.
    pub now: Instant,
    /// The clock on the wall.
    pub wall: SystemTime,
}

impl Moment {
    /// In unix milliseconds.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        let since = self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// When that was, by the clock that never jumps; `None` when it is yet to come.
    fn at(self, unix_ms: i64) -> Option<Instant> {
        let ago = u64::try_from(self.unix_ms().checked_sub(unix_ms)?).ok()?;
        self.now.checked_sub(Duration::from_millis(ago))
    }
}

/// A backend's change of state, as the core tells it.
#[derive(Clone, Copy, Debug)]
pub struct Transition<'a> {
    /// Its pool.
    pub pool: &'a str,
    /// Its address.
    pub backend: SocketAddr,
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why.
    pub reason: &'a str,
    /// Of a failure, when it was first noticed.
    pub first_sign: Option<Instant>,
}

/// Since when something is so; `None` when that is not known.
type Since = Option<Instant>;

/// A backend.
#[derive(Clone, Copy, Debug)]
struct Seen {
    state: State,
    since: Since,
    /// Set as long as it did not serve again since it was out of service.
    out: Option<Since>,
}

/// What is going on.
#[derive(Debug, Default)]
pub struct Chronicle {
    pools: BTreeMap<String, BTreeMap<SocketAddr, Seen>>,
    /// Pools without anybody in service.
    panics: BTreeMap<String, Since>,
    /// Set while the data path is not proven.
    unattached: Option<Since>,
    /// Why the last configuration was refused.
    refused: Option<String>,
}

impl Chronicle {
    /// What is known at a start: the backends as the maps and the table on disk have them, and what earlier
    /// entries say of what still goes on.
    #[must_use]
    pub fn new(past: &Past, pools: &Pools, at: Moment) -> Self {
        let Past { newest: _, out, panics, unattached } = past;
        let seen = |pool: &String, backend: SocketAddr, state: State| {
            let before = out.get(&(pool.clone(), backend)).map(|ms| at.at(*ms));
            let out = match state {
                State::Healthy | State::Degraded => None,
                State::Draining | State::Unhealthy => Some(before.flatten()),
                State::Unknown => before,
            };
            (backend, Seen { state, since: None, out })
        };
        let seen = |(pool, backends): (&String, &BTreeMap<SocketAddr, State>)| {
            let seen = backends.iter().map(|(backend, state)| seen(pool, *backend, *state));
            (pool.clone(), seen.collect())
        };
        let mut chronicle = Self {
            pools: pools.iter().map(seen).collect(),
            panics: BTreeMap::new(),
            unattached: unattached.map(|ms| at.at(ms)),
            refused: None,
        };
        for pool in pools.keys() {
            // Another agent told that it began; or nobody did, and its end alone would be a riddle.
            if let Some(ms) = panics.get(pool).filter(|_| chronicle.serving(pool) == 0) {
                chronicle.panics.insert(pool.clone(), at.at(*ms));
            }
        }
        chronicle
    }

    /// A backend changed its state.
    pub fn transition(&mut self, change: Transition<'_>, now: Instant) -> Vec<What> {
        let Transition { pool, backend, from, to, reason, first_sign } = change;
        let reason = short(reason);
        let backends = self.pools.entry(pool.to_owned()).or_default();
        let seen = backends.entry(backend).or_insert(Seen { state: from, since: None, out: None });
        let before = lasted(seen.since, now);
        (seen.state, seen.since) = (to, Some(now));
        if to.is_out() {
            seen.out.get_or_insert(Some(now));
        }
        let was_out = if to.is_eligible() { seen.out.take() } else { None };
        let remaining = self.serving(pool);

        let (own, words) = (|| pool.to_owned(), |state: State| state.label().to_owned());
        let mut whats = vec![What::Transition {
            pool: own(),
            backend,
            from: words(from),
            to: words(to),
            reason: reason.clone(),
            duration_ms: before,
        }];
        if from.is_eligible() && !to.is_eligible() && remaining > 0 {
            let (reason, duration_ms) = (reason.clone(), lasted(first_sign, now));
            whats.push(What::Failover { pool: own(), backend, reason, remaining, duration_ms });
        }
        if let Some(since) = was_out {
            let (reason, duration_ms) = (reason.clone(), lasted(since, now));
            whats.push(What::Recovered { pool: own(), backend, reason, duration_ms });
        }
        if to.is_eligible() {
            if let Some(since) = self.panics.remove(pool) {
                let duration_ms = lasted(since, now);
                whats.push(What::PanicLeft { pool: own(), backend, duration_ms });
            }
        }
        whats.extend(self.panic(pool, &format!("{backend}: {reason}"), now));
        whats
    }

    /// The pools have these backends now; `reason` says who says so.
    pub fn members(&mut self, pools: &Pools, reason: &str, now: Instant) -> Vec<What> {
        self.pools.retain(|pool, _| pools.contains_key(pool));
        self.panics.retain(|pool, _| pools.contains_key(pool));
        let mut whats = Vec::new();
        for (pool, backends) in pools {
            let seen = self.pools.entry(pool.clone()).or_default();
            let left: Vec<_> =
                seen.keys().filter(|backend| !backends.contains_key(backend)).copied().collect();
            seen.retain(|backend, _| backends.contains_key(backend));
            let mut joined = Vec::new();
            for (backend, state) in backends {
                seen.entry(*backend).or_insert_with(|| {
                    joined.push(*backend);
                    let out = state.is_out().then_some(None);
                    Seen { state: *state, since: Some(now), out }
                });
            }
            if !joined.is_empty() || !left.is_empty() {
                let (pool, reason) = (pool.clone(), short(reason));
                whats.push(What::Members { pool, joined, left, reason });
            }
            whats.extend(self.panic(pool, reason, now));
        }
        whats
    }

    /// The attachment was looked at, and this is wrong with it.
    pub fn attachment(&mut self, problem: Option<&str>, now: Instant) -> Option<What> {
        match (problem, self.unattached) {
            (Some(problem), None) => {
                self.unattached = Some(Some(now));
                let (state, reason) = (AttachState::Lost, Some(short(problem)));
                Some(What::Attach { state, reason, duration_ms: None })
            }
            (None, Some(since)) => {
                self.unattached = None;
                let (state, duration_ms) = (AttachState::Repaired, lasted(since, now));
                Some(What::Attach { state, reason: None, duration_ms })
            }
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    /// A configuration was read again: it is in force, or is no other, or was refused. That the same is refused
    /// for the same reason is told once.
    pub fn configuration(&mut self, read: Result<bool, &str>) -> Option<What> {
        match read {
            Ok(is_new) => {
                self.refused = None;
                is_new.then_some(What::Config { outcome: ConfigOutcome::Applied, reason: None })
            }
            Err(reason) if self.refused.as_deref() == Some(reason) => None,
            Err(reason) => {
                self.refused = Some(reason.to_owned());
                let reason = Some(short(reason));
                Some(What::Config { outcome: ConfigOutcome::Refused, reason })
            }
        }
    }

    /// Says so when nobody of a pool is in service any more. Who was not asked yet may be.
    fn panic(&mut self, pool: &str, reason: &str, now: Instant) -> Option<What> {
        let mut backends = self.pools.get(pool)?.values().peekable();
        backends.peek()?;
        if !backends.all(|seen| seen.state.is_out()) || self.panics.contains_key(pool) {
            return None;
        }
        self.panics.insert(pool.to_owned(), Some(now));
        Some(What::PanicEntered { pool: pool.to_owned(), reason: short(reason) })
    }

    /// How many of a pool are in service.
    fn serving(&self, pool: &str) -> u64 {
        let backends = self.pools.get(pool).into_iter().flat_map(BTreeMap::values);
        backends.map(|seen| u64::from(seen.state.is_eligible())).sum()
    }
}

fn lasted(since: Since, now: Instant) -> Option<u64> {
    since.map(|since| millis(now.saturating_duration_since(since)))
}

#[cfg(test)]
mod tests;
