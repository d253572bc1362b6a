//! What is told to a place that many others write to as well: not too often, and nothing in vain.
//!
//! A bucket of tokens: what happens rarely is told at once, and of what happens all the time the newest
//! of each kind is told, with how many more there were. What could not be told is tried again, ever more
//! seldom; who refused is left alone for long, since the next try would be refused as well.

use std::time::{Duration, Instant};

/// As many may be told at once.
const BURST: u32 = 10;
/// And from then on one in this time.
const EVERY: Duration = Duration::from_secs(60);
/// The pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How long who refused is left alone.
const REFUSED_PAUSE: Duration = Duration::from_secs(3600);

/// What came of telling something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was taken.
    Taken,
    /// It did not arrive, or was not understood this time.
    Failed,
    /// It is not wanted from us.
    Refused,
}

/// The newest of a kind that waits to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement<K, T> {
    /// What sort of thing it is.
    pub kind: K,
    /// The newest of that kind.
    pub what: T,
    /// How many of that kind came before it and are not told.
    pub more: u32,
}

/// Decides what is told when. At most one thing is being told at a time.
#[derive(Debug)]
pub struct Announcer<K, T> {
    /// At most one of each kind, the kind that waits longest first.
    waiting: Vec<Announcement<K, T>>,
    /// What is being told.
    under_way: Option<Announcement<K, T>>,
    /// Tokens left at `filled`.
    tokens: u32,
    filled: Instant,
    /// Nothing is told before.
    rests_until: Instant,
    /// Nothing is taken before: it was refused.
    deaf_until: Instant,
    pause: Duration,
}

impl<K: Copy + Eq, T: Clone> Announcer<K, T> {
    /// One with a full bucket.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            waiting: Vec::new(),
            under_way: None,
            tokens: BURST,
            filled: now,
            rests_until: now,
            deaf_until: now,
            pause: FIRST_PAUSE,
        }
    }

    /// Takes something to tell.
    pub fn add(&mut self, kind: K, what: T, now: Instant) {
        if now < self.deaf_until {
            return;
        }
        self.put(Announcement { kind, what, more: 0 });
    }

    /// When [`Self::next`] has something; `None` as long as nothing waits or something is under way.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        if self.waiting.is_empty() || self.under_way.is_some() {
            return None;
        }
        let token = if self.tokens > 0 { self.filled } else { self.filled + EVERY };
        Some(token.max(self.rests_until))
    }

    /// What is to be told now. Its outcome is for [`Self::told`].
    pub fn next(&mut self, now: Instant) -> Option<Announcement<K, T>> {
        self.fill(now);
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.tokens -= 1;
        let next = self.waiting.remove(0);
        self.under_way = Some(next.clone());
        Some(next)
    }

    /// What came of the one under way.
    pub fn told(&mut self, told: Told, now: Instant) {
        let Some(tried) = self.under_way.take() else { return };
        match told {
            Told::Taken => self.pause = FIRST_PAUSE,
            Told::Failed => {
                self.put_back(tried);
                self.rests_until = now + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
            Told::Refused => {
                self.waiting.clear();
                self.deaf_until = now + REFUSED_PAUSE;
            }
        }
    }

    fn fill(&mut self, now: Instant) {
        while self.tokens < BURST && self.filled + EVERY <= now {
            self.tokens += 1;
            self.filled += EVERY;
        }
        if self.tokens == BURST {
            self.filled = now;
        }
    }

    fn put(&mut self, new: Announcement<K, T>) {
        match self.waiting.iter_mut().find(|old| old.kind == new.kind) {
            Some(old) => {
                let more = old.more.saturating_add(1).saturating_add(new.more);
                *old = Announcement { more, ..new };
            }
            None => self.waiting.push(new),
        }
    }

    /// What was tried in vain is older than what waits.
    fn put_back(&mut self, tried: Announcement<K, T>) {
        match self.waiting.iter_mut().find(|newer| newer.kind == tried.kind) {
            Some(newer) => newer.more = newer.more.saturating_add(1).saturating_add(tried.more),
            None => self.waiting.insert(0, tried),
        }
    }
}

#[cfg(test)]
mod tests;
