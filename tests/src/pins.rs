//! What the kernel holds, read through the pins: without an agent, or behind its back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use aya::maps::{Array, ArrayOfMaps, Map, MapData, MapError, PerCpuArray};
use aya::programs::links::{FdLink, LinkInfo, PinnedLink};
use nllb_agent::datapath::maps::SELF_TEST_ID;
use nllb_common::Counter;
use nllb_common::maps::{Evidence, PoolSet, names};

use crate::sys;

/// A counter of the kernel programs, summed over all CPUs.
pub fn counter(pins: &Path, counter: Counter) -> Result<u64> {
    let stats: PerCpuArray<MapData, u64> = open(pins, names::STATS)?;
    let cpus = stats.get(&(counter as u32), 0)?;
    Ok(cpus.iter().sum())
}

/// What the kernel programs know of the backend with this id.
pub fn evidence(pins: &Path, backend: u32) -> Result<Evidence> {
    let evidence: Array<MapData, Evidence> = open(pins, names::EVIDENCE)?;
    Ok(evidence.get(&backend, 0)?)
}

/// Opens a pinned map.
pub fn open<M>(pins: &Path, name: &str) -> Result<M>
where
    M: TryFrom<Map>,
{
    let data = MapData::from_pin(pins.join(name)).with_context(|| format!("no pin {name}"))?;
    let map = Map::from_map_data(data)?;
    M::try_from(map).ok().with_context(|| format!("{name} has another type"))
}

/// The ids of the pinned links, by the name of the pin.
pub fn links(pins: &Path) -> Result<BTreeMap<String, u32>> {
    Ok(attached(pins)?.into_iter().map(|(name, link)| (name, link.id())).collect())
}

/// The ids of the programs behind the pinned links, by the name of the pin.
pub fn programs(pins: &Path) -> Result<BTreeMap<String, u32>> {
    Ok(attached(pins)?.into_iter().map(|(name, link)| (name, link.program_id())).collect())
}

/// The pinned links, by the name of the pin.
fn attached(pins: &Path) -> Result<BTreeMap<String, LinkInfo>> {
    let mut links = BTreeMap::new();
    for pin in link_pins(pins)? {
        let link: FdLink = PinnedLink::from_pin(&pin)?.into();
        let name = pin.file_name().unwrap_or_default();
        links.insert(name.to_string_lossy().into_owned(), link.info()?);
    }
    Ok(links)
}

/// The ids of the pinned maps, by name.
pub fn maps(pins: &Path) -> Result<BTreeMap<String, u32>> {
    let map =
        |name: &&str| Ok(((*name).to_owned(), MapData::from_pin(pins.join(name))?.info()?.id()));
    names::ALL.iter().filter(|name| pins.join(name).exists()).map(map).collect()
}

/// The ids of the sets that pools have, but for the self-test's, and of those that are pinned.
pub fn sets(pins: &Path) -> Result<[BTreeSet<u32>; 2]> {
    let pools: ArrayOfMaps<MapData> = open(pins, names::POOLS)?;
    let mut published = BTreeSet::new();
    for pool in u32::from(SELF_TEST_ID) + 1..pools.len() {
        match pools.get(&pool, 0) {
            Ok(set) => published.insert(set.info()?.id()),
            Err(MapError::KeyNotFound) => continue,
            Err(error) => return Err(error.into()),
        };
    }
    let pinned = set_pins(pins)?.into_iter().map(|pin| Ok(MapData::from_pin(pin)?.info()?.id()));
    Ok([published, pinned.collect::<Result<_>>()?])
}

/// The pins of sets.
pub fn set_pins(pins: &Path) -> Result<Vec<PathBuf>> {
    named(pins, "set_")
}

/// Whether a link with this id exists.
pub fn link_exists(id: u32) -> Result<bool> {
    for link in aya::programs::loaded_links() {
        // One that goes while all are listed is none of ours.
        if link.is_ok_and(|link| link.id() == id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The pins of links.
pub fn link_pins(pins: &Path) -> Result<Vec<PathBuf>> {
    named(pins, "link_")
}

/// The pins whose names begin like this.
fn named(pins: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(pins).with_context(|| format!("no pins in {}", pins.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Detaches a pinned link behind everybody's back. The pin stays.
pub fn detach(pin: &Path) -> Result<()> {
    sys::bpf::detach_link(pin).with_context(|| format!("cannot detach {}", pin.display()))
}

/// Swaps a pool between fixed sets, faster than an agent ever would.
pub struct Swapper {
    outer: MapData,
    pool: u32,
    sets: Vec<MapData>,
    /// Swaps so far, so that each call goes on where the one before ended.
    done: AtomicUsize,
}

impl Swapper {
    /// Makes the sets ready. Their maps are pinned in `scratch`, a directory of a bpf file system.
    pub fn new(pins: &Path, scratch: &Path, pool: u32, sets: &[PoolSet]) -> Result<Self> {
        let ready = |(number, set): (usize, &PoolSet)| {
            let mut inner = Array::<MapData, PoolSet>::create(1, 0)?;
            inner.set(0, set, 0)?;
            // Only a pin leads from the typed map to its descriptor.
            let pin = scratch.join(format!("set{number}"));
            inner.pin(&pin)?;
            let data = MapData::from_pin(&pin)?;
            fs::remove_file(&pin)?;
            Ok(data)
        };
        Ok(Self {
            outer: MapData::from_pin(pins.join(names::POOLS))?,
            pool,
            sets: sets.iter().enumerate().map(ready).collect::<Result<_>>()?,
            done: AtomicUsize::new(0),
        })
    }

    /// Swaps so many times, from one set to the next, in one call to the kernel, which waits for
    /// its programs only once.
    pub fn swap(&self, times: usize) -> Result<()> {
        let first = self.done.fetch_add(times, Ordering::Relaxed) % self.sets.len();
        let turns = self.sets.iter().cycle().skip(first).take(times);
        let turns: Vec<_> = turns.map(|set| set.fd().as_fd()).collect();
        sys::bpf::swap_in_turn(self.outer.fd().as_fd(), self.pool, &turns).context("cannot swap")
    }
}
