//! What the pinned maps hold of the control-plane VIP, for who explains it without the agent.

use std::path::Path;

use nllb_common::maps::{VipSet, names};

use super::VipMaps;
use crate::datapath::maps::{MapsError, kernel};

/// The VIP as the kernel has it.
#[derive(Clone, Debug)]
pub struct Held {
    /// Of each family, IPv4 first, the VIP with its members; `None` where there is none.
    pub sets: [Option<VipSet>; 2],
    /// Until when this host answers for it, in nanoseconds of `CLOCK_MONOTONIC`.
    pub answers_until_ns: u64,
}

/// Reads it from the pins in `directory`.
///
/// # Errors
/// When a map is not there or cannot be read.
pub fn look(directory: &Path) -> Result<Held, MapsError> {
    let maps = VipMaps::open(directory)?;
    let [v4, v6] = maps.control()?.sets;
    let set = |number: u32| number.checked_sub(1).map(|index| maps.set(index)).transpose();
    let until = maps.owner.get(&0, 0).map_err(kernel(names::VIP_OWNER, "read the owner"))?;
    Ok(Held { sets: [set(v4)?, set(v6)?], answers_until_ns: until })
}
