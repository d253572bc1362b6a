//! Reads `vm-tests/kernels.toml`: kernels, boots, and what must work where.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::protocol::Step;
use crate::workspace::Workspace;

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernels {
    /// Every feature that is asked for, and what it is good for.
    features: BTreeMap<String, String>,
    #[serde(rename = "kernel")]
    pub(crate) kernels: Vec<Kernel>,
    #[serde(rename = "boot")]
    pub(crate) boots: Vec<Boot>,
}

/// One kernel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    /// The suite of Debian that has it; the newest there is taken.
    pub(crate) suite: String,
    pub(crate) features: BTreeMap<String, Need>,
}

/// What is expected of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Need {
    /// It must be there.
    Required,
    /// It is not there, and the product does without.
    Degraded,
    /// It is not there, and nothing depends on it.
    Absent,
}

/// One start of each kernel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Boot {
    pub(crate) name: String,
    /// For the kernel's command line.
    #[serde(default)]
    pub(crate) append: String,
    /// Whether it is only started when it is named: it measures, and tests nothing.
    #[serde(default)]
    asked: bool,
    /// Whether an emulated processor has a time of its own.
    #[serde(default)]
    pub(crate) virtual_time: bool,
    /// Whether features and the verifier are asked for.
    #[serde(default)]
    features: bool,
    #[serde(default)]
    checks: Vec<String>,
    #[serde(default)]
    tests: Vec<String>,
}

impl Kernels {
    /// Reads the file.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self> {
        let file = workspace.root.join("vm-tests/kernels.toml");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let this: Self = toml::from_str(text)?;
        for kernel in &this.kernels {
            kernel.version()?;
            ensure!(
                kernel.features.keys().eq(this.features.keys()),
                "kernel {}: each feature of [features] has to be there, and no other",
                kernel.name
            );
        }
        for boot in &this.boots {
            boot.steps().with_context(|| format!("boot {}", boot.name))?;
        }
        Ok(this)
    }

    /// The kernels with these names, or whose release begins so; all when there is no name.
    pub(crate) fn chosen(&self, names: &[String]) -> Result<Vec<Kernel>> {
        for name in names {
            let known = self.kernels.iter().any(|kernel| kernel.is_called(name));
            if !known {
                let all: Vec<_> = self.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
                bail!("no kernel is called {name}; there are {}", all.join(", "));
            }
        }
        let wanted =
            |kernel: &&Kernel| names.is_empty() || names.iter().any(|n| kernel.is_called(n));
        Ok(self.kernels.iter().filter(wanted).cloned().collect())
    }

    /// The oldest and the newest.
    pub(crate) fn ends(&self) -> Vec<Kernel> {
        let by_age = |kernel: &&Kernel| kernel.version().unwrap_or_default();
        let oldest = self.kernels.iter().min_by_key(by_age);
        let newest = self.kernels.iter().max_by_key(by_age);
        let mut both: Vec<_> = oldest.into_iter().chain(newest).cloned().collect();
        both.dedup_by(|one, other| one.name == other.name);
        both
    }

    /// The boot with this name; without one, all that need not be named.
    pub(crate) fn boots_called(&self, name: Option<&str>) -> Result<Vec<&Boot>> {
        let wanted = |boot: &&Boot| name.map_or(!boot.asked, |name| name == boot.name);
        let boots: Vec<_> = self.boots.iter().filter(wanted).collect();
        let all = || self.boots.iter().map(|boot| boot.name.as_str()).collect::<Vec<_>>();
        ensure!(!boots.is_empty(), "no boot is called so; there are {}", all().join(", "));
        Ok(boots)
    }
}

impl Kernel {
    /// `7` is also found as `7.2`.
    fn is_called(&self, name: &str) -> bool {
        name.strip_prefix(&self.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The numbers in its name.
    fn version(&self) -> Result<Vec<u32>> {
        let numbers = self.name.split('.').map(str::parse).collect::<Result<_, _>>();
        numbers.with_context(|| format!("kernel {}: its name is no version", self.name))
    }
}

impl Boot {
    pub(crate) fn steps(&self) -> Result<Vec<Step>> {
        let asked = if self.features { vec![Step::Features, Step::Verifier] } else { Vec::new() };
        let checks = self.checks.iter().cloned().map(Step::Check);
        let mut steps: Vec<_> = asked.into_iter().chain(checks).collect();
        for test in &self.tests {
            let (program, name) = test.split_once("::").context("tests are PROGRAM::TEST")?;
            steps.push(Step::Test { program: program.to_owned(), name: name.to_owned() });
        }
        ensure!(!steps.is_empty(), "nothing to do");
        Ok(steps)
    }
}

/// What an answer of a kernel means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As expected.
    Expected,
    /// Required, and not there.
    Lost,
    /// There, and not expected.
    Gained,
}

impl Need {
    pub(crate) fn against(self, found: bool) -> Verdict {
        match (self, found) {
            (Self::Required, true) | (Self::Degraded | Self::Absent, false) => Verdict::Expected,
            (Self::Required, false) => Verdict::Lost,
            (Self::Degraded | Self::Absent, true) => Verdict::Gained,
        }
    }

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Degraded => "degraded",
            Self::Absent => "absent",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[features]
a = "this"
[[kernel]]
name = "5.10"
suite = "bullseye-security"
features = { a = "required" }
[[kernel]]
name = "7"
suite = "trixie-backports"
features = { a = "absent" }
[[boot]]
name = "machine"
features = true
checks = ["x"]
tests = ["closing::exact::y"]
"#;

    fn error(text: &str) -> String {
        format!("{:#}", Kernels::parse(text).expect_err("refused"))
    }

    #[test]
    fn the_file_that_is_in_the_repository_is_read() {
        let text = include_str!("../../../vm-tests/kernels.toml");
        let kernels = Kernels::parse(text).expect("it can be read");
        assert_eq!(kernels.chosen(&[]).expect("all").len(), 4);
    }

    #[test]
    fn a_boot_asks_first_and_names_tests_by_program_and_path() {
        let kernels = Kernels::parse(TEXT).expect("read");
        let steps = kernels.boots[0].steps().expect("steps");
        let labels: Vec<_> = steps.iter().map(Step::label).collect();
        assert_eq!(labels, ["features", "verifier", "machine::x", "closing::exact::y"]);
    }

    #[test]
    fn a_boot_that_measures_is_started_when_it_is_named() {
        let kernels = Kernels::parse(&TEXT.replace("features = true", "asked = true"));
        let kernels = kernels.expect("read");
        assert!(kernels.boots_called(None).is_err());
        assert_eq!(kernels.boots_called(Some("machine")).expect("found").len(), 1);
    }

    #[test]
    fn a_kernel_is_found_by_its_name_or_by_a_release_of_it() {
        let kernels = Kernels::parse(TEXT).expect("read");
        let chosen = |name: &str| kernels.chosen(&[name.to_owned()]).map(|found| found.len());
        assert_eq!(chosen("7.2").expect("found"), 1);
        assert_eq!(chosen("5.10").expect("found"), 1);
        let error = chosen("5.1").expect_err("another").to_string();
        assert_eq!(error, "no kernel is called 5.1; there are 5.10, 7");
    }

    #[test]
    fn the_oldest_and_the_newest_are_told_by_their_versions_wherever_they_stand() {
        let ends = |text: &str| {
            let ends = Kernels::parse(text).expect("read").ends();
            ends.into_iter().map(|kernel| kernel.name).collect::<Vec<_>>()
        };
        assert_eq!(ends(TEXT), ["5.10", "7"]);
        assert_eq!(ends(&TEXT.replace("\"7\"", "\"5.4\"")), ["5.4", "5.10"]);
        assert_eq!(ends(&TEXT.replace("\"7\"", "\"5.10\"")), ["5.10"]);
    }

    #[test]
    fn what_is_unknown_or_missing_is_refused() {
        assert!(error(&TEXT.replace("{ a = \"required\" }", "{}")).contains("kernel 5.10"));
        assert!(error(&TEXT.replace("\"7\"", "\"new\"")).contains("new: its name is no version"));
        assert!(error(&TEXT.replace("checks", "cheques")).contains("cheques"));
        assert!(error(&TEXT.replace("closing::exact::y", "y")).contains("PROGRAM::TEST"));
    }

    #[test]
    fn a_feature_is_lost_only_where_it_is_required() {
        assert_eq!(Need::Required.against(false), Verdict::Lost);
        assert_eq!(Need::Required.against(true), Verdict::Expected);
        for need in [Need::Degraded, Need::Absent] {
            assert_eq!(need.against(true), Verdict::Gained);
            assert_eq!(need.against(false), Verdict::Expected);
        }
    }
}
