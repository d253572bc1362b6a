//! What a doctor checks on a node, and how to mend what is wrong.
//!
//! A check is a value, and each group decides from observed facts alone, so that every finding can be tested
//! without the fault. Who observes is the command line (`cli/doctor/`).

pub mod attachment;
pub mod backends;
pub mod configuration;
pub mod guests;
pub mod host;
pub mod redact;
pub mod services;
pub mod vip;

use serde::Serialize;
use std::fmt;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The kernel and how the host is set up.
    Host,
    /// Programs and maps in the kernel.
    Attachment,
    /// The API servers and the way to them.
    Backends,
    /// What nllb was told.
    Configuration,
}

impl Group {
    /// Every group, as they are shown.
    pub const ALL: [Self; 4] = [Self::Host, Self::Attachment, Self::Backends, Self::Configuration];
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "HOST",
            Self::Attachment => "ATTACHMENT",
            Self::Backends => "BACKENDS",
            Self::Configuration => "CONFIGURATION",
        })
    }
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It could not be looked at, or does not matter here.
    Skip,
    /// As it should be.
    Pass,
    /// Works, and will not always.
    Warn,
    /// Does not work.
    Fail,
}

impl Verdict {
    /// The word for it, four letters wide.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Pass => "pass",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What it is about.
    pub group: Group,
    /// What was looked at; the same in every run.
    pub name: String,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do; there is one for every warning and failure.
    pub fix: Option<String>,
}

impl Check {
    fn new(group: Group, name: impl Into<String>, verdict: Verdict, found: String) -> Self {
        Self { group, name: name.into(), verdict, found, fix: None }
    }

    /// As it should be.
    pub fn pass(group: Group, name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(group, name, Verdict::Pass, found.into())
    }

    /// Not looked at, with the reason.
    pub fn skip(group: Group, name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(group, name, Verdict::Skip, found.into())
    }

    /// Works, and will not always.
    pub fn warn(
        group: Group,
        name: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let check = Self::new(group, name, Verdict::Warn, found.into());
        Self { fix: Some(fix.into()), ..check }
    }

    /// Does not work.
    pub fn fail(
        group: Group,
        name: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let check = Self::new(group, name, Verdict::Fail, found.into());
        Self { fix: Some(fix.into()), ..check }
    }
}

/// All that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of this document.
    pub schema: u32,
    /// The worst of the checks.
    pub verdict: Verdict,
    /// The checks, by group.
    pub checks: Vec<Check>,
}

impl Report {
    /// A report of these.
    #[must_use]
    pub fn new(mut checks: Vec<Check>) -> Self {
        checks.sort_by_key(|check| check.group);
        let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Skip);
        Self { schema: 1, verdict, checks }
    }

    /// How many came to this.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}
