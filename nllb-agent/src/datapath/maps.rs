//! The maps behind a small trait: the kernel's here, a fake and a failing one in `fake.rs`.
//!
//! The trait speaks the contract of `nllb-common` only; which entry goes where is decided elsewhere.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray, SkStorage};
use nllb_common::Counter;
use nllb_common::maps::{
    Control, Evidence, Frontend, FrontendKey, MAX_BACKENDS, MAX_FRONTENDS, MAX_NETNS, MAX_POOLS,
    Netns, PoolSet, SocketRecord, Verdict, names, socket_flags,
};
use thiserror::Error;

use super::monotonic_ns;
use super::sets::{Sets, call};
use super::sys::{self, arrays};

/// Pool and frontend id of the self-test; never used for anything else.
pub const SELF_TEST_ID: u16 = 0;

const NS_PER_S: u64 = 1_000_000_000;
/// How long a network namespace is kept for the datagram sockets that were connected there: nobody says when they
/// end, and a resolver that waits longer has other troubles.
const DATAGRAMS_LAST_S: u64 = 300;

/// Why a map could not be read or written.
#[derive(Debug, Error)]
pub enum MapsError {
    /// The map has no room for another entry.
    #[error("map {map} is full: it holds {limit} entries; use fewer")]
    Full {
        /// Name of the map.
        map: &'static str,
        /// How many entries it holds.
        limit: u32,
    },
    /// The loaded object has no such map, or one of another type.
    #[error("map {map} is missing or has another type than this agent expects")]
    Mismatch {
        /// Name of the map.
        map: &'static str,
    },
    /// A map in a map that is not pinned is opened by its id, which the kernel lets only `CAP_SYS_ADMIN` do.
    #[error(
        "map {map}: to take over what an agent of an earlier version left takes CAP_SYS_ADMIN; run as root or with it once, or begin anew after nllb uninstall"
    )]
    NotReadable {
        /// Name of the map.
        map: &'static str,
    },
    /// The kernel refused a call of our own.
    #[error("map {map}: cannot {verb}: {source}")]
    Call {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        verb: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a call that aya made.
    #[error("map {map}: cannot {verb}: {}", root_cause(source))]
    Kernel {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        verb: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<MapError>,
    },
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What the agent does with the maps.
pub trait Maps {
    /// Every frontend but the self-test's.
    fn frontends(&self) -> Result<Vec<(FrontendKey, Frontend)>, MapsError>;
    /// Every pool that has backends, but the self-test's.
    fn pools(&self) -> Result<Vec<(u32, PoolSet)>, MapsError>;
    /// Every verdict that was ever given.
    fn verdicts(&self) -> Result<Vec<(u32, Verdict)>, MapsError>;
    /// Adds or replaces a frontend.
    fn set_frontend(&mut self, key: FrontendKey, frontend: Frontend) -> Result<(), MapsError>;
    /// Removes a frontend; one that is not there is removed already.
    fn remove_frontend(&mut self, key: FrontendKey) -> Result<(), MapsError>;
    /// Swaps the sets of these pools' backends, each in one step.
    fn set_pools(&mut self, pools: &[(u32, &PoolSet)]) -> Result<(), MapsError>;
    /// Gives the agent's word on a backend.
    fn set_verdict(&mut self, backend: u32, verdict: Verdict) -> Result<(), MapsError>;
    /// What the kernel saw of a backend.
    fn evidence(&self, backend: u32) -> Result<Evidence, MapsError>;
    /// Forgets what the kernel saw under this id, before it is given to another backend.
    fn reset_evidence(&mut self, backend: u32, epoch: u32) -> Result<(), MapsError>;
    /// Counters, summed over all CPUs.
    fn counters(&self) -> Result<Vec<(Counter, u64)>, MapsError>;
    /// Lease and limits.
    fn control(&self) -> Result<Control, MapsError>;
    /// Writes lease and limits.
    fn set_control(&mut self, control: Control) -> Result<(), MapsError>;
    /// Forgets network namespaces without connections once they fill half of the map, so that those
    /// of pods long gone leave room.
    fn sweep_netns(&mut self) -> Result<(), MapsError>;
}

type Pools = ArrayOfMaps<MapData, Array<MapData, PoolSet>>;

/// The kernel's maps.
pub struct KernelMaps {
    frontends: HashMap<MapData, FrontendKey, u64>,
    pools: Sets,
    verdict: Array<MapData, u64>,
    evidence: Array<MapData, Evidence>,
    netns: HashMap<MapData, u64, Netns>,
    stats: PerCpuArray<MapData, u64>,
    control: Array<MapData, Control>,
}

/// Takes a map out of the loaded object as the type it must have.
pub(super) fn take<M: TryFrom<Map>>(bpf: &mut Ebpf, map: &'static str) -> Result<M, MapsError> {
    bpf.take_map(map).and_then(|found| M::try_from(found).ok()).ok_or(MapsError::Mismatch { map })
}

/// Creates the array of pools and pins it, unless it is pinned already, so that the loader takes
/// this one. It would give the array a prototype with type information; Linux 5.15 to 6.1 then accept
/// only inner maps with it (their `timer_off` differs), and those that we create later have none.
pub(super) fn pin_pools(pin: &Path) -> Result<(), MapsError> {
    if pin.exists() {
        return Ok(());
    }
    let created = arrays::create_array_of_arrays(names::POOLS, MAX_POOLS, size_of::<PoolSet>())
        .and_then(|pools| sys::pin(&pools, pin));
    created.map_err(call("create it"))
}

impl KernelMaps {
    /// Takes the maps out of the loaded object, and over what is pinned besides.
    pub(super) fn take(bpf: &mut Ebpf, directory: &Path) -> Result<Self, MapsError> {
        let _of_the_right_type: Pools = take(bpf, names::POOLS)?;
        let pools = Sets::open(directory)?;
        pools.take_over()?;
        Ok(Self {
            pools,
            frontends: take(bpf, names::FRONTENDS)?,
            verdict: take(bpf, names::VERDICT)?,
            evidence: take(bpf, names::EVIDENCE)?,
            netns: take(bpf, names::NETNS)?,
            stats: take(bpf, names::STATS)?,
            control: take(bpf, names::CONTROL)?,
        })
    }

    /// Opens the pinned maps of a data path, with or without an agent.
    ///
    /// # Errors
    /// When they are not there, or this process may not open them.
    pub fn open(directory: &Path) -> Result<Self, MapsError> {
        let _of_the_right_type: Pools = pinned(directory, names::POOLS)?;
        Ok(Self {
            pools: Sets::open(directory)?,
            frontends: pinned(directory, names::FRONTENDS)?,
            verdict: pinned(directory, names::VERDICT)?,
            evidence: pinned(directory, names::EVIDENCE)?,
            netns: pinned(directory, names::NETNS)?,
            stats: pinned(directory, names::STATS)?,
            control: pinned(directory, names::CONTROL)?,
        })
    }

    /// Network namespaces with translated connections, by cookie.
    fn netns(&self) -> Result<Vec<(u64, Netns)>, MapsError> {
        self.netns
            .iter()
            .collect::<Result<_, _>>()
            .map_err(kernel(names::NETNS, "list the network namespaces"))
    }
}

/// Opens a pinned map as the type it must have.
pub(super) fn pinned<M: TryFrom<Map>>(directory: &Path, map: &'static str) -> Result<M, MapsError> {
    let opened = Map::from_map_data(open(directory, map)?).ok();
    opened.and_then(|opened| M::try_from(opened).ok()).ok_or(MapsError::Mismatch { map })
}

/// Opens a pinned map, whatever its type.
pub(super) fn open(directory: &Path, map: &'static str) -> Result<MapData, MapsError> {
    MapData::from_pin(directory.join(map)).map_err(kernel(map, "open the pin"))
}

/// Names map and verb in an error of aya's.
pub(super) fn kernel(map: &'static str, verb: &'static str) -> impl Fn(MapError) -> MapsError {
    move |source| MapsError::Kernel { map, verb, source: Box::new(source) }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only these two carry an errno")]
pub(super) fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        MapError::IoError(error) => error.raw_os_error(),
        _ => None,
    }
}

impl Maps for KernelMaps {
    fn frontends(&self) -> Result<Vec<(FrontendKey, Frontend)>, MapsError> {
        self.frontends
            .iter()
            .map(|entry| entry.map(|(key, word)| (key, Frontend::from_word(word))))
            .filter(|entry| !matches!(entry, Ok((_, frontend)) if frontend.id == SELF_TEST_ID))
            .collect::<Result<_, _>>()
            .map_err(kernel(names::FRONTENDS, "list the frontends"))
    }

    fn pools(&self) -> Result<Vec<(u32, PoolSet)>, MapsError> {
        self.pools.read()
    }

    fn verdicts(&self) -> Result<Vec<(u32, Verdict)>, MapsError> {
        let mut verdicts = Vec::new();
        for (backend, word) in (0..MAX_BACKENDS).zip(self.verdict.iter()) {
            let word = word.map_err(kernel(names::VERDICT, "read a verdict"))?;
            if word != 0 {
                verdicts.push((backend, Verdict::from_word(word)));
            }
        }
        Ok(verdicts)
    }

    fn set_frontend(&mut self, key: FrontendKey, frontend: Frontend) -> Result<(), MapsError> {
        self.frontends.insert(key, frontend.word(), 0).map_err(|error| match errno(&error) {
            Some(libc::E2BIG | libc::ENOSPC) => {
                MapsError::Full { map: names::FRONTENDS, limit: MAX_FRONTENDS }
            }
            _ => kernel(names::FRONTENDS, "write a frontend")(error),
        })
    }

    fn remove_frontend(&mut self, key: FrontendKey) -> Result<(), MapsError> {
        match self.frontends.remove(&key) {
            Err(error)
                if !matches!(error, MapError::KeyNotFound)
                    && errno(&error) != Some(libc::ENOENT) =>
            {
                Err(kernel(names::FRONTENDS, "remove a frontend")(error))
            }
            _ => Ok(()),
        }
    }

    fn set_pools(&mut self, pools: &[(u32, &PoolSet)]) -> Result<(), MapsError> {
        if pools.iter().any(|(pool, _)| *pool >= MAX_POOLS) {
            return Err(MapsError::Full { map: names::POOLS, limit: MAX_POOLS });
        }
        self.pools.publish(pools)
    }

    fn set_verdict(&mut self, backend: u32, verdict: Verdict) -> Result<(), MapsError> {
        self.verdict
            .set(backend, verdict.word(), 0)
            .map_err(kernel(names::VERDICT, "write a verdict"))
    }

    fn evidence(&self, backend: u32) -> Result<Evidence, MapsError> {
        self.evidence.get(&backend, 0).map_err(kernel(names::EVIDENCE, "read evidence"))
    }

    fn reset_evidence(&mut self, backend: u32, epoch: u32) -> Result<(), MapsError> {
        self.evidence
            .set(backend, Evidence::fresh(epoch), 0)
            .map_err(kernel(names::EVIDENCE, "reset evidence"))
    }

    fn counters(&self) -> Result<Vec<(Counter, u64)>, MapsError> {
        Counter::ALL
            .iter()
            .map(|counter| {
                let cpus = self
                    .stats
                    .get(&(*counter as u32), 0)
                    .map_err(kernel(names::STATS, "read a counter"))?;
                Ok((*counter, cpus.iter().sum()))
            })
            .collect()
    }

    fn control(&self) -> Result<Control, MapsError> {
        self.control.get(&0, 0).map_err(kernel(names::CONTROL, "read the lease"))
    }

    fn set_control(&mut self, control: Control) -> Result<(), MapsError> {
        self.control.set(0, control, 0).map_err(kernel(names::CONTROL, "write the lease"))
    }

    fn sweep_netns(&mut self) -> Result<(), MapsError> {
        for cookie in idle(&self.netns()?, monotonic_ns() / NS_PER_S) {
            // One that comes back in this moment is only not counted until it dials again.
            let _gone = self.netns.remove(&cookie);
        }
        Ok(())
    }
}

/// The network namespaces to forget: those without connections, once half of the map is in use. Not those
/// with fewer than none, which have connections that were forgotten: forgotten again, they would never
/// come back to none. Those with datagram sockets of late only when it is nearly full, and connections need the room.
fn idle(known: &[(u64, Netns)], now_s: u64) -> Vec<u64> {
    let limit = MAX_NETNS as usize;
    if known.len() < limit / 2 {
        return Vec::new();
    }
    let crowded = known.len() >= limit / 4 * 3;
    let lately = |netns: &Netns| {
        netns.datagram_s != 0 && u64::from(netns.datagram_s) + DATAGRAMS_LAST_S > now_s
    };
    let idle = known.iter().filter(|(_, netns)| netns.active == 0 && (crowded || !lately(netns)));
    idle.map(|(cookie, _)| *cookie).collect()
}

/// Records of single sockets, reached by their file descriptor.
#[derive(Debug)]
pub struct Sockets(RefCell<SkStorage<MapData, SocketRecord>>);

impl Sockets {
    /// Takes the map out of the loaded object.
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, MapsError> {
        take(bpf, names::SOCKS).map(|map| Self(RefCell::new(map)))
    }

    /// Opens the pinned map of a running data path.
    pub fn open(pin: &Path) -> Result<Self, MapsError> {
        let data = MapData::from_pin(pin).map_err(kernel(names::SOCKS, "open the pin"))?;
        Map::from_map_data(data)
            .ok()
            .and_then(|map| SkStorage::try_from(map).ok())
            .map(|map| Self(RefCell::new(map)))
            .ok_or(MapsError::Mismatch { map: names::SOCKS })
    }

    /// Marks a socket as a probe of `backend`: never translated. To be called before `connect`.
    ///
    /// # Errors
    /// When the kernel has no memory for it; such a socket must not dial.
    pub fn bypass(&self, socket: &impl AsRawFd, backend: u32, epoch: u32) -> Result<(), MapsError> {
        let record =
            SocketRecord { backend, epoch, flags: socket_flags::BYPASS, ..SocketRecord::default() };
        self.0
            .borrow_mut()
            .insert(socket, record, 0)
            .map_err(kernel(names::SOCKS, "exempt a probe"))
    }

    /// The record of a socket; `None` for one that was not translated.
    pub fn record(&self, socket: &impl AsRawFd) -> Result<Option<SocketRecord>, MapsError> {
        match self.0.borrow().get(socket, 0) {
            Ok(record) => Ok(Some(record)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(kernel(names::SOCKS, "read a socket's record")(error)),
        }
    }
}

impl From<MapsError> for io::Error {
    fn from(error: MapsError) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_with_exactly_no_connections_are_forgotten_and_only_for_room() {
        let netns = |active| Netns { active, ..Netns::default() };
        let mut known: Vec<_> = (3..2048).map(|cookie| (cookie, netns(1))).collect();
        known.extend([(1, netns(0)), (2, netns(0_u64.wrapping_sub(1)))]);
        assert_eq!(idle(&known, 7), Vec::<u64>::new());
        known.push((4711, netns(0)));
        assert_eq!(idle(&known, 7), [1, 4711]);
        known.push((4712, Netns { datagram_s: 7, ..netns(0) }));
        assert_eq!(idle(&known, 7 + DATAGRAMS_LAST_S - 1), [1, 4711]);
        assert_eq!(idle(&known, 7 + DATAGRAMS_LAST_S), [1, 4711, 4712]);
        known.extend((5_000..6_024).map(|cookie| (cookie, netns(1))));
        assert_eq!(idle(&known, 7), [1, 4711, 4712], "nearly full");
    }
}
