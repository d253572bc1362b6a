//! What the verifier looks at before it accepts each program: a limit of the kernel's that no test on another
//! kernel tells of, since each kernel's verifier follows other paths.
//!
//! Kernels since 5.16 remember it. Older ones tell it in a log alone, so there the programs are loaded once
//! more, on the maps of those that are loaded.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context, Result};
use aya::maps::{MapData, loaded_maps};
use aya::programs::{ProgramInfo, loaded_programs};
use aya_obj::generated::bpf_insn;
use aya_obj::{Object, ProgramSection};
use nllb_agent::datapath::load::object;

use crate::sys::bpf::{self, Functions};

/// The longest name that the kernel keeps.
const NAME: usize = 15;

/// What a program took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Its name.
    pub program: String,
    /// Instructions that the verifier looked at; a million are the most.
    pub verified: u32,
    /// Whether the kernel remembers it.
    pub remembered: bool,
}

/// What each program of the object took, where some of them are loaded now. One that is not is verified on the maps
/// of those that are.
pub fn costs() -> Result<Vec<Cost>> {
    let object = Object::parse(object())?;
    let mut loaded = HashMap::new();
    for info in loaded_programs() {
        let info = info?;
        let program = object.programs.keys().find(|name| kept(name) == info.name());
        loaded.extend(program.map(|program| (program.as_str(), info)));
    }
    let mut costs = Vec::new();
    for program in object.programs.keys() {
        let remembered =
            loaded.get(program.as_str()).and_then(ProgramInfo::verified_instruction_count);
        let verified = match remembered {
            Some(count) => count,
            None => verify_again(loaded.values(), program).with_context(|| program.clone())?,
        };
        costs.push(Cost { program: program.clone(), verified, remembered: remembered.is_some() });
    }
    costs.sort_by(|a, b| a.program.cmp(&b.program));
    Ok(costs)
}

/// What the kernel keeps of a name.
fn kept(name: &str) -> &[u8] {
    &name.as_bytes()[..name.len().min(NAME)]
}

/// Loads a program, with a log, on the maps of those that are loaded.
fn verify_again<'a>(loaded: impl Iterator<Item = &'a ProgramInfo>, program: &str) -> Result<u32> {
    let mut object = Object::parse(object())?;
    let mut maps = HashMap::new();
    for info in loaded {
        for id in info.map_ids()?.context("the kernel does not tell the maps of a program")? {
            let data = MapData::from_id(id)?;
            maps.insert(data.info()?.name().to_vec(), data);
        }
    }
    // Those that only other programs have are there as well, since they are pinned.
    for info in loaded_maps() {
        let info = info?;
        if let Entry::Vacant(entry) = maps.entry(info.name().to_vec()) {
            entry.insert(MapData::from_id(info.id())?);
        }
    }
    let text: HashSet<_> = object.functions.keys().map(|(section, _)| *section).collect();
    // Without their types the kernel would take global functions for parts of those that call them.
    let types = match aya::features().btf() {
        Some(features) => object.fixup_and_sanitize_btf(features)?,
        None => None,
    };
    let types = types.map(|types| bpf::load_types(&types.to_bytes())).transpose()?;
    let of_object = object.maps.clone();
    let known = of_object.iter().filter_map(|(name, map)| {
        Some((name.as_str(), maps.get(kept(name))?.fd().as_fd().as_raw_fd(), map))
    });
    object.relocate_maps(known, &text)?;
    object.relocate_calls(&text)?;
    let found = object.programs.get(program).context("not in the object")?;
    let kind = kind(&found.section).context("of another type")?;
    let function = object.functions.get(&found.function_key()).context("without code")?;
    let instructions: Vec<_> = function.instructions.iter().map(word).collect();
    let functions = types.map(|types| Functions {
        types,
        records: function.func_info.func_info_bytes(),
        record_bytes: function.func_info_rec_size,
    });
    let log = bpf::verify(kind, &instructions, functions.as_ref())?;
    processed(&log).with_context(|| format!("the verifier says something else: {log}"))
}

/// Type and place, as `bpf(2)` wants them.
#[expect(clippy::wildcard_enum_match_arm, reason = "the object has only these")]
fn kind(section: &ProgramSection) -> Option<(u32, u32)> {
    const SOCK_OPS: (u32, u32) = (13, 3);
    const SOCK_ADDR: u32 = 18;
    const XDP: (u32, u32) = (6, 37);
    // As aya has it: of traffic control, which takes its place from how it is attached.
    const SCHED_CLS: (u32, u32) = (3, 0);
    match section {
        ProgramSection::SockOps => Some(SOCK_OPS),
        ProgramSection::Xdp { .. } => Some(XDP),
        ProgramSection::SchedClassifier => Some(SCHED_CLS),
        ProgramSection::CgroupSockAddr { attach_type } => {
            let place = aya_obj::generated::bpf_attach_type::from(*attach_type);
            Some((SOCK_ADDR, place as u32))
        }
        _ => None,
    }
}

fn word(instruction: &bpf_insn) -> u64 {
    let [low, high] = instruction.off.to_le_bytes();
    let [a, b, c, d] = instruction.imm.to_le_bytes();
    let registers = instruction.src_reg() << 4 | instruction.dst_reg();
    u64::from_le_bytes([instruction.code, registers, low, high, a, b, c, d])
}

/// From `processed 11223 insns (limit 1000000) …`.
fn processed(log: &str) -> Option<u32> {
    log.lines().find_map(|line| {
        let rest = line.strip_prefix("processed ")?;
        rest.split(' ').next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_the_log() {
        let log = "verification time 1 usec\nstack depth 8\n\
                   processed 4711 insns (limit 1000000) max_states_per_insn 4 total_states 5\n";
        assert_eq!(processed(log), Some(4711));
        assert_eq!(processed("too large\n"), None);
    }
}
