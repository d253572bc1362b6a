//! The choice of a backend: pure, run by the kernel program at every connect and by the tests.
//!
//! Backends are ranked by a class (the rung of the panic ladder, then whether the address family
//! must be mapped, then the latency band) and one of the best class is drawn at random by weight.
//! Random and not "fastest wins", because with one fastest server every node would choose it. The
//! draw is a weighted reservoir (A-Chao: M. T. Chao, "A general purpose unequal probability sampling
//! plan", 1982): one pass, no array on the 512-byte stack, no second look at the maps.
//!
//! The loop is written for the verifier as much as for the reader. The verifier follows every path
//! and merges two only when nothing it knows differs, so what is known must not depend on the path:
//! facts are combined by arithmetic instead of branches, and [`Request::zero`] hides constants.

use crate::maps::{MAX_POOL_BACKENDS, NO_BACKEND, PoolSet, Slot, State, Verdict};
use crate::mix;

mod policy;

pub use policy::by_maglev;

/// What the choice reads about backends, apart from the pool itself.
pub trait View {
    /// The agent's word on the backend with this id.
    fn verdict(&self, backend: u32) -> Verdict;
    /// Until when the kernel suspects it, in nanoseconds of `CLOCK_MONOTONIC`, as long as the
    /// evidence is of `epoch`; else 0.
    fn suspect_until_ns(&self, backend: u32, epoch: u32) -> u64;

    /// Active connections of this node to the backend, as long as they are of `epoch`; else 0.
    fn active(&self, backend: u32, epoch: u32) -> u64;

    /// When the backend last answered a handshake, in nanoseconds of `CLOCK_MONOTONIC`, as long as the
    /// evidence is of `epoch`; else 0.
    fn last_answer_ns(&self, backend: u32, epoch: u32) -> u64;

    /// When this slot of the pool was last chosen, in nanoseconds of `CLOCK_MONOTONIC`; 0 for never.
    fn turn_ns(&self, pool: u32, slot: u32) -> u64;
}

/// Which families a socket can reach.
///
/// Two bits per family, at twice its number: reachable, and only by mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach(u32);

impl Reach {
    /// A v4 socket, or a v6 socket bound to a v4-mapped address.
    pub const V4_ONLY: Self = Self(0b00_01);
    /// A v6 socket bound to a v6 address.
    pub const V6_ONLY: Self = Self(0b01_00);
    /// An unbound v6 socket that dialled a v6 address: v4 by mapping, when there is nothing better.
    pub const PREFER_V6: Self = Self(0b01_11);
    /// An unbound v6 socket that dialled a v4-mapped address.
    pub const PREFER_V4: Self = Self(0b11_01);

    /// The two bits of a family, given by its number.
    #[inline(always)]
    const fn bits(self, family: u16) -> u32 {
        self.0 >> ((family as u32 & 1) * 2) & 0b11
    }
}

/// The circumstances of one connect.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Now, in nanoseconds of `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// Whether the agent's lease holds. When not, verdicts are ignored and evidence alone counts.
    pub lease_valid: bool,
    /// What the socket can reach.
    pub reach: Reach,
    /// A fresh random number; for [`Policy::Maglev`](crate::maps::Policy::Maglev) the hash of the client.
    pub seed: u32,
    /// Zero, read from a map: the verifier does not know what it is.
    pub zero: u32,
    /// Number of the frontend's [`Policy`](crate::maps::Policy).
    pub policy: u32,
    /// Id of the pool, for [`View::turn_ns`].
    pub pool: u32,
    /// The backend that this client should have, if it is as good as any: by the Maglev table, or the
    /// one it had last. [`NO_BACKEND`] when there is none.
    pub preferred: u32,
}

impl Request {
    /// The same request, of whose content the verifier knows nothing, so that it follows the choice once
    /// and not once for each way in which a request came about.
    #[inline(always)]
    #[must_use]
    pub const fn hidden(self) -> Self {
        let Self { now_ns, lease_valid, reach, seed, zero, policy, pool, preferred } = self;
        Self {
            now_ns,
            lease_valid: (lease_valid as u32 ^ zero) != 0,
            reach: Reach(reach.0 ^ zero),
            seed: seed ^ zero,
            zero,
            policy: policy ^ zero,
            pool: pool ^ zero,
            preferred: preferred ^ zero,
        }
    }
}

/// The outcome of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The backend.
    pub slot: Slot,
    /// Its place in the pool.
    pub index: u32,
    /// Whether it may get connections; `false` means that nothing in the pool may (panic).
    pub eligible: bool,
}

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
const fn rung(state: u32, suspect: u32) -> u32 {
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
const fn is_eligible(rung: u32) -> bool {
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
fn less(a: u64, b: u64, zero: u32) -> bool {
    a ^ u64::from(zero) < b ^ u64::from(zero)
}

/// All ones when `condition` holds, else none; the verifier does not know which.
#[inline(always)]
fn mask(condition: bool, zero: u32) -> u64 {
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

/// The best backend of a pool, and what is known of one that is set apart. Backends are held by their
/// place, hidden from the verifier, and not as slots: so what it knows on one path is what it knows on
/// every other.
struct Survey {
    best: Class,
    /// Place of the one drawn among the best class.
    index: u32,
    /// The places of all backends of the best class, as bits.
    equals: u32,
    /// Place of the one set apart; [`NOWHERE`] when the pool does not have it.
    home: u32,
    home_rung: u32,
}

/// A place in no pool.
const NOWHERE: u32 = u32::MAX;

/// The slot at a place.
#[inline(always)]
const fn slot(pool: &PoolSet, place: u32) -> &Slot {
    &pool.slots[place as usize % MAX_POOL_BACKENDS]
}

/// Looks at every backend once. `home` takes no part in the choice and is reported by itself.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an index is below MAX_POOL_BACKENDS")]
fn survey<V: View>(pool: &PoolSet, view: &V, request: &Request, home: u32) -> Survey {
    let zero = request.zero;
    let reach = request.reach;
    let mut found = Survey {
        best: NONE ^ zero,
        index: zero,
        equals: zero,
        home: NOWHERE ^ zero,
        home_rung: zero,
    };
    let mut total = zero;
    for index in 0..MAX_POOL_BACKENDS {
        if index >= pool.len as usize {
            break;
        }
        let slot = &pool.slots[index];
        let (rung, band, weight) = judge(slot, view, request);
        if slot.backend == home {
            found.home = index as u32 ^ zero;
            found.home_rung = rung;
            continue;
        }
        let family = reach.bits(slot.family);
        if family & 1 == 0 {
            continue;
        }
        let class = (rung << 16 | (family & 2) << 7 | u32::from(band)) ^ zero;
        let weight = u32::from(weight) + (u32::from(weight == 0) ^ zero);
        if less(found.best.into(), class.into(), zero) {
            continue;
        }
        if less(class.into(), found.best.into(), zero) {
            found.best = class;
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
    found
}

impl Survey {
    #[inline(always)]
    const fn choice(&self, pool: &PoolSet) -> Option<Choice> {
        if self.equals == 0 {
            return None;
        }
        let eligible = is_eligible(self.best >> 16);
        Some(Choice { slot: *slot(pool, self.index), index: self.index, eligible })
    }
}

/// Chooses a backend of `pool`; `None` when it has none that the socket can reach.
#[inline(always)]
pub fn pick<V: View>(pool: &PoolSet, view: &V, request: &Request) -> Option<Choice> {
    let mut found = survey(pool, view, request, NO_BACKEND);
    found.refine(pool, view, request);
    found.choice(pool)
}

/// Chooses a backend of `pool` other than `except` as long as another may get connections; else as
/// [`pick`]. [`NO_BACKEND`] excepts nobody.
#[inline(always)]
pub fn pick_except<V: View>(
    pool: &PoolSet,
    view: &V,
    request: &Request,
    except: u32,
) -> Option<Choice> {
    let mut found = survey(pool, view, request, except);
    found.refine(pool, view, request);
    let other = found.choice(pool);
    let home = slot(pool, found.home);
    if found.home == NOWHERE || request.reach.bits(home.family) & 1 == 0 {
        return other;
    }
    match other {
        Some(other) if other.eligible || found.best >> 16 < found.home_rung => Some(other),
        _ => {
            Some(Choice { slot: *home, index: found.home, eligible: is_eligible(found.home_rung) })
        }
    }
}

/// Whether a backend other than `except` may get connections, so that giving up on it is no loss.
#[inline(always)]
pub fn other_eligible<V: View>(pool: &PoolSet, view: &V, request: &Request, except: u32) -> bool {
    survey(pool, view, request, except).choice(pool).is_some_and(|choice| choice.eligible)
}

/// Whether a backend other than `except` answered after `since_ns`: so it is not the network or this host
/// that is silent.
#[inline(always)]
pub fn other_answered<V: View>(pool: &PoolSet, view: &V, except: u32, since_ns: u64) -> bool {
    for index in 0..MAX_POOL_BACKENDS {
        if index >= pool.len as usize {
            break;
        }
        let Slot { backend, epoch, .. } = pool.slots[index];
        if backend != except && view.last_answer_ns(backend, epoch) > since_ns {
            return true;
        }
    }
    false
}

/// What to do with a connect to a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Leave it alone, but note that it goes to this backend, whose own address it is.
    Keep(Slot),
    /// Translate it.
    To(Choice),
    /// Nothing can be done.
    Nothing,
}

/// Decides on a connect. With `home` (not [`NO_BACKEND`]) the address dialled is the own address of
/// that backend: then it is translated only when the agent's verdict on `home` is that it may get no
/// connections and another backend may. Suspicion moves nobody away and keeps nobody there, since any
/// client can cause it; it decides only while there is no agent to give a verdict. The caller made the pool such that every
/// backend in it has a certificate for the address.
#[inline(always)]
pub fn target<V: View>(pool: &PoolSet, view: &V, request: &Request, home: u32) -> Target {
    let mut found = survey(pool, view, request, home);
    found.refine(pool, view, request);
    if home == NO_BACKEND {
        return found.choice(pool).map_or(Target::Nothing, Target::To);
    }
    if found.home == NOWHERE {
        return Target::Nothing;
    }
    let (home, other) = (found.home_rung, found.best >> 16);
    let moves = if request.lease_valid {
        is_out(home) && is_in(other)
    } else {
        !is_eligible(home) && is_eligible(other)
    };
    match found.choice(pool) {
        Some(choice) if moves => Target::To(choice),
        _ => Target::Keep(*slot(pool, found.home)),
    }
}

#[cfg(test)]
mod tests;
