//! The memory of the maps. The kernel's own number (`memlock` in fdinfo) needs a loaded map and
//! differs between kernels; this is what the definition alone asks for, without fixed headers.

use std::{collections::BTreeMap, fmt::Write as _, thread};

use anyhow::{Context, Result};
use aya_obj::{Map, Object};

/// The maps of an object as a table.
pub(crate) fn table(object: &[u8]) -> Result<String> {
    let object = Object::parse(object).context("aya cannot read the object")?;
    let maps: BTreeMap<_, _> = object.maps.iter().collect();
    // The kernel allocates for every CPU that could be there; those that are is near enough.
    let cpus = thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut text = String::new();
    let header = ["map", "type", "key", "value", "entries", "bytes"];
    row(&mut text, header.map(String::from))?;
    for (name, map) in maps {
        row(&mut text, columns(name, map, cpus))?;
        if let Some(inner) = map.inner() {
            row(&mut text, columns(&format!("  each in {name}"), &inner, cpus))?;
        }
    }
    writeln!(text, "bytes: what the entries take when all are used, with {cpus} CPUs")?;
    Ok(text)
}

fn row(text: &mut String, columns: [String; 6]) -> Result<()> {
    let [name, kind, key, value, entries, bytes] = columns;
    writeln!(text, "{name:<24} {kind:<16} {key:>5} {value:>7} {entries:>8} {bytes:>12}")?;
    Ok(())
}

fn columns(name: &str, map: &Map, cpus: u64) -> [String; 6] {
    let kind = Kind::of(map.map_type());
    let (key, value, entries) = (map.key_size(), map.value_size(), map.max_entries());
    let bytes = match kind.memory(key.into(), value.into(), entries.into(), cpus) {
        Memory::Total(bytes) => bytes.to_string(),
        Memory::EachSocket(bytes) => format!("{bytes}/socket"),
        Memory::Unknown => "?".into(),
    };
    let kind = kind.name(map.map_type());
    [name.into(), kind, key.to_string(), value.to_string(), entries.to_string(), bytes]
}

/// The types whose memory we can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hash,
    Array,
    PerCpuHash,
    PerCpuArray,
    LruHash,
    ArrayOfMaps,
    HashOfMaps,
    SkStorage,
    RingBuf,
    PerfEventArray,
    Other,
}

/// How much a map takes.
#[derive(Debug, PartialEq, Eq)]
enum Memory {
    Total(u64),
    EachSocket(u64),
    Unknown,
}

/// `struct htab_elem` without key and value, and a bucket with its lock.
const HASH_ELEMENT: u64 = 48;
const HASH_BUCKET: u64 = 16;
/// A pointer, as per-CPU arrays and maps of maps hold one for each entry.
const POINTER: u64 = 8;

impl Kind {
    /// Numbers of `enum bpf_map_type`.
    fn of(number: u32) -> Self {
        match number {
            1 => Self::Hash,
            2 => Self::Array,
            4 => Self::PerfEventArray,
            5 => Self::PerCpuHash,
            6 => Self::PerCpuArray,
            9 => Self::LruHash,
            12 => Self::ArrayOfMaps,
            13 => Self::HashOfMaps,
            24 => Self::SkStorage,
            27 => Self::RingBuf,
            _ => Self::Other,
        }
    }

    fn name(self, number: u32) -> String {
        match self {
            Self::Hash => "hash",
            Self::Array => "array",
            Self::PerCpuHash => "per-CPU hash",
            Self::PerCpuArray => "per-CPU array",
            Self::LruHash => "LRU hash",
            Self::ArrayOfMaps => "array of maps",
            Self::HashOfMaps => "hash of maps",
            Self::SkStorage => "socket storage",
            Self::RingBuf => "ring buffer",
            Self::PerfEventArray => "perf events",
            Self::Other => return format!("type {number}"),
        }
        .into()
    }

    fn memory(self, key: u64, value: u64, entries: u64, cpus: u64) -> Memory {
        let (key, value) = (key.next_multiple_of(8), value.next_multiple_of(8));
        let buckets = entries.next_power_of_two() * HASH_BUCKET;
        let element = HASH_ELEMENT + key;
        Memory::Total(match self {
            Self::Hash | Self::LruHash => buckets + entries * (element + value),
            Self::PerCpuHash => buckets + entries * (element + POINTER + value * cpus),
            Self::HashOfMaps => buckets + entries * (element + POINTER),
            Self::Array => entries * value,
            Self::PerCpuArray => entries * (POINTER + value * cpus),
            Self::ArrayOfMaps => entries * POINTER,
            Self::RingBuf => entries,
            Self::SkStorage => return Memory::EachSocket(value),
            Self::PerfEventArray | Self::Other => return Memory::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_take_their_values_rounded_up() {
        assert_eq!(Kind::Array.memory(4, 12, 10, 2), Memory::Total(160));
        assert_eq!(Kind::PerCpuArray.memory(4, 8, 10, 2), Memory::Total(10 * (8 + 16)));
        assert_eq!(Kind::ArrayOfMaps.memory(4, 4, 64, 2), Memory::Total(512));
    }

    #[test]
    fn hashes_take_buckets_and_elements() {
        let bytes = 16 * HASH_BUCKET + 10 * (HASH_ELEMENT + 8 + 8);
        assert_eq!(Kind::Hash.memory(4, 8, 10, 2), Memory::Total(bytes));
    }

    #[test]
    fn socket_storage_takes_memory_only_with_sockets() {
        assert_eq!(Kind::SkStorage.memory(4, 20, 0, 2), Memory::EachSocket(24));
    }

    #[test]
    fn a_ring_buffer_has_its_size_in_entries() {
        assert_eq!(Kind::of(27).memory(0, 0, 65536, 2), Memory::Total(65536));
    }

    #[test]
    fn an_unknown_type_is_shown_by_number_without_a_guess() {
        assert_eq!(Kind::of(99).name(99), "type 99");
        assert_eq!(Kind::of(99).memory(4, 4, 4, 2), Memory::Unknown);
    }
}
