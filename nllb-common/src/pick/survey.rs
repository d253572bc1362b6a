//! The survey of a pool: who is best, and what is known of one that is set apart.
//!
//! The kernel programs have it made by a function that the verifier looks at once, whoever calls it. Such a
//! function takes numbers and returns one: so a request and a survey are words as well.

use super::{Choice, Reach, Request, Target, View};
use crate::maps::{MAX_POOL_BACKENDS, NO_BACKEND, PoolSet, Slot, State, Verdict};
use crate::mix;

/// Rank of a backend, less is better: bits 16.. the rung, bit 8 a family mismatch, 0..8 the band.
type Class = u32;

/// Class of no backend.
const NONE: Class = Class::MAX;

/// The rung of a backend, the lowest first; `state` is the number of a [`State`].
///
/// | rung | 0 | 1 | 2 | 3 | 4, 5 | 6, 7 | 8, 9 |
/// |---|---|---|---|---|---|---|---|
/// | | healthy | degraded | healthy, suspect | degraded, suspect | draining | never probed | dead |
///
/// From 2 on it is the panic ladder: suspect, draining, any. What is degraded and answers comes before
/// what is healthy by a verdict that the kernel has just seen fail, or a client's second try would meet
/// the same dead server. A table in a word instead of a match: one path for the verifier.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "only the lowest four bits are wanted")]
pub(crate) const fn rung(state: u32, suspect: u32) -> u32 {
    const fn row(state: u32, plain: u64, suspect: u64) -> u64 {
        (plain | suspect << 4) << (8 * state)
    }
    // Numbers that are no state count as never probed.
    const RUNGS: u64 = row(State::Healthy as u32, 0, 2)
        | row(State::Degraded as u32, 1, 3)
        | row(State::Draining as u32, 4, 5)
        | row(State::Unknown as u32, 6, 7)
        | row(State::Unhealthy as u32, 8, 9)
        | row(5, 6, 7)
        | row(6, 6, 7)
        | row(7, 6, 7);
    (RUNGS >> ((state & 7) * 8 + (suspect & 1) * 4)) as u32 & 0xf
}

/// Whether a backend on this rung may get connections. Degraded counts: without credentials every
/// API server is degraded, and a node must not be in panic all its life for that.
#[inline(always)]
pub(super) const fn is_eligible(rung: u32) -> bool {
    rung < 2
}

/// Whether the verdict behind this rung is that the backend may get no connections.
#[inline(always)]
const fn is_out(rung: u32) -> bool {
    matches!(rung, 4 | 5 | 8 | 9)
}

/// Whether the verdict behind this rung is that the backend may get connections, suspect or not.
#[inline(always)]
const fn is_in(rung: u32) -> bool {
    rung < 4
}

/// Whether `a` is less than `b`. By copies, of which the verifier learns something on each path, and not
/// by the values themselves.
#[inline(always)]
pub(super) fn less(a: u64, b: u64, zero: u32) -> bool {
    a ^ u64::from(zero) < b ^ u64::from(zero)
}

/// All ones when `condition` holds, else none; the verifier does not know which.
#[inline(always)]
pub(super) fn mask(condition: bool, zero: u32) -> u64 {
    0u64.wrapping_sub(u64::from(condition) ^ u64::from(zero))
}

/// Rung, band and weight of a backend under the circumstances of `request`.
#[inline(always)]
fn judge<V: View>(slot: &Slot, view: &V, request: &Request) -> (u32, u8, u16) {
    /// What is assumed of every backend while the lease has lapsed.
    const LAPSED: u64 = Verdict::new(State::Healthy, 0, 1, 0).word();
    let until_ns = view.suspect_until_ns(slot.backend, slot.epoch);
    // The sign of the difference: 1 when `until_ns` is later.
    let suspect = (request.now_ns.wrapping_sub(until_ns) >> 63) as u32;
    let verdict = view.verdict(slot.backend);
    let word = verdict.word() & mask(verdict.epoch() == slot.epoch, request.zero);
    let trust = mask(request.lease_valid, request.zero);
    let verdict = Verdict::from_word(word & trust | LAPSED & !trust);
    let suspect = suspect | verdict.doubt_number();
    (rung(verdict.state_number(), suspect), verdict.band(), verdict.weight())
}

/// What was found of a pool. Backends are held by their place, hidden from the verifier, and not as slots: so what it
/// knows on one path is what it knows on every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The rung of the best class; [`NO_RUNG`] when the socket can reach none.
    rung: u32,
    /// Place of the one drawn among the best class.
    pub(super) index: u32,
    /// The places of all backends of the best class, as bits.
    pub(super) equals: u32,
    /// Place of the one set apart; [`NOWHERE`] when the pool does not have it.
    apart: u32,
    /// Its rung.
    apart_rung: u32,
    /// Of which backends this was said, see [`Self::is_of`].
    mark: u32,
}

/// A place in no pool.
const NOWHERE: u32 = 0xff;
/// The rung of no backend, behind all others.
const NO_RUNG: u32 = 0xff;

/// The slot at a place.
#[inline(always)]
pub(super) const fn slot(pool: &PoolSet, place: u32) -> &Slot {
    &pool.slots[place as usize % MAX_POOL_BACKENDS]
}

/// A number for the backends at two places, from which those of another set are told.
#[inline(always)]
const fn mark(pool: &PoolSet, index: u32, apart: u32) -> u32 {
    let (drawn, apart) = (slot(pool, index), slot(pool, apart));
    let ids = drawn.backend ^ drawn.epoch << 5 ^ apart.backend << 8 ^ apart.epoch << 11;
    ids & 0xffff
}

impl Survey {
    /// What is said of a pool that is not there.
    pub const NOTHING: Self =
        Self { rung: NO_RUNG, index: 0, equals: 0, apart: NOWHERE, apart_rung: 0, mark: 0 };

    /// Looks at every backend once. `apart` takes no part in the choice and is reported by itself;
    /// [`NO_BACKEND`] sets nobody apart.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "an index is below MAX_POOL_BACKENDS")]
    pub fn of<V: View>(pool: &PoolSet, view: &V, request: &Request, apart: u32) -> Self {
        let zero = request.zero;
        let reach = request.reach;
        let mut best = NONE ^ zero;
        let mut found = Self {
            rung: NO_RUNG,
            index: zero,
            equals: zero,
            apart: NOWHERE ^ zero,
            apart_rung: zero,
            mark: zero,
        };
        let mut total = zero;
        for index in 0..MAX_POOL_BACKENDS {
            if index >= pool.len as usize {
                break;
            }
            let slot = &pool.slots[index];
            let (rung, band, weight) = judge(slot, view, request);
            if slot.backend == apart {
                found.apart = index as u32 ^ zero;
                found.apart_rung = rung;
                continue;
            }
            let family = reach.bits(slot.family);
            if family & 1 == 0 {
                continue;
            }
            let class = (rung << 16 | (family & 2) << 7 | u32::from(band)) ^ zero;
            let weight = u32::from(weight) + (u32::from(weight == 0) ^ zero);
            if less(best.into(), class.into(), zero) {
                continue;
            }
            if less(class.into(), best.into(), zero) {
                best = class;
                found.equals = zero;
                total = zero;
            }
            found.equals = (found.equals | 1 << index) ^ zero;
            total += weight;
            // A number in 0..total by multiplication instead of a division per backend (Lemire, "Fast
            // random integer generation in an interval", 2019; the bias is below total / 2^32).
            let random = mix(request.seed.wrapping_add(index as u32));
            let draw = (u64::from(random) * u64::from(total)) >> 32;
            if draw < u64::from(weight) {
                found.index = index as u32 ^ zero;
            }
        }
        found.rung = best >> 16 & NO_RUNG;
        found.refine(pool, view, request);
        found.mark = mark(pool, found.index, found.apart);
        found
    }

    /// This as a word: from the lowest bit on the rung, the place drawn, the place set apart and its rung, of 8 bits
    /// each, then `equals` and the mark, of 16.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        let Self { rung, index, equals, apart, apart_rung, mark } = self;
        let low = rung & 0xff | (index & 0xff) << 8 | (apart & 0xff) << 16 | apart_rung << 24;
        low as u64 | (equals as u64 & 0xffff) << 32 | (mark as u64) << 48
    }

    /// The survey of a word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "at most 16 bits are left")]
        const fn bits(word: u64, shift: u32, mask: u64) -> u32 {
            (word >> shift & mask) as u32
        }
        Self {
            rung: bits(word, 0, 0xff),
            index: bits(word, 8, 0xff),
            apart: bits(word, 16, 0xff),
            apart_rung: bits(word, 24, 0xff),
            equals: bits(word, 32, 0xffff),
            mark: bits(word, 48, 0xffff),
        }
    }

    /// Whether it was said of the backends of `pool` and not of others that it had before: a pool is swapped as a
    /// whole, and who asks reads it once more than who answers.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(&self, pool: &PoolSet) -> bool {
        mark(pool, self.index, self.apart) == self.mark
    }

    /// The backend drawn; `None` when there is none that the socket can reach.
    #[inline(always)]
    #[must_use]
    pub const fn choice(&self, pool: &PoolSet) -> Option<Choice> {
        if self.equals == 0 {
            return None;
        }
        let eligible = is_eligible(self.rung);
        Some(Choice { slot: *slot(pool, self.index), index: self.index, eligible })
    }

    /// The backend drawn as long as it may get connections, or is better than the one set apart; else that one, if
    /// the socket can reach it.
    #[inline(always)]
    #[must_use]
    pub const fn choice_or_apart(&self, pool: &PoolSet, reach: Reach) -> Option<Choice> {
        let other = self.choice(pool);
        let apart = slot(pool, self.apart);
        if self.apart == NOWHERE || reach.bits(apart.family) & 1 == 0 {
            return other;
        }
        match other {
            Some(other) if other.eligible || self.rung < self.apart_rung => Some(other),
            _ => {
                let eligible = is_eligible(self.apart_rung);
                Some(Choice { slot: *apart, index: self.apart, eligible })
            }
        }
    }

    /// Whether a backend other than the one set apart may get connections, so that giving up on that is no loss.
    #[inline(always)]
    #[must_use]
    pub const fn finds_eligible(&self) -> bool {
        self.equals != 0 && is_eligible(self.rung)
    }

    /// What is to be done with a connect, see [`super::target`].
    #[inline(always)]
    #[must_use]
    pub const fn target(&self, pool: &PoolSet, home: u32, lease_valid: bool) -> Target {
        if home == NO_BACKEND {
            return match self.choice(pool) {
                Some(choice) => Target::To(choice),
                None => Target::Nothing,
            };
        }
        if self.apart == NOWHERE {
            return Target::Nothing;
        }
        let (home, other) = (self.apart_rung, self.rung);
        let moves = if lease_valid {
            is_out(home) && is_in(other)
        } else {
            !is_eligible(home) && is_eligible(other)
        };
        match self.choice(pool) {
            Some(choice) if moves => Target::To(choice),
            _ => Target::Keep(*slot(pool, self.apart)),
        }
    }
}
