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

use crate::maps::{MAX_POOL_BACKENDS, NO_BACKEND, PoolSet, Slot, Verdict};

mod policy;
mod survey;

pub use policy::by_maglev;
pub use survey::Survey;
pub(crate) use survey::rung;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// This as words, without `zero`: the time, seed and preferred backend, and the rest, from the lowest bit on the
    /// pool in 16 bits, the policy and the reach in 8 each, the lease in one.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 3] {
        let Self { now_ns, lease_valid, reach, seed, policy, pool, preferred, zero: _ } = *self;
        let low = pool & 0xffff | (policy & 0xff) << 16 | reach.0 << 24;
        let rest = low as u64 | (lease_valid as u64) << 32;
        [now_ns, seed as u64 | (preferred as u64) << 32, rest]
    }

    /// The request of words.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of words")]
    pub const fn from_words([now_ns, draw, rest]: [u64; 3], zero: u32) -> Self {
        Self {
            now_ns,
            lease_valid: rest >> 32 & 1 != 0,
            reach: Reach(rest as u32 >> 24 & 0xf),
            seed: draw as u32,
            zero,
            policy: rest as u32 >> 16 & 0xff,
            pool: rest as u32 & 0xffff,
            preferred: (draw >> 32) as u32,
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
    Survey::of(pool, view, request, home).target(pool, home, request.lease_valid)
}

/// Chooses a backend of `pool`; `None` when it has none that the socket can reach.
#[inline(always)]
pub fn pick<V: View>(pool: &PoolSet, view: &V, request: &Request) -> Option<Choice> {
    Survey::of(pool, view, request, NO_BACKEND).choice(pool)
}

#[cfg(test)]
mod tests;
