//! The summary as a document for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    kernels::{Need, Verdict},
    packages::Package,
    report::{Cost, Ended, Run},
    table::Summary,
};

#[derive(Serialize)]
struct Document<'a> {
    accelerator: &'a str,
    total_ms: u64,
    passed: usize,
    kernels: Vec<OneKernel<'a>>,
    failures: &'a [String],
    deaths: &'a [String],
    notes: &'a [String],
}

#[derive(Serialize)]
struct OneKernel<'a> {
    name: &'a str,
    release: Option<&'a str>,
    packages: &'a [Package],
    features: BTreeMap<&'a str, Feature>,
    verified: BTreeMap<&'a str, Cost>,
    boots: Vec<OneBoot<'a>>,
}

/// What was asked for, and how that compares; nothing where the file does not know the feature.
#[derive(Serialize)]
struct Feature {
    found: bool,
    need: Option<Need>,
    verdict: Option<Verdict>,
}

#[derive(Serialize)]
struct OneBoot<'a> {
    name: &'a str,
    /// Since the virtual machine was started, and in the guest's own time.
    boot_ms: Option<u64>,
    uptime_ms: u64,
    run_ms: u64,
    died: Option<&'a str>,
    steps: &'a [Ended],
}

impl Summary {
    /// The document.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&Document {
            accelerator: self.accelerator,
            total_ms: self.total_ms,
            passed: self.passed(),
            kernels: self.kernels().into_iter().map(|name| self.one(name)).collect(),
            failures: &self.findings.failures,
            deaths: &self.findings.deaths,
            notes: &self.findings.notes,
        })
    }

    fn one<'a>(&'a self, name: &'a str) -> OneKernel<'a> {
        let verified = self.of(name).flat_map(|run| &run.told.verified);
        OneKernel {
            name,
            release: self.of(name).find_map(|run| run.told.release.as_deref()),
            packages: self.taken.get(name).map_or(&[], Vec::as_slice),
            features: self.of(name).flat_map(features).collect(),
            verified: verified.map(|(program, cost)| (program.as_str(), *cost)).collect(),
            boots: self.of(name).map(boot).collect(),
        }
    }
}

fn features(run: &Run) -> impl Iterator<Item = (&str, Feature)> {
    run.told.features.iter().map(|(feature, found)| {
        let need = run.kernel.features.get(feature).copied();
        let verdict = need.map(|need| need.against(*found));
        (feature.as_str(), Feature { found: *found, need, verdict })
    })
}

fn boot(run: &Run) -> OneBoot<'_> {
    OneBoot {
        name: &run.boot,
        boot_ms: run.boot_ms,
        uptime_ms: run.told.uptime_ms,
        run_ms: run.run_ms,
        died: run.death.as_deref(),
        steps: &run.told.steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm_test::{
        kernels::Kernel,
        report::{Told, judge},
    };
    use serde_json::{Value, json};

    fn document(report: &str, death: Option<&str>) -> Value {
        let features = BTreeMap::from([("a".to_owned(), Need::Required)]);
        let run = Run {
            kernel: Kernel { name: "6.1".into(), suite: "s".into(), features },
            boot: "lab".into(),
            told: Told::read(report),
            boot_ms: Some(700),
            run_ms: 5000,
            death: death.map(str::to_owned),
        };
        let package = Package { name: "p".into(), version: "1".into(), sha256: "ab".into() };
        let runs = vec![run];
        let findings = judge(&runs);
        let taken = BTreeMap::from([("6.1".to_owned(), vec![package])]);
        let summary = Summary { runs, taken, findings, accelerator: "tcg", total_ms: 6000 };
        let text = summary.json().expect("a document");
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn the_document_has_all_that_the_table_has() {
        let report = "{\"booted\":{\"release\":\"6.1.9\",\"uptime_ms\":300}}\n\
            {\"begun\":{\"step\":\"features\"}}\n\
            {\"feature\":{\"name\":\"a\",\"found\":true}}\n\
            {\"ended\":{\"step\":\"features\",\"outcome\":\"passed\",\"ms\":9,\"output\":\"\"}}\n\
            {\"verified\":{\"program\":\"connect4\",\"instructions\":7,\"remembered\":true}}\n\
            {\"ended\":{\"step\":\"x::y\",\"outcome\":\"failed\",\"ms\":8,\"output\":\"why\"}}\n\
            \"over\"\n";
        let expected = json!({
            "accelerator": "tcg",
            "total_ms": 6000,
            "passed": 1,
            "kernels": [{
                "name": "6.1",
                "release": "6.1.9",
                "packages": [{ "name": "p", "version": "1", "sha256": "ab" }],
                "features": { "a": { "found": true, "need": "required", "verdict": "expected" } },
                "verified": { "connect4": { "instructions": 7, "remembered": true } },
                "boots": [{
                    "name": "lab",
                    "boot_ms": 700,
                    "uptime_ms": 300,
                    "run_ms": 5000,
                    "died": null,
                    "steps": [
                        { "name": "features", "outcome": "passed", "ms": 9 },
                        { "name": "x::y", "outcome": "failed", "ms": 8, "output": "why" },
                    ],
                }],
            }],
            "failures": ["6.1 x::y: failed after 8 ms\nwhy"],
            "deaths": [],
            "notes": [],
        });
        assert_eq!(document(report, None), expected);
    }

    #[test]
    fn a_guest_that_told_nothing_is_there_with_its_death() {
        let document = document("", Some("it ended early"));
        let kernel = &document["kernels"][0];
        assert_eq!(kernel["release"], Value::Null);
        assert_eq!(kernel["boots"][0]["died"], "it ended early");
        assert_eq!(kernel["boots"][0]["steps"], json!([]));
        assert_eq!(document["deaths"], json!(["6.1 lab: during no step: it ended early"]));
    }
}
