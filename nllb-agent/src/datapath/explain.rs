//! What would happen to a connect, and why: the kernel's own choice, run on what the maps hold.

pub mod outside;

use std::collections::HashMap;
use std::net::SocketAddr;

use nllb_common::maps::{
    Evidence, Frontend, FrontendKey, NO_BACKEND, NO_HOME, Policy, PoolSet, Protocol, Scope, Slot,
    State, Verdict, control_flags,
};
use nllb_common::pick::{Choice, Reach, Request, Target, View, target};
use nllb_common::{addr, mix};

use super::maps::{Maps, MapsError};

/// Draws that a share is counted from: enough for whole percents.
const DRAWS: u32 = 20_000;

/// What happens to a connect.
#[derive(Clone, Debug, PartialEq)]
pub enum Explanation {
    /// No frontend has the address here.
    Unmatched {
        /// Whether it is one from the other side: of the host, or of every other network namespace.
        on_the_other_side: bool,
    },
    /// A frontend has it.
    Matched(Matched),
}

/// A connect that meets a frontend.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched {
    /// Id of the frontend.
    pub frontend: u16,
    /// How it chooses among equals.
    pub policy: Policy,
    /// Whether the agent's verdicts count; else the kernel goes by evidence alone.
    pub lease_valid: bool,
    /// What follows.
    pub fate: Fate,
    /// Every backend that the kernel has for this frontend.
    pub backends: Vec<Candidate>,
}

/// What follows for the connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is translated to one of those with a share, all of which may get connections.
    Translated,
    /// It is translated to one of those with a share, though none may get connections.
    Panic,
    /// It is left alone: what is dialled is a backend's own address, and that one is well.
    Kept,
    /// There is no backend that such a socket can reach.
    Nobody,
}

/// A backend that a connect may get.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id in the maps.
    pub id: u32,
    /// Its address.
    pub address: SocketAddr,
    /// The agent's verdict.
    pub state: State,
    /// Whether the agent has doubts.
    pub doubted: bool,
    /// Whether the kernel suspects it.
    pub suspect: bool,
    /// Latency band.
    pub band: u8,
    /// Share of such connects, from 0 to 1, as chance would have it; the policy decides among those with
    /// one.
    pub share: f64,
    /// Whether what was dialled is its own address.
    pub home: bool,
}

/// A connect.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What is dialled.
    pub address: SocketAddr,
    /// What is spoken.
    pub protocol: Protocol,
    /// From where.
    pub scope: Scope,
    /// Whether by a guest, whose packets are translated on the way: they keep their version of IP.
    pub guest: bool,
    /// Now, in nanoseconds of `CLOCK_MONOTONIC`.
    pub now_ns: u64,
}

/// Explains a connect.
///
/// # Errors
/// When a map cannot be read.
pub fn explain(maps: &impl Maps, asked: Asked) -> Result<Explanation, MapsError> {
    let Asked { address, protocol, scope, guest, now_ns } = asked;
    let (dialled, port) = addr::split(address);
    let control = maps.control()?;
    let served = protocol == Protocol::Tcp || control.flags & control_flags::DATAGRAMS != 0;
    let frontends = maps.frontends()?.into_iter().filter(|_| served);
    let frontends: HashMap<FrontendKey, Frontend> = frontends.collect();
    let Some(frontend) = frontends.get(&FrontendKey::new(dialled, port, protocol, scope)) else {
        let other = match scope {
            Scope::Host => Scope::Other,
            Scope::Other => Scope::Host,
        };
        let key = FrontendKey::new(dialled, port, protocol, other);
        return Ok(Explanation::Unmatched { on_the_other_side: frontends.contains_key(&key) });
    };
    let pools = maps.pools()?;
    let id = u32::from(frontend.pool);
    let pool = pools.iter().find(|(pool, _)| *pool == id).map(|(_, set)| *set);
    let seen = Seen::of(maps, pool.as_ref())?;
    let request = Request {
        now_ns,
        lease_valid: control.lease_until_ns > now_ns,
        reach: match (address.is_ipv4(), guest) {
            (true, _) => Reach::V4_ONLY,
            (false, true) => Reach::V6_ONLY,
            (false, false) => Reach::PREFER_V6,
        },
        seed: 0,
        zero: 0,
        policy: Policy::Random as u32,
        pool: id,
        preferred: NO_BACKEND,
    };
    let home = if frontend.home == NO_HOME { NO_BACKEND } else { u32::from(frontend.home) };
    let (fate, shares) = pool
        .as_ref()
        .map_or((Fate::Nobody, HashMap::new()), |pool| draw(pool, &seen, &request, home));
    let slots = pool.iter().flat_map(PoolSet::iter).copied();
    let backends = slots.map(|slot| {
        let verdict = seen.verdict(slot.backend);
        let known = verdict.epoch() == slot.epoch;
        Candidate {
            id: slot.backend,
            address: addr::join(slot.addr, slot.port),
            state: if known { verdict.state() } else { State::Unknown },
            doubted: known && verdict.is_doubted(),
            suspect: seen.suspect_until_ns(slot.backend, slot.epoch) > now_ns,
            band: verdict.band(),
            share: shares.get(&slot.backend).copied().unwrap_or_default(),
            home: slot.backend == home,
        }
    });
    Ok(Explanation::Matched(Matched {
        frontend: frontend.id,
        policy: frontend.policy(),
        lease_valid: request.lease_valid,
        fate,
        backends: backends.collect(),
    }))
}

/// Draws many times.
fn draw(pool: &PoolSet, seen: &Seen, request: &Request, home: u32) -> (Fate, HashMap<u32, f64>) {
    let mut shares = HashMap::new();
    let mut fate = Fate::Nobody;
    for draw in 0..DRAWS {
        let drawn = Request { seed: mix(draw), ..*request };
        let slot = match target(pool, seen, &drawn, home) {
            Target::To(Choice { slot, eligible, .. }) => {
                fate = if eligible { Fate::Translated } else { Fate::Panic };
                slot
            }
            Target::Keep(slot) => {
                fate = Fate::Kept;
                slot
            }
            Target::Nothing => break,
        };
        *shares.entry(slot.backend).or_insert(0.0) += 1.0 / f64::from(DRAWS);
    }
    (fate, shares)
}

/// What the maps hold of the backends of one pool.
struct Seen(HashMap<u32, (Verdict, Evidence)>);

impl Seen {
    fn of(maps: &impl Maps, pool: Option<&PoolSet>) -> Result<Self, MapsError> {
        let verdicts: HashMap<u32, Verdict> = maps.verdicts()?.into_iter().collect();
        let slots = pool.into_iter().flat_map(PoolSet::iter);
        let seen = slots.map(|Slot { backend, .. }| {
            let verdict = verdicts.get(backend).copied().unwrap_or(Verdict::from_word(0));
            Ok((*backend, (verdict, maps.evidence(*backend)?)))
        });
        Ok(Self(seen.collect::<Result<_, MapsError>>()?))
    }

    fn evidence(&self, backend: u32, epoch: u32) -> Option<&Evidence> {
        self.0.get(&backend).map(|(_, evidence)| evidence).filter(|held| held.epoch == epoch)
    }
}

impl View for Seen {
    fn verdict(&self, backend: u32) -> Verdict {
        self.0.get(&backend).map_or(Verdict::from_word(0), |(verdict, _)| *verdict)
    }

    fn suspect_until_ns(&self, backend: u32, epoch: u32) -> u64 {
        self.evidence(backend, epoch).map_or(0, |held| held.suspect_until_ns)
    }

    fn active(&self, backend: u32, epoch: u32) -> u64 {
        self.evidence(backend, epoch).map_or(0, Evidence::connections)
    }

    fn last_answer_ns(&self, backend: u32, epoch: u32) -> u64 {
        self.evidence(backend, epoch).map_or(0, |held| held.last_answer_ns)
    }

    fn turn_ns(&self, _pool: u32, _slot: u32) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::fake::FakeMaps;

    const VIP: &str = "10.96.0.1:443";
    const NODE: &str = "10.0.0.1:6443";

    fn maps(states: &[State]) -> FakeMaps {
        let mut maps = FakeMaps::default();
        let backend = |id: u32| {
            let (ip, port) = addr::split(format!("10.0.0.{}:6443", id + 1).parse().expect("one"));
            Slot::new(ip, port, id, 1)
        };
        let slots: Vec<Slot> = (0..).take(states.len()).map(backend).collect();
        for (slot, state) in slots.iter().zip(states) {
            maps.set_verdict(slot.backend, Verdict::new(*state, 0, 1, 1)).expect("room");
        }
        maps.set_pools(&[(1, &PoolSet::new(&slots).expect("few"))]).expect("room");
        for (address, home) in [(VIP, NO_HOME), (NODE, 0)] {
            let (ip, port) = addr::split(address.parse().expect("an address"));
            let frontend = Frontend { id: 7, pool: 1, home, flags: 0 };
            maps.set_frontend(FrontendKey::tcp(ip, port, Scope::Host), frontend).expect("room");
        }
        let mut control = maps.control().expect("one");
        control.lease_until_ns = 2_000;
        maps.set_control(control).expect("room");
        maps
    }

    fn asked(address: &str, now_ns: u64) -> Asked {
        let address = address.parse().expect("an address");
        Asked { address, protocol: Protocol::Tcp, scope: Scope::Host, guest: false, now_ns }
    }

    fn matched(maps: &FakeMaps, asked: Asked) -> Matched {
        match explain(maps, asked).expect("readable") {
            Explanation::Matched(matched) => matched,
            Explanation::Unmatched { .. } => panic!("unmatched"),
        }
    }

    fn percents(matched: &Matched) -> Vec<String> {
        matched.backends.iter().map(|backend| format!("{:.0}", backend.share * 100.0)).collect()
    }

    #[test]
    fn shares_are_those_of_the_kernels_own_choice() {
        let maps = maps(&[State::Healthy, State::Unhealthy, State::Healthy]);
        let explained = matched(&maps, asked(VIP, 1_000));
        assert_eq!((explained.frontend, explained.fate), (7, Fate::Translated));
        assert_eq!(percents(&explained), ["50", "0", "50"]);
        let lapsed = matched(&maps, asked(VIP, 3_000));
        assert!(!lapsed.lease_valid);
        let even = lapsed.backends.iter().all(|backend| (0.32..0.35).contains(&backend.share));
        assert!(even, "verdicts no longer count: {lapsed:?}");
    }

    #[test]
    fn panic_and_nobody_are_told_apart() {
        let all_dead = maps(&[State::Unhealthy, State::Unhealthy]);
        assert_eq!(matched(&all_dead, asked(VIP, 0)).fate, Fate::Panic);
        assert_eq!(matched(&maps(&[]), asked(VIP, 0)).fate, Fate::Nobody);
    }

    #[test]
    fn a_node_address_is_kept_while_its_own_backend_is_well() {
        let well = matched(&maps(&[State::Healthy, State::Healthy]), asked(NODE, 0));
        assert_eq!(
            (well.fate, percents(&well)),
            (Fate::Kept, vec!["100".to_owned(), "0".to_owned()])
        );
        let dead = matched(&maps(&[State::Unhealthy, State::Healthy]), asked(NODE, 0));
        assert_eq!(
            (dead.fate, percents(&dead)),
            (Fate::Translated, vec!["0".to_owned(), "100".to_owned()])
        );
        assert!(dead.backends[0].home);
    }

    #[test]
    fn datagrams_have_frontends_of_their_own_and_only_while_they_are_translated() {
        let mut maps = maps(&[State::Healthy]);
        let datagram = Asked { protocol: Protocol::Udp, ..asked(VIP, 0) };
        let unmatched = Explanation::Unmatched { on_the_other_side: false };
        let (addr, port) = addr::split(datagram.address);
        let mut control = maps.control().expect("one");
        control.flags = control_flags::DATAGRAMS;
        maps.set_control(control).expect("room");
        assert_eq!(explain(&maps, datagram).expect("readable"), unmatched);
        let key = FrontendKey::new(addr, port, Protocol::Udp, Scope::Host);
        let frontend = Frontend { id: 8, pool: 1, home: NO_HOME, flags: 0 };
        maps.set_frontend(key, frontend).expect("room");
        assert_eq!(matched(&maps, datagram).fate, Fate::Translated);
        control.flags = 0;
        maps.set_control(control).expect("room");
        assert_eq!(explain(&maps, datagram).expect("readable"), unmatched);
    }

    #[test]
    fn what_only_the_host_may_dial_is_said() {
        let maps = maps(&[State::Healthy]);
        let from_a_pod = Asked { scope: Scope::Other, ..asked(VIP, 0) };
        let explained = explain(&maps, from_a_pod).expect("readable");
        assert_eq!(explained, Explanation::Unmatched { on_the_other_side: true });
        let unknown = explain(&maps, asked("10.96.0.2:443", 0)).expect("readable");
        assert_eq!(unknown, Explanation::Unmatched { on_the_other_side: false });
    }
}
