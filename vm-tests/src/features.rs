//! Asks the kernel for what the product or its tests go by, each by trying it. A version says little:
//! distributions carry features back.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, MapType};
use aya::programs::loaded_programs;
use aya::sys::is_map_supported;
use nix::sys::resource::{Resource, setrlimit};
use nllb_agent::datapath::attach::inspect::tells_namespaces;
use nllb_agent::datapath::load::Features;
use nllb_common::maps::{MAX_POOLS, PoolSet};
use nllb_lab::pins::Swapper;

use crate::machine::{Machine, has_ipv6};
use crate::protocol::Line;
use crate::tell;

/// Tells of each feature whether it is there.
pub(crate) fn tell_all() -> Result<()> {
    let found = |name: &str, found| tell(&Line::Feature { name: name.to_owned(), found });
    let machine = Machine::start("features")?;
    let status = machine.agent.status()?;
    for (name, there) in Features::ask().context("the kernel does not answer")?.names() {
        found(&name, there)?;
    }
    found("netns_cookie", tells_namespaces())?;
    found("ring_buffer", is_map_supported(MapType::RingBuf)?)?;
    found("socket_storage", is_map_supported(MapType::SkStorage)?)?;
    found("sock_destroy", status.closing.mode == "sock-diag")?;
    found("map_batch", swaps_in_one_call(&machine)?)?;
    let remembers = |program: aya::programs::ProgramInfo| program.verified_instruction_count();
    found("verified_instructions", loaded_programs().flatten().find_map(remembers).is_some())?;
    found("kernel_types", Path::new("/sys/kernel/btf/vmlinux").exists())?;
    found("ipv6", has_ipv6())?;
    found("multipath_tcp", Path::new("/proc/sys/net/mptcp").exists())?;
    // The last, since nothing else could be created then.
    found("unlimited_maps", maps_count_as_nothing()?)
}

/// Whether several entries of an array of maps are written in one call, with one wait.
fn swaps_in_one_call(machine: &Machine) -> Result<bool> {
    let scratch = Path::new("/sys/fs/bpf/scratch");
    fs::create_dir_all(scratch)?;
    // The last one, which nobody uses.
    let swapper = Swapper::new(&machine.agent.pins(), scratch, MAX_POOLS - 1, &[PoolSet::EMPTY])?;
    Ok(swapper.swap(1).is_ok())
}

/// Whether maps can be created by who may lock no memory.
fn maps_count_as_nothing() -> Result<bool> {
    setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0).context("cannot limit locked memory")?;
    // With CAP_SYS_RESOURCE the library would take the limit away again.
    nllb_lab::capability::give_up(nllb_lab::capability::SYS_RESOURCE)?;
    Ok(Array::<MapData, u32>::create(1, 0).is_ok())
}
