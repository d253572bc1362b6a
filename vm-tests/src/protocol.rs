//! What xtask and the guest tell each other: a plan in the initramfs, and lines on the second serial port.
//!
//! Both compile this one file, since xtask depends on none of our crates.

use serde::{Deserialize, Serialize};

/// Where the guest finds its plan.
pub(crate) const PLAN: &str = "/plan.json";
/// Where the kernel's modules are; `order` in it names them in the order of loading.
pub(crate) const MODULES: &str = "/modules";
/// Where the programs under test are.
pub(crate) const PROGRAMS: &str = "/tests";

/// What a guest is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Longest time of one step, in the guest's seconds.
    pub(crate) limit_s: u64,
    /// How long a step waits for one thing.
    pub(crate) patience_s: u64,
}

/// One thing to do, in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Asks the kernel for features.
    Features,
    /// Asks it what its verifier looked at.
    Verifier,
    /// A check of the whole machine, by name.
    Check(String),
    /// A test of the lab.
    Test {
        /// The test program, such as `attach`.
        program: String,
        /// The test in it.
        name: String,
    },
}

impl Step {
    /// Its name in reports.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Features => "features".to_owned(),
            Self::Verifier => "verifier".to_owned(),
            Self::Check(name) => format!("machine::{name}"),
            Self::Test { program, name } => format!("{program}::{name}"),
        }
    }
}

/// One line of the report.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// The guest's own program runs.
    Booted { release: String, uptime_ms: u64 },
    /// A step begins.
    Begun { step: String },
    /// It has ended.
    Ended { step: String, outcome: Outcome, ms: u64, output: String },
    /// Whether the kernel has a feature.
    Feature { name: String, found: bool },
    /// What the verifier looked at.
    Verified { program: String, instructions: u32, remembered: bool },
    /// All steps are done.
    Over,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// Well.
    Passed,
    /// Badly, or it was not found.
    Failed,
    /// It found nothing to work with.
    Skipped,
    /// It took too long.
    TimedOut,
}
