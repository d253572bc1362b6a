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

/// What the choice reads about backends, apart from the pool itself.
pub trait View {
    /// The agent's word on the backend with this id.
    fn verdict(&self, backend: u32) -> Verdict;
    /// Until when the kernel suspects it, in nanoseconds of `CLOCK_MONOTONIC`, as long as the
    /// evidence is of `epoch`; else 0.
    fn suspect_until_ns(&self, backend: u32, epoch: u32) -> u64;
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
    /// A fresh random number.
    pub seed: u32,
    /// Zero, read from a map: the verifier does not know what it is.
    pub zero: u32,
}

/// The outcome of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The backend.
    pub slot: Slot,
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

/// Rung, band and weight of a backend under the circumstances of `request`.
#[inline(always)]
fn judge<V: View>(slot: &Slot, view: &V, request: &Request) -> (u32, u8, u16) {
    /// What is assumed of every backend while the lease has lapsed.
    const LAPSED: u64 = Verdict::new(State::Healthy, 0, 1, 0).word();
    let until_ns = view.suspect_until_ns(slot.backend, slot.epoch);
    // The sign of the difference: 1 when `until_ns` is later.
    let suspect = (request.now_ns.wrapping_sub(until_ns) >> 63) as u32;
    let verdict = view.verdict(slot.backend);
    let word = if verdict.epoch() == slot.epoch { verdict.word() } else { 0 };
    let trust = 0u64.wrapping_sub(u64::from(request.lease_valid) ^ u64::from(request.zero));
    let verdict = Verdict::from_word(word & trust | LAPSED & !trust);
    (rung(verdict.state_number(), suspect), verdict.band(), verdict.weight())
}

/// The best backend of a pool, and what is known of one that is set apart.
struct Survey {
    best: Class,
    chosen: Slot,
    home: Slot,
    home_rung: u32,
}

/// Looks at every backend once. `home` takes no part in the choice and is reported by itself.
#[inline(always)]
fn survey<V: View>(pool: &PoolSet, view: &V, request: &Request, home: u32) -> Survey {
    let reach = Reach(request.reach.0 ^ request.zero);
    let mut found =
        Survey { best: NONE, chosen: Slot::EMPTY, home: Slot::EMPTY, home_rung: request.zero };
    let mut total = request.zero;
    for index in 0..MAX_POOL_BACKENDS {
        if index >= pool.len as usize {
            break;
        }
        let slot = &pool.slots[index];
        let (rung, band, weight) = judge(slot, view, request);
        if slot.backend == home {
            found.home = *slot;
            found.home_rung = rung;
            continue;
        }
        let family = reach.bits(slot.family);
        if family & 1 == 0 {
            continue;
        }
        let class = (rung << 16 | (family & 2) << 7 | u32::from(band)) ^ request.zero;
        let weight = u32::from(weight) + u32::from(weight == 0);
        if class > found.best {
            continue;
        }
        if class < found.best {
            found.best = class;
            total = request.zero;
        }
        total += weight;
        // A number in 0..total by multiplication instead of a division per backend (Lemire, "Fast
        // random integer generation in an interval", 2019; the bias is below total / 2^32).
        #[expect(clippy::cast_possible_truncation, reason = "index is below MAX_POOL_BACKENDS")]
        let random = mix(request.seed.wrapping_add(index as u32));
        let draw = (u64::from(random) * u64::from(total)) >> 32;
        if draw < u64::from(weight) {
            // The slot itself, not its index: for the verifier all slots are alike, indices differ.
            found.chosen = *slot;
        }
    }
    found
}

impl Survey {
    #[inline(always)]
    fn choice(&self) -> Option<Choice> {
        if self.best == NONE {
            return None;
        }
        Some(Choice { slot: self.chosen, eligible: is_eligible(self.best >> 16) })
    }
}

/// Chooses a backend of `pool`; `None` when it has none that the socket can reach.
#[inline(always)]
pub fn pick<V: View>(pool: &PoolSet, view: &V, request: &Request) -> Option<Choice> {
    survey(pool, view, request, NO_BACKEND).choice()
}

/// Whether a backend other than `except` may get connections, so that giving up on it is no loss.
#[inline(always)]
pub fn other_eligible<V: View>(pool: &PoolSet, view: &V, request: &Request, except: u32) -> bool {
    survey(pool, view, request, except).choice().is_some_and(|choice| choice.eligible)
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
/// connections and another backend may. Suspicion is not enough, since any client can cause it; it
/// decides only while there is no agent to give a verdict. The caller made the pool such that every
/// backend in it has a certificate for the address.
#[inline(always)]
pub fn target<V: View>(pool: &PoolSet, view: &V, request: &Request, home: u32) -> Target {
    let found = survey(pool, view, request, home);
    if home == NO_BACKEND {
        return found.choice().map_or(Target::Nothing, Target::To);
    }
    if found.home.backend == NO_BACKEND {
        return Target::Nothing;
    }
    let keep =
        if request.lease_valid { !is_out(found.home_rung) } else { is_eligible(found.home_rung) };
    match found.choice() {
        Some(choice) if choice.eligible && !keep => Target::To(choice),
        _ => Target::Keep(found.home),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Addr, Family, Port};
    use core::net::IpAddr;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    const NOW: u64 = 1_000;

    #[derive(Clone, Copy, Debug)]
    struct Fact {
        state: State,
        suspect: bool,
        band: u8,
        weight: u16,
        v6: bool,
    }

    impl Fact {
        const fn state(state: State) -> Self {
            Self { state, suspect: false, band: 0, weight: 1, v6: false }
        }
        const fn suspect(state: State) -> Self {
            Self { suspect: true, ..Self::state(state) }
        }
    }

    struct Facts(Vec<Fact>);

    impl Facts {
        fn pool(&self) -> PoolSet {
            let slots: Vec<Slot> = self
                .0
                .iter()
                .zip(0u8..)
                .map(|(fact, i)| {
                    let ip: IpAddr = if fact.v6 {
                        [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(i)].into()
                    } else {
                        [10, 0, 0, i].into()
                    };
                    Slot::new(Addr::from(ip), Port::new(6443), u32::from(i), 7)
                })
                .collect();
            PoolSet::new(&slots).expect("few backends")
        }
    }

    impl View for Facts {
        fn verdict(&self, backend: u32) -> Verdict {
            let fact = self.0[backend as usize];
            Verdict::new(fact.state, fact.band, fact.weight, 7)
        }
        fn suspect_until_ns(&self, backend: u32, _epoch: u32) -> u64 {
            if self.0[backend as usize].suspect { NOW + 1 } else { 0 }
        }
    }

    fn request(seed: u32) -> Request {
        Request { now_ns: NOW, lease_valid: true, reach: Reach::V4_ONLY, seed, zero: 0 }
    }

    fn chosen(facts: &[Fact], seed: u32) -> Option<(u32, bool)> {
        let facts = Facts(facts.to_vec());
        pick(&facts.pool(), &facts, &request(seed)).map(|c| (c.slot.backend, c.eligible))
    }

    #[test]
    fn the_ladder_goes_healthy_degraded_suspect_draining_unknown_dead() {
        let ladder = [
            Fact::state(State::Healthy),
            Fact::state(State::Degraded),
            Fact::suspect(State::Healthy),
            Fact::suspect(State::Degraded),
            Fact::state(State::Draining),
            Fact::suspect(State::Draining),
            Fact::state(State::Unknown),
            Fact::suspect(State::Unknown),
            Fact::state(State::Unhealthy),
            Fact::suspect(State::Unhealthy),
        ];
        for (better, pair) in ladder.windows(2).enumerate() {
            for seed in 0..50 {
                let eligible = better < 2;
                assert_eq!(chosen(&[pair[1], pair[0]], seed), Some((1, eligible)), "{pair:?}");
            }
        }
    }

    #[test]
    fn a_number_that_is_no_state_counts_as_never_probed() {
        for number in 5..8 {
            for suspect in 0..2 {
                assert_eq!(rung(number, suspect), rung(State::Unknown as u32, suspect));
            }
        }
    }

    #[test]
    fn an_empty_pool_or_one_out_of_reach_gives_nothing() {
        assert_eq!(chosen(&[], 1), None);
        assert_eq!(chosen(&[Fact { v6: true, ..Fact::state(State::Healthy) }], 1), None);
    }

    #[test]
    fn without_a_lease_only_suspicion_counts() {
        let facts = Facts(vec![Fact::suspect(State::Healthy), Fact::state(State::Unhealthy)]);
        let request = Request { lease_valid: false, ..request(3) };
        let choice = pick(&facts.pool(), &facts, &request).expect("a backend");
        assert_eq!((choice.slot.backend, choice.eligible), (1, true));
    }

    #[test]
    fn a_verdict_of_another_epoch_is_no_verdict() {
        let facts = Facts(vec![Fact::state(State::Healthy), Fact::state(State::Draining)]);
        let mut pool = facts.pool();
        pool.slots[0].epoch = 8;
        let choice = pick(&pool, &facts, &request(3)).expect("a backend");
        assert_eq!(choice.slot.backend, 1);
    }

    #[test]
    fn a_v6_socket_prefers_v6_among_equals_and_takes_v4_over_a_worse_v6() {
        let v4 = Fact::state(State::Healthy);
        let v6 = Fact { v6: true, ..v4 };
        let reach = Request { reach: Reach::PREFER_V6, ..request(9) };
        let facts = Facts(vec![v4, v6]);
        assert_eq!(pick(&facts.pool(), &facts, &reach).map(|c| c.slot.backend), Some(1));
        let facts = Facts(vec![v4, Fact { state: State::Draining, ..v6 }]);
        assert_eq!(pick(&facts.pool(), &facts, &reach).map(|c| c.slot.backend), Some(0));
    }

    #[test]
    fn shares_follow_the_weights_within_the_lowest_band() {
        let base = Fact::state(State::Healthy);
        let facts = [
            Fact { weight: 1, ..base },
            Fact { weight: 3, ..base },
            Fact { band: 1, weight: 9, ..base },
        ];
        let mut hits = [0u32; 3];
        for seed in 0..40_000u32 {
            // Seeds as the kernel gives them: any 32 bits.
            let (backend, _) = chosen(&facts, seed.wrapping_mul(2_654_435_761)).expect("one");
            hits[backend as usize] += 1;
        }
        assert_eq!(hits[2], 0);
        // Expected 30,000; the standard deviation is 87.
        assert!((29_500..30_500).contains(&hits[1]), "{hits:?}");
    }

    #[test]
    fn a_node_address_is_left_alone_unless_its_backend_is_out_and_another_is_in() {
        use State::{Degraded, Draining, Healthy, Unhealthy, Unknown};
        let moved = |facts: &[Fact], home: u32| {
            let facts = Facts(facts.to_vec());
            match target(&facts.pool(), &facts, &request(5), home) {
                Target::Keep(slot) => {
                    assert_eq!(slot.backend, home);
                    None
                }
                Target::Nothing => None,
                Target::To(choice) => Some(choice.slot.backend),
            }
        };
        let kept = [
            Fact::state(Healthy),
            Fact::suspect(Healthy),
            Fact::state(Degraded),
            Fact::state(Unknown),
        ];
        for keep in kept {
            assert_eq!(moved(&[keep, Fact::state(Healthy)], 0), None, "{keep:?}");
        }
        for leave in [Fact::state(Draining), Fact::state(Unhealthy)] {
            assert_eq!(moved(&[leave, Fact::state(Healthy)], 0), Some(1), "{leave:?}");
            assert_eq!(moved(&[leave, Fact::state(Draining)], 0), None, "{leave:?}");
        }
        assert_eq!(moved(&[Fact::state(Healthy)], 4), None);
    }

    #[test]
    fn without_a_lease_suspicion_moves_a_node_address() {
        let facts = Facts(vec![Fact::suspect(State::Healthy), Fact::state(State::Unhealthy)]);
        let request = Request { lease_valid: false, ..request(3) };
        let Target::To(choice) = target(&facts.pool(), &facts, &request, 0) else {
            panic!("left alone");
        };
        assert_eq!(choice.slot.backend, 1);
    }

    fn fact() -> impl Strategy<Value = Fact> {
        (0..State::ALL.len(), any::<bool>(), 0u8..3, 0u16..5, any::<bool>()).prop_map(
            |(state, suspect, band, weight, v6)| Fact {
                state: State::ALL[state],
                suspect,
                band,
                weight,
                v6,
            },
        )
    }

    proptest! {
        #[test]
        fn the_choice_is_of_the_best_class_and_never_missing(
            facts in prop::collection::vec(fact(), 0..=MAX_POOL_BACKENDS),
            seed: u32,
            reach in prop::sample::select(
                &[Reach::V4_ONLY, Reach::V6_ONLY, Reach::PREFER_V4, Reach::PREFER_V6][..]
            ),
        ) {
            let facts = Facts(facts);
            let class = |fact: &Fact| {
                let family = if fact.v6 { Family::V6 } else { Family::V4 };
                let bits = reach.bits(family as u16);
                let rung = rung(fact.state as u32, u32::from(fact.suspect));
                (bits & 1 == 1).then_some((rung, bits & 2, fact.band))
            };
            let best = facts.0.iter().filter_map(class).min();
            let request = Request { reach, ..request(seed) };
            let choice = pick(&facts.pool(), &facts, &request);
            prop_assert_eq!(choice.map(|c| c.slot.backend as usize).and_then(|i| class(&facts.0[i])), best);
            prop_assert_eq!(choice.map(|c| c.eligible), best.map(|(rung, ..)| is_eligible(rung)));
        }

        #[test]
        fn suspicion_never_takes_the_last_eligible_backend(
            facts in prop::collection::vec(fact(), 1..=MAX_POOL_BACKENDS), seed: u32
        ) {
            // Whatever a hostile pod makes the kernel believe, a frontend that had a backend has one.
            let suspects: Vec<Fact> = facts.iter().map(|f| Fact { suspect: true, v6: false, ..*f }).collect();
            prop_assert!(chosen(&suspects, seed).is_some());
        }
    }
}
