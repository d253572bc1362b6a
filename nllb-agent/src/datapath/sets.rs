//! The sets of the pools, each a map in the map POOLS, and their pins.
//!
//! POOLS tells everybody who may read it the ids of the maps in it, but a map that is known by its id alone is
//! opened only for CAP_SYS_ADMIN. So each set is pinned under its id before it is published, and its pin goes when
//! another has taken its place: whatever POOLS holds is pinned, whenever an agent is killed. What it leaves behind
//! is at most a pin of a set that is in no pool, and the next agent removes it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use nllb_common::maps::{MAX_POOLS, PoolSet, names};
use tracing::{info, warn};

use super::maps::{MapsError, SELF_TEST_ID, errno, kernel};
use super::sys::{self, arrays};

/// What comes before the id in the name of a pin.
const PREFIX: &str = "set_";

/// Whether a pin of this name is a set's.
pub(super) fn is_set(name: &OsStr) -> bool {
    id(name).is_some()
}

fn id(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix(PREFIX)?.parse().ok()
}

/// The map of sets, and where each is pinned.
pub(super) struct Sets {
    pools: OwnedFd,
    directory: PathBuf,
}

impl Sets {
    /// Opens the pin of POOLS in this directory, an array of maps.
    pub(super) fn open(directory: &Path) -> Result<Self, MapsError> {
        let pools = sys::open_pin(&directory.join(names::POOLS)).map_err(call("open its pin"))?;
        Ok(Self { pools, directory: directory.to_owned() })
    }

    /// Sees to it that every set is pinned, also those of an agent that pinned none, and nothing else.
    pub(super) fn take_over(&self) -> Result<(), MapsError> {
        let mut live = Vec::new();
        for pool in pools() {
            let Some(id) = self.id(pool)? else { continue };
            live.push(id);
            if self.pin_of(id).exists() {
                continue;
            }
            // Only a right that this agent may not have opens it; then reading it will say so.
            if let Ok(set) = MapData::from_id(id) {
                self.pin(id, set.fd());
            }
        }
        let failed = call("list the pins of sets");
        for entry in fs::read_dir(&self.directory).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name();
            if let Some(id) = id(&name).filter(|id| !live.contains(id)) {
                self.unpin(id);
            }
        }
        Ok(())
    }

    /// Every set that has backends, but the self-test's.
    pub(super) fn read(&self) -> Result<Vec<(u32, PoolSet)>, MapsError> {
        let mut sets = Vec::new();
        for pool in pools() {
            let Some(id) = self.id(pool)? else { continue };
            let set = self.map(id)?.get(&0, 0).map_err(kernel(names::POOLS, "read a pool"))?;
            if set.len > 0 {
                sets.push((pool, set));
            }
        }
        Ok(sets)
    }

    /// Swaps the sets of these pools, each in one step.
    pub(super) fn publish(&self, sets: &[(u32, &PoolSet)]) -> Result<(), MapsError> {
        let failed = call("swap pools");
        let mut maps = Vec::new();
        let mut pinned = Vec::new();
        for (pool, set) in sets {
            let map = arrays::create_array(*set).map_err(&failed)?;
            if *pool != u32::from(SELF_TEST_ID) {
                let new = arrays::map_id(&map).map_err(&failed)?;
                pinned.extend(self.id(*pool)?.map(|old| (*pool, old)));
                pinned.push((*pool, new));
                self.pin(new, &map);
            }
            maps.push((*pool, map));
        }
        let put = arrays::put_maps(&self.pools, &maps).map_err(&failed);
        for (pool, id) in pinned {
            if self.id(pool)? != Some(id) {
                self.unpin(id);
            }
        }
        put
    }

    fn id(&self, pool: u32) -> Result<Option<u32>, MapsError> {
        // SAFETY: POOLS is an array of maps, as whoever opened this has checked.
        unsafe { arrays::id_in(&self.pools, pool) }.map_err(call("look up a pool"))
    }

    /// Opens a set by its pin, or, where an earlier agent left it without one, by its id.
    fn map(&self, id: u32) -> Result<Array<MapData, PoolSet>, MapsError> {
        let same = |map: &MapData| map.info().is_ok_and(|info| info.id() == id);
        let pinned = MapData::from_pin(self.pin_of(id)).ok().filter(same);
        let data = match pinned.map_or_else(|| MapData::from_id(id), Ok) {
            Err(error) if errno(&error) == Some(libc::EPERM) => {
                return Err(MapsError::NotReadable { map: names::POOLS });
            }
            opened => opened.map_err(kernel(names::POOLS, "open a pool"))?,
        };
        let map = Map::from_map_data(data).ok().and_then(|map| Array::try_from(map).ok());
        map.ok_or(MapsError::Mismatch { map: names::POOLS })
    }

    fn pin_of(&self, id: u32) -> PathBuf {
        self.directory.join(format!("{PREFIX}{id}"))
    }

    /// Connects go on without it, and an agent with CAP_SYS_ADMIN does too.
    fn pin(&self, id: u32, set: impl AsFd) {
        let path = self.pin_of(id);
        if let Err(error) = sys::pin(set, &path) {
            warn!(path = %path.display(), %error, "cannot pin the set of a pool");
        }
    }

    fn unpin(&self, id: u32) {
        let path = self.pin_of(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                info!(path = %path.display(), %error, "cannot remove the pin of a former set");
            }
            _ => {}
        }
    }
}

/// All but the self-test's, which nobody takes over.
fn pools() -> impl Iterator<Item = u32> {
    u32::from(SELF_TEST_ID) + 1..MAX_POOLS
}

/// Names the verb in the error of a call of our own, all of which are about POOLS.
pub(super) fn call(verb: &'static str) -> impl Fn(io::Error) -> MapsError {
    move |source| MapsError::Call { map: names::POOLS, verb, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_in_an_id_is_the_pin_of_a_set() {
        let known = |name: &str| id(OsStr::new(name));
        assert_eq!((known("set_7"), known("set_4294967295")), (Some(7), Some(u32::MAX)));
        for other in ["set_", "set_x", "set_-1", "set_4294967296", "POOLS", "link_connect4"] {
            assert_eq!(known(other), None, "{other}");
        }
    }
}
