//! The choice of a backend: pure, run by the kernel program at every connect and by the tests.
//!
//! Backends are ranked by a class (the rung of the panic ladder, then whether the address family
//! must be mapped, then the latency band) and one of the best class is drawn at random by weight.
//! Random and not "fastest wins", because with one fastest server every node would choose it. The
//! draw is a weighted reservoir (A-Chao: M. T. Chao, "A general purpose unequal probability sampling
//! plan", 1982): one pass, no array on the 512-byte stack, no second look at the maps.

use crate::addr::Family;
use crate::maps::{MAX_POOL_BACKENDS, PoolSet, Slot, State, Verdict};
use crate::mix;

/// What the choice reads about backends, apart from the pool itself.
pub trait View {
    /// The agent's word on the backend with this id.
    fn verdict(&self, backend: u32) -> Verdict;
    /// Until when the kernel suspects it, in nanoseconds of `CLOCK_MONOTONIC`, as long as the
    /// evidence is of `epoch`; else 0.
    fn suspect_until_ns(&self, backend: u32, epoch: u32) -> u64;
}

/// Which families the socket can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A v4 socket, or a v6 socket bound to a v4-mapped address.
    V4Only,
    /// A v6 socket bound to a v6 address.
    V6Only,
    /// An unbound v6 socket that dialled a v6 address: v4 by mapping, when there is nothing better.
    PreferV6,
    /// An unbound v6 socket that dialled a v4-mapped address.
    PreferV4,
}

impl Reach {
    /// Whether a backend of `family` is out of reach (`None`) or costs a mapping (`Some(true)`).
    #[inline(always)]
    const fn mismatch(self, family: Family) -> Option<bool> {
        match (self, family) {
            (Self::V4Only | Self::PreferV4, Family::V4)
            | (Self::V6Only | Self::PreferV6, Family::V6) => Some(false),
            (Self::PreferV6, Family::V4) | (Self::PreferV4, Family::V6) => Some(true),
            (Self::V4Only, Family::V6) | (Self::V6Only, Family::V4) => None,
        }
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

/// The rung of the panic ladder: suspect, degraded, draining, any. What was never probed comes
/// before what is known to be dead.
#[inline(always)]
const fn rung(state: State, suspect: bool) -> u32 {
    let base = match state {
        State::Healthy => 0,
        State::Degraded => 2,
        State::Draining => 4,
        State::Unknown => 6,
        State::Unhealthy => 8,
    };
    base + suspect as u32
}

/// Whether a backend on this rung may get connections. Degraded counts: without credentials every
/// API server is degraded, and a node must not be in panic all its life for that.
#[inline(always)]
const fn is_eligible(rung: u32) -> bool {
    rung == 0 || rung == 2
}

/// State and suspicion of a backend under the circumstances of `request`, with its band and weight.
#[inline(always)]
fn judge<V: View>(slot: &Slot, view: &V, request: &Request) -> (u32, u8, u16) {
    let suspect = view.suspect_until_ns(slot.backend, slot.epoch) > request.now_ns;
    if !request.lease_valid {
        return (rung(State::Healthy, suspect), 0, 1);
    }
    let verdict = view.verdict(slot.backend);
    if verdict.epoch() != slot.epoch {
        return (rung(State::Unknown, suspect), 0, 1);
    }
    (
        rung(verdict.state(), suspect),
        verdict.band(),
        verdict.weight(),
    )
}

/// Chooses a backend of `pool`; `None` when it has none that the socket can reach.
#[inline(always)]
pub fn pick<V: View>(pool: &PoolSet, view: &V, request: &Request) -> Option<Choice> {
    pick_except(pool, view, request, crate::maps::NO_BACKEND)
}

/// Like [`pick`], but never `except`.
#[inline(always)]
fn pick_except<V: View>(
    pool: &PoolSet,
    view: &V,
    request: &Request,
    except: u32,
) -> Option<Choice> {
    let mut best = NONE;
    let mut total = 0u32;
    // The slot itself, not its index: for the verifier all slots are alike, indices are not.
    let mut chosen = Slot::EMPTY;
    for index in 0..MAX_POOL_BACKENDS {
        if index >= pool.len as usize {
            break;
        }
        let slot = &pool.slots[index];
        let Some(mapped) = request.reach.mismatch(slot.addr.family()) else {
            continue;
        };
        if slot.backend == except {
            continue;
        }
        let (rung, band, weight) = judge(slot, view, request);
        // `reserved` is zero. The verifier does not know that, so it cannot tell classes or weights
        // apart, and explores the loop once instead of once per order in which the backends may
        // rank (a million steps, and a refusal).
        let zero = u32::from(slot.reserved);
        let class = (rung << 16 | u32::from(mapped) << 8 | u32::from(band)) ^ zero << 16;
        let weight = u32::from(weight.max(1)) ^ zero;
        if class > best {
            continue;
        }
        if class < best {
            best = class;
            total = 0;
        }
        total += weight;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "index is below MAX_POOL_BACKENDS"
        )]
        let draw = mix(request.seed.wrapping_add(index as u32)) % total.max(1);
        if draw < weight {
            chosen = *slot;
        }
    }
    if best == NONE {
        return None;
    }
    Some(Choice {
        slot: chosen,
        eligible: is_eligible(best >> 16),
    })
}

/// Whether a backend other than `except` may get connections, so that giving up on it is no loss.
#[inline(always)]
pub fn other_eligible<V: View>(pool: &PoolSet, view: &V, request: &Request, except: u32) -> bool {
    pick_except(pool, view, request, except).is_some_and(|choice| choice.eligible)
}

/// What to do with a connect to a backend's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAddress {
    /// Leave it alone and note that it goes to this backend.
    Keep(Slot),
    /// Leave it alone; the address belongs to no backend of the pool.
    Unknown,
    /// Translate it to another backend.
    Move(Choice),
}

/// Decides on a connect to the own address of the backend `home`: away only when `home` is known
/// not to be eligible and another backend is. The caller made the pool such that every backend in
/// it has a certificate for the address.
#[inline(always)]
pub fn pick_node_address<V: View>(
    pool: &PoolSet,
    view: &V,
    request: &Request,
    home: u32,
) -> NodeAddress {
    let mut own = None;
    for index in 0..MAX_POOL_BACKENDS {
        if index >= pool.len as usize {
            break;
        }
        let slot = &pool.slots[index];
        if slot.backend == home {
            own = Some(*slot);
        }
    }
    let Some(own) = own else {
        return NodeAddress::Unknown;
    };
    let (rung_own, _, _) = judge(&own, view, request);
    if is_eligible(rung_own) || rung_own == rung(State::Unknown, false) {
        return NodeAddress::Keep(own);
    }
    match pick_except(pool, view, request, home) {
        Some(choice) if choice.eligible => NodeAddress::Move(choice),
        _ => NodeAddress::Keep(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Addr, Port};
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
            Self {
                state,
                suspect: false,
                band: 0,
                weight: 1,
                v6: false,
            }
        }
        const fn suspect(state: State) -> Self {
            Self {
                suspect: true,
                ..Self::state(state)
            }
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
            if self.0[backend as usize].suspect {
                NOW + 1
            } else {
                0
            }
        }
    }

    fn request(seed: u32) -> Request {
        Request {
            now_ns: NOW,
            lease_valid: true,
            reach: Reach::V4Only,
            seed,
        }
    }

    fn chosen(facts: &[Fact], seed: u32) -> Option<(u32, bool)> {
        let facts = Facts(facts.to_vec());
        pick(&facts.pool(), &facts, &request(seed)).map(|c| (c.slot.backend, c.eligible))
    }

    #[test]
    fn the_ladder_goes_suspect_degraded_draining_unknown_dead() {
        let ladder = [
            Fact::state(State::Healthy),
            Fact::suspect(State::Healthy),
            Fact::state(State::Degraded),
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
                let eligible = better == 0 || better == 2;
                assert_eq!(
                    chosen(&[pair[1], pair[0]], seed),
                    Some((1, eligible)),
                    "{pair:?}"
                );
            }
        }
    }

    #[test]
    fn an_empty_pool_or_one_out_of_reach_gives_nothing() {
        assert_eq!(chosen(&[], 1), None);
        assert_eq!(
            chosen(
                &[Fact {
                    v6: true,
                    ..Fact::state(State::Healthy)
                }],
                1
            ),
            None
        );
    }

    #[test]
    fn without_a_lease_only_suspicion_counts() {
        let facts = Facts(vec![
            Fact::suspect(State::Healthy),
            Fact::state(State::Unhealthy),
        ]);
        let request = Request {
            lease_valid: false,
            ..request(3)
        };
        let choice = pick(&facts.pool(), &facts, &request).expect("a backend");
        assert_eq!((choice.slot.backend, choice.eligible), (1, true));
    }

    #[test]
    fn a_verdict_of_another_epoch_is_no_verdict() {
        let facts = Facts(vec![
            Fact::state(State::Healthy),
            Fact::state(State::Draining),
        ]);
        let mut pool = facts.pool();
        pool.slots[0].epoch = 8;
        let choice = pick(&pool, &facts, &request(3)).expect("a backend");
        assert_eq!(choice.slot.backend, 1);
    }

    #[test]
    fn a_v6_socket_prefers_v6_among_equals_and_takes_v4_over_a_worse_v6() {
        let v4 = Fact::state(State::Healthy);
        let v6 = Fact { v6: true, ..v4 };
        let reach = Request {
            reach: Reach::PreferV6,
            ..request(9)
        };
        let facts = Facts(vec![v4, v6]);
        assert_eq!(
            pick(&facts.pool(), &facts, &reach).map(|c| c.slot.backend),
            Some(1)
        );
        let facts = Facts(vec![
            v4,
            Fact {
                state: State::Draining,
                ..v6
            },
        ]);
        assert_eq!(
            pick(&facts.pool(), &facts, &reach).map(|c| c.slot.backend),
            Some(0)
        );
    }

    #[test]
    fn shares_follow_the_weights_within_the_lowest_band() {
        let base = Fact::state(State::Healthy);
        let facts = [
            Fact { weight: 1, ..base },
            Fact { weight: 3, ..base },
            Fact {
                band: 1,
                weight: 9,
                ..base
            },
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
            match pick_node_address(&facts.pool(), &facts, &request(5), home) {
                NodeAddress::Keep(slot) => {
                    assert_eq!(slot.backend, home);
                    None
                }
                NodeAddress::Unknown => None,
                NodeAddress::Move(choice) => Some(choice.slot.backend),
            }
        };
        for keep in [
            Fact::state(Healthy),
            Fact::state(Degraded),
            Fact::state(Unknown),
        ] {
            assert_eq!(moved(&[keep, Fact::state(Healthy)], 0), None, "{keep:?}");
        }
        for leave in [
            Fact::suspect(Healthy),
            Fact::state(Draining),
            Fact::state(Unhealthy),
        ] {
            assert_eq!(
                moved(&[leave, Fact::state(Healthy)], 0),
                Some(1),
                "{leave:?}"
            );
            assert_eq!(moved(&[leave, Fact::state(Draining)], 0), None, "{leave:?}");
        }
        assert_eq!(moved(&[Fact::state(Healthy)], 4), None);
    }

    fn fact() -> impl Strategy<Value = Fact> {
        (
            0..State::ALL.len(),
            any::<bool>(),
            0u8..3,
            0u16..5,
            any::<bool>(),
        )
            .prop_map(|(state, suspect, band, weight, v6)| Fact {
                state: State::ALL[state],
                suspect,
                band,
                weight,
                v6,
            })
    }

    proptest! {
        #[test]
        fn the_choice_is_of_the_best_class_and_never_missing(
            facts in prop::collection::vec(fact(), 0..=MAX_POOL_BACKENDS),
            seed: u32,
            reach in prop::sample::select(
                &[Reach::V4Only, Reach::V6Only, Reach::PreferV4, Reach::PreferV6][..]
            ),
        ) {
            let facts = Facts(facts);
            let class = |fact: &Fact| {
                let family = if fact.v6 { Family::V6 } else { Family::V4 };
                let mapped = reach.mismatch(family)?;
                Some((rung(fact.state, fact.suspect), mapped, fact.band))
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
