//! Checks of a whole machine, each for a condition that hosts are in. What needs servers that fail is tested
//! by the lab; here nothing fails but the surroundings.

mod cgroups;
mod kernel;
mod neighbours;

use anyhow::{Result, ensure};

use crate::machine::Machine;

/// A check, in a process of its own.
type Check = fn() -> Result<()>;

/// Every check by its name in `kernels.toml`.
pub(crate) const ALL: [(&str, Check); 16] = [
    ("whole_machine", whole_machine),
    ("hybrid_cgroups", cgroups::hybrid),
    ("traffic_classes_of_cgroup_v1", cgroups::traffic_classes),
    ("private_cgroup_namespace", cgroups::private_namespace),
    ("private_cgroup_and_pid_namespace", cgroups::private_namespace_without_a_view),
    ("without_ipv6", kernel::without_ipv6),
    ("without_kernel_types", kernel::without_types),
    ("hardened_jit", kernel::hardened_jit),
    ("unprivileged_bpf_allowed", || kernel::unprivileged_bpf("0")),
    ("unprivileged_bpf_off_for_good", || kernel::unprivileged_bpf("1")),
    ("little_locked_memory", kernel::little_locked_memory),
    ("exclusive_before", neighbours::exclusive_before),
    ("exclusive_after", neighbours::exclusive_after),
    ("exclusive_below", neighbours::exclusive_below),
    ("translating_before", neighbours::translating_before),
    ("translating_after", neighbours::translating_after),
];

/// Attached by itself at the root, proven, and taken over by the next agent.
fn whole_machine() -> Result<()> {
    let mut machine = Machine::start("whole")?;
    let status = machine.translates()?;
    ensure!(status.datapath.cgroup_is_root, "{:?}", status.datapath.cgroup);
    machine.agent.terminate()?;
    let after = machine.agent.restart()?;
    ensure!(after.agent.adopted, "the pins were not taken over");
    machine.translates()?;
    let doctor =
        machine.agent.nllb(&["doctor".into(), "--config".into(), machine.agent.file().into()])?;
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    println!("{found}");
    ensure!(!found.contains("not translated"), "doctor finds fault:\n{found}");
    Ok(())
}
