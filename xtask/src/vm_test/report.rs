//! What a guest has told, and what that means.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    kernels::{Kernel, Verdict},
    protocol::{Line, Outcome, Step},
};

/// What became of one start of a kernel.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) release: Option<String>,
    /// Until the guest's first program ran, in the guest's time.
    pub(crate) uptime_ms: u64,
    pub(crate) steps: Vec<Ended>,
    pub(crate) features: BTreeMap<String, bool>,
    pub(crate) verified: BTreeMap<String, Cost>,
    /// The step that had begun and not ended.
    pub(crate) under_way: Option<String>,
    pub(crate) over: bool,
}

/// A step that has ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) ms: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) output: String,
}

/// What the verifier looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cost {
    pub(crate) instructions: u32,
    /// By the kernel's memory; else by a log.
    pub(crate) remembered: bool,
}

impl Told {
    /// Reads a report. A guest that died may have left half a line.
    pub(crate) fn read(text: &str) -> Self {
        let mut told = Self::default();
        for line in text.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()) {
            told.take(line);
        }
        told
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Booted { release, uptime_ms } => {
                (self.release, self.uptime_ms) = (Some(release), uptime_ms);
            }
            Line::Begun { step } => self.under_way = Some(step),
            Line::Ended { step, outcome, ms, output } => {
                self.under_way = None;
                self.steps.push(Ended { name: step, outcome, ms, output });
            }
            Line::Feature { name, found } => {
                self.features.insert(name, found);
            }
            Line::Verified { program, instructions, remembered } => {
                self.verified.insert(program, Cost { instructions, remembered });
            }
            Line::Over => self.over = true,
        }
    }
}

/// One start of one kernel, with all that is known of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) kernel: Kernel,
    pub(crate) boot: String,
    pub(crate) told: Told,
    /// Since the virtual machine was started.
    pub(crate) boot_ms: Option<u64>,
    pub(crate) run_ms: u64,
    /// Why the guest gave no verdict, with the end of what it wrote.
    pub(crate) death: Option<String>,
}

/// What is not as it should be, in sentences.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Guests that died.
    pub(crate) deaths: Vec<String>,
    /// Steps that failed, and features that are lost.
    pub(crate) failures: Vec<String>,
    /// What is told and fails nothing.
    pub(crate) notes: Vec<String>,
}

/// Compares what was told with what is expected.
pub(crate) fn judge(runs: &[Run]) -> Findings {
    let mut findings = Findings::default();
    for run in runs {
        let name = &run.kernel.name;
        if let Some(death) = &run.death {
            let step = run.told.under_way.as_deref().unwrap_or("no step");
            findings.deaths.push(format!("{name} {}: during {step}: {death}", run.boot));
        }
        for Ended { name: step, outcome, ms, output } in &run.told.steps {
            let says = |what: &str| format!("{name} {step}: {what} after {ms} ms\n{output}");
            match outcome {
                Outcome::Passed => {}
                Outcome::Failed => findings.failures.push(says("failed")),
                Outcome::TimedOut => findings.failures.push(says("took too long and was ended")),
                // Here it has all that it may want.
                Outcome::Skipped => findings.failures.push(says("found nothing to work with")),
            }
        }
        for (feature, need) in &run.kernel.features {
            let Some(found) = run.told.features.get(feature) else { continue };
            match need.against(*found) {
                Verdict::Expected => {}
                Verdict::Lost => {
                    findings.failures.push(format!("{name}: {feature} is required and not there"));
                }
                Verdict::Gained => findings.notes.push(format!(
                    "{name}: {feature} is there, and {} in kernels.toml: make it required",
                    need.label()
                )),
            }
        }
        let known: BTreeSet<_> = run.kernel.features.keys().collect();
        for feature in run.told.features.keys().filter(|feature| !known.contains(feature)) {
            findings.failures.push(format!("{name}: kernels.toml does not know {feature}"));
        }
        // Who asked for features was answered about each.
        let asked = run.told.steps.iter().any(|step| step.name == Step::Features.label());
        let silent = known.iter().filter(|feature| !run.told.features.contains_key(**feature));
        for feature in silent.filter(|_| asked) {
            findings.failures.push(format!("{name}: the guest did not tell of {feature}"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm_test::kernels::Need;

    fn run(text: &str) -> Run {
        let features = BTreeMap::from([
            ("gone".to_owned(), Need::Required),
            ("new".to_owned(), Need::Degraded),
        ]);
        let kernel = Kernel { name: "6.1".into(), suite: "s".into(), features };
        let told = Told::read(text);
        Run { kernel, boot: "lab".into(), told, boot_ms: None, run_ms: 0, death: None }
    }

    #[test]
    fn a_report_is_read_as_far_as_it_goes() {
        let told = Told::read(
            "{\"booted\":{\"release\":\"6.1.0\",\"uptime_ms\":900}}\r\n\
             {\"begun\":{\"step\":\"a::b\"}}\n\
             {\"ended\":{\"step\":\"a::b\",\"outcome\":\"passed\",\"ms\":5,\"output\":\"\"}}\n\
             {\"begun\":{\"step\":\"a::c\"}}\n{\"ended\":{\"ste",
        );
        assert_eq!(told.release.as_deref(), Some("6.1.0"));
        assert_eq!(told.steps.len(), 1);
        assert_eq!(told.under_way.as_deref(), Some("a::c"));
        assert!(!told.over);
    }

    #[test]
    fn a_lost_feature_fails_and_a_gained_one_is_told() {
        let text = "{\"feature\":{\"name\":\"gone\",\"found\":false}}\n\
                    {\"feature\":{\"name\":\"new\",\"found\":true}}\n";
        let findings = judge(&[run(text)]);
        assert_eq!(findings.failures, ["6.1: gone is required and not there"]);
        assert_eq!(
            findings.notes,
            ["6.1: new is there, and degraded in kernels.toml: make it required"]
        );
    }

    #[test]
    fn silence_about_a_feature_is_no_answer() {
        let asked =
            "{\"ended\":{\"step\":\"features\",\"outcome\":\"passed\",\"ms\":1,\"output\":\"\"}}";
        let findings = judge(&[run(asked)]);
        assert_eq!(
            findings.failures,
            ["6.1: the guest did not tell of gone", "6.1: the guest did not tell of new"]
        );
        assert_eq!(judge(&[run("")]), Findings::default(), "another boot does not ask");
    }

    #[test]
    fn what_was_skipped_has_not_passed() {
        let text =
            "{\"ended\":{\"step\":\"a::b\",\"outcome\":\"skipped\",\"ms\":1,\"output\":\"no x\"}}";
        let findings = judge(&[run(text)]);
        assert_eq!(findings.failures, ["6.1 a::b: found nothing to work with after 1 ms\nno x"]);
    }

    #[test]
    fn a_guest_that_died_is_named_with_what_it_was_at() {
        let mut run = run("{\"begun\":{\"step\":\"a::c\"}}");
        run.death = Some("a panic".to_owned());
        assert_eq!(judge(&[run]).deaths, ["6.1 lab: during a::c: a panic"]);
    }
}
