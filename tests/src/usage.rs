//! What a process takes of the machine.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// The time that a process has had a processor, all its threads together, those that have ended included.
/// In nanoseconds, as the scheduler counts it, and not in ticks of the clock.
pub(crate) fn cpu(id: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(id.try_into()?)).context("no such process")?;
    Ok(clock.now()?.into())
}

/// The memory of a process that is in RAM, in MiB.
pub fn rss_mib(id: u32) -> Result<f64> {
    memory_mib(id, "VmRSS:")
}

/// Its part of that which is no file's: what the process has allocated.
pub(crate) fn allocated_mib(id: u32) -> Result<f64> {
    memory_mib(id, "RssAnon:")
}

fn memory_mib(id: u32, kind: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).context("no such process")?;
    let line = text.lines().find_map(|line| line.strip_prefix(kind));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .with_context(|| format!("no {kind}"))?;
    Ok(kib.parse::<f64>().context("not a number")? / 1024.0)
}

/// How many file descriptors a process has open.
pub fn descriptors(id: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{id}/fd")).context("no such process")?.count())
}
