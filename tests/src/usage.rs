//! What a process takes of the machine.

use std::fs;
use std::ops::{Add, AddAssign, Sub};
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

/// The time that processes have had a processor, and how it was divided.
///
/// The sum is exact; the division is counted in ticks of the clock, so it wants a second or more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// All of it, in nanoseconds.
    pub(crate) ns: u64,
    /// Ticks in the processes themselves.
    pub(crate) user: u64,
    /// Ticks in the kernel on their behalf.
    pub(crate) system: u64,
}

impl Spent {
    /// By these processes so far.
    pub(crate) fn by(ids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for id in ids {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("no such process")?;
            let (user, system) = ticks(&stat).with_context(|| format!("strange: {stat}"))?;
            sum += Self { ns: u64::try_from(cpu(*id)?.as_nanos())?, user, system };
        }
        Ok(sum)
    }

    /// Nanoseconds in the kernel.
    #[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits than an f64")]
    pub(crate) fn kernel_ns(self) -> f64 {
        self.ns as f64 * self.system as f64 / (self.user + self.system).max(1) as f64
    }
}

impl Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            ns: self.ns + other.ns,
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Spent {
    type Output = Self;

    /// What was spent since; 0 where a process has gone meanwhile.
    fn sub(self, before: Self) -> Self {
        Self {
            ns: self.ns.saturating_sub(before.ns),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// A process and all that descend from it.
pub(crate) fn family(id: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(number) = number else { continue };
        // One that has gone meanwhile is nobody's child.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = fields(&stat).and_then(|mut fields| fields.nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (number, parent)));
    }
    let mut family = vec![id];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(number, _)| number));
        next += 1;
    }
    Ok(family)
}

/// What follows the name, which may have spaces in it: the state, the parent, …
fn fields(stat: &str) -> Option<std::str::SplitWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

/// `utime` and `stime`.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = fields(stat)?.skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_look_like_anything() {
        let stat = "7 (a) b 9 (c) S 3 7 7 0 -1 4194560 100 0 0 0 41 17 0 0 20 0 1 0 5 0 0";
        assert_eq!(ticks(stat), Some((41, 17)));
        assert_eq!(fields(stat).and_then(|mut fields| fields.nth(1)), Some("3"));
    }

    #[test]
    fn what_was_spent_is_divided_as_the_ticks_are() {
        let before = Spent { ns: 100, user: 1, system: 1 };
        let spent = Spent { ns: 1_100, user: 4, system: 2 } - before;
        assert_eq!(spent, Spent { ns: 1_000, user: 3, system: 1 });
        assert!((spent.kernel_ns() - 250.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_process_is_of_its_own_family() {
        let family = family(std::process::id()).expect("/proc");
        assert_eq!(family[0], std::process::id());
    }
}
