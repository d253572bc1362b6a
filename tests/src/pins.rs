//! What the kernel holds, read through the pins: without an agent, or behind its back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::links::{FdLink, PinnedLink};
use nllb_common::Counter;
use nllb_common::maps::names;

/// A counter of the kernel programs, summed over all CPUs.
pub fn counter(pins: &Path, counter: Counter) -> Result<u64> {
    let stats: PerCpuArray<MapData, u64> = open(pins, names::STATS)?;
    let cpus = stats.get(&(counter as u32), 0)?;
    Ok(cpus.iter().sum())
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
    let mut links = BTreeMap::new();
    for pin in link_pins(pins)? {
        let link: FdLink = PinnedLink::from_pin(&pin)?.into();
        let name = pin.file_name().unwrap_or_default();
        links.insert(name.to_string_lossy().into_owned(), link.info()?.id());
    }
    Ok(links)
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
    let mut found = Vec::new();
    for entry in fs::read_dir(pins).with_context(|| format!("no pins in {}", pins.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("link_") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
