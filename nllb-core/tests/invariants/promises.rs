//! What must hold after every operation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use nllb_common::addr::join;
use nllb_common::maps::{
    MAX_BACKENDS, MAX_FRONTENDS, MAX_POOL_BACKENDS, MAX_POOLS, State, frontend_flags,
};
use nllb_core::{
    BackendId, BackendView, Direction, Doubt, FrontendKind, Outcome, SubjectName, Table,
};

use crate::driver::{Driver, eligible};

impl Driver {
    /// Ids stay with their backend, and one that went to another has grown its epoch.
    pub(crate) fn check_places(&mut self) {
        let mut places = BTreeMap::new();
        for pool in self.machine.view().pools {
            for backend in pool.backends {
                let place = (pool.name.clone(), backend.addr);
                let slot = (backend.id, backend.epoch);
                match self.places.get(&place) {
                    Some(before) => assert_eq!(*before, slot, "{place:?} moved"),
                    None => {
                        let last = self.epochs.insert(backend.id, backend.epoch);
                        assert!(last.is_none_or(|last| last < backend.epoch), "{slot:?} reused");
                    }
                }
                places.insert(place, slot);
            }
        }
        let ids: BTreeSet<_> = places.values().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), places.len(), "an id names two backends");
        self.places = places;
    }

    pub(crate) fn check_limits(&self) {
        let Table { frontends, pools, verdicts, fresh } = &self.maps;
        assert!(frontends.len() <= MAX_FRONTENDS as usize);
        assert!(frontends.values().all(|front| front.id != 0 && front.pool != 0));
        assert!(pools.keys().all(|pool| (1..MAX_POOLS).contains(pool)));
        assert!(pools.values().all(|set| set.len as usize <= MAX_POOL_BACKENDS));
        assert!(verdicts.keys().all(|id| *id < MAX_BACKENDS));
        assert!(verdicts.iter().all(|(id, verdict)| fresh.get(id) == Some(&verdict.epoch())));
    }

    /// Where nobody gets connections, nobody who answers well enough is kept waiting.
    pub(crate) fn check_nobody_waits_in_vain(&self) {
        for pool in self.machine.view().pools {
            if pool.backends.iter().any(eligible) {
                continue;
            }
            for backend in pool.backends.iter().filter(|backend| !backend.drained) {
                let last = backend.last.as_ref().map(|last| &last.outcome);
                let well = last.is_some_and(Outcome::is_success);
                let up = backend.run.is_some_and(|run| {
                    run.direction == Direction::Up && Some(run.count) >= backend.run_needed
                });
                assert!(!(well && up), "{} is kept out of an empty pool", backend.addr);
            }
        }
    }

    /// No drill lasts longer than its lease, or where nobody else gets connections.
    pub(crate) fn check_drills(&self) {
        for pool in self.machine.view().pools {
            for one in &pool.backends {
                let Some((_, until)) = one.drill else { continue };
                assert!(until > self.now, "the drill of {} has no end", one.addr);
                let other = |other: &&BackendView| other.id != one.id && eligible(other);
                assert!(pool.backends.iter().any(|it| other(&it)), "{} is missed", one.addr);
            }
        }
    }

    /// The word in the maps says what status says.
    pub(crate) fn check_verdicts(&self) {
        for backend in self.machine.view().pools.iter().flat_map(|pool| &pool.backends) {
            let verdict = self.maps.verdicts[&backend.id.0];
            assert_eq!(verdict.state(), backend.state);
            assert_eq!(verdict.is_doubted(), backend.doubt.is_some());
            let new = backend.doubt.is_some_and(|doubt| doubt != Doubt::Before);
            assert!(!new || backend.doubted > 0, "a doubt that was not counted");
            let out = matches!(backend.state, State::Draining | State::Unhealthy);
            assert!(!(out && verdict.is_doubted()), "who is out cannot be doubted");
        }
    }

    /// What a frontend promises to those who dial it.
    pub(crate) fn check_frontends(&self) {
        let view = self.machine.view();
        for front in &view.frontends {
            let set = &self.maps.pools[&u32::from(front.id)];
            let used: Vec<_> = set.iter().map(|slot| (slot.backend, slot.epoch)).collect();
            let pool = view.pools.iter().find(|pool| pool.name == front.pool).expect("its pool");
            let all: BTreeSet<_> =
                set.iter().chain(set.left_out()).map(|one| one.backend).collect();
            assert_eq!(
                all,
                pool.backends.iter().map(|one| one.id.0).collect(),
                "who is in the maps"
            );
            let backends: BTreeMap<_, _> =
                pool.backends.iter().map(|backend| (backend.id, backend)).collect();
            for backend in set.iter() {
                let known = backends[&BackendId(backend.backend)];
                assert_eq!(join(backend.addr, backend.port), known.addr);
                assert_eq!(self.maps.verdicts[&backend.backend].state(), known.state);
            }
            match front.kind {
                FrontendKind::Vip | FrontendKind::Loopback => {
                    let may = |backend: &&BackendView| !refuses(backend, front.addresses[0]);
                    let anyone = !pool.backends.is_empty();
                    assert_eq!(anyone, !used.is_empty(), "{} was emptied", front.name);
                    let healthy = |backend: &&BackendView| backend.state == State::Healthy;
                    for backend in pool.backends.iter().filter(healthy).filter(may) {
                        let slot = (backend.id.0, backend.epoch);
                        assert!(used.contains(&slot), "{} is left out", backend.addr);
                    }
                }
                FrontendKind::NodeAddress => {
                    let home = front.home.expect("a home");
                    assert!(used.iter().any(|(id, _)| *id == home.0), "home is not in");
                    for (id, _) in used.iter().filter(|(id, _)| *id != home.0) {
                        let backend = backends[&BackendId(*id)];
                        assert!(covers(backend, front.addresses[0]), "{} on a guess", backend.addr);
                    }
                    let flags = self.maps.frontends.values().filter(|value| value.id == front.id);
                    for value in flags {
                        assert_eq!(u32::from(value.home), home.0);
                        assert_ne!(value.flags & frontend_flags::NODE_ADDRESS, 0);
                    }
                }
            }
        }
    }
}

/// Whether its certificate was seen and is not for the address.
fn refuses(backend: &BackendView, address: SocketAddr) -> bool {
    backend.certificate.is_some() && !covers(backend, address)
}

fn covers(backend: &BackendView, address: SocketAddr) -> bool {
    let name = SubjectName::Ip(address.ip());
    backend.certificate.as_ref().is_some_and(|facts| facts.names.contains(&name))
}
