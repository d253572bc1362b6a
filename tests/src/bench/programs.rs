//! The kernel's own statistics of BPF programs: calls, and the time spent in them.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context, Result};
use aya::programs::{ProgramFd, loaded_programs};
use aya::sys::{Stats, enable_stats};

/// Calls of a program, and the time spent in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) calls: u64,
    pub(super) ns: u64,
}

/// Programs whose statistics are read.
pub(super) struct Programs(Vec<ProgramFd>);

impl Programs {
    /// Opens them by their ids.
    pub(super) fn open(ids: &[u32]) -> Result<Self> {
        let mut found = Vec::new();
        let programs: Vec<_> = loaded_programs().filter_map(Result::ok).collect();
        for id in ids {
            let program = programs.iter().find(|program| program.id() == *id);
            let program = program.with_context(|| format!("no program {id}"))?;
            found.push(program.fd()?);
        }
        Ok(Self(found))
    }

    /// What was used during the work, with statistics on for that long.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(Vec<Usage>, T)> {
        let _on = enable_stats(Stats::RunTime).context("cannot enable the kernel's statistics")?;
        let before = self.usage()?;
        let value = work()?;
        let after = self.usage()?;
        let used = before.into_iter().zip(after).map(|(before, after)| Usage {
            calls: after.calls - before.calls,
            ns: after.ns - before.ns,
        });
        Ok((used.collect(), value))
    }

    fn usage(&self) -> Result<Vec<Usage>> {
        let read = |program: &ProgramFd| {
            let path = format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd());
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            parse(&text).with_context(|| format!("no statistics in {path}"))
        };
        self.0.iter().map(read).collect()
    }
}

/// The average; 0 without calls.
#[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits than an f64")]
pub(super) fn per_call(usage: Usage) -> f64 {
    usage.ns as f64 / usage.calls.max(1) as f64
}

fn parse(text: &str) -> Option<Usage> {
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
    };
    Some(Usage { calls: field("run_cnt")?, ns: field("run_time_ns")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_time_are_read_from_the_description_of_a_descriptor() {
        let text = "pos:\t0\nprog_type:\t18\nprog_id:\t7\nrun_time_ns:\t2500\nrun_cnt:\t10\n";
        let usage = parse(text).expect("statistics");
        assert_eq!(usage, Usage { calls: 10, ns: 2500 });
        assert!((per_call(usage) - 250.0).abs() < f64::EPSILON);
        assert_eq!(parse("pos:\t0\n"), None);
    }
}
