//! Alert rules and dashboard, as promtool reads them and by the names of the agent's series. What a real
//! Prometheus makes of them is in `prometheus.rs`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use nllb_lab::lab::say_skipped;
use nllb_lab::tools;

use super::{deploy, succeed};

fn promtool() -> Option<PathBuf> {
    let found = tools::find("promtool", "prometheus");
    if found.is_none() {
        say_skipped("no promtool here");
    }
    found
}

#[test]
fn alert_rules_are_good_and_fire_when_they_should() {
    let Some(promtool) = promtool() else { return };
    let rules = deploy("monitoring/rules.yaml");
    succeed(Command::new(&promtool).args(["check", "rules"]).arg(rules));
    succeed(
        Command::new(&promtool).args(["test", "rules"]).arg(deploy("monitoring/rules-test.yaml")),
    );
}

#[test]
fn every_alert_fires_in_a_test_and_stays_silent_in_a_calm_cluster() {
    let rules = read("monitoring/rules.yaml");
    let tests = read("monitoring/rules-test.yaml");
    let (calm, others) =
        tests.split_once("\n  - name: one of two").expect("tests after the calm one");
    assert!(calm.contains("expr: 'count(ALERTS)', eval_time: 50m, exp_samples: []"), "{calm}");
    // Of the classes of histograms, too.
    let missing: Vec<_> = series(&rules).difference(&series(calm)).copied().collect();
    assert!(missing.is_empty(), "the calm cluster has no {missing:?}");
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let by_name = format!("alertname: {alert}\n");
        let by_label = format!("alertname=\"{alert}\"");
        assert!(others.contains(&by_name) || others.contains(&by_label), "{alert} never fires");
    }
}

#[test]
fn every_series_of_the_rules_and_the_dashboard_is_one_of_the_agent() {
    let document = read("../docs/metrics.md");
    let names = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let known: BTreeSet<&str> = names.map(|name| name.0).collect();
    for file in ["monitoring/rules.yaml", "monitoring/dashboard.json"] {
        let text = read(file);
        let used = series(&text);
        assert!(used.len() > 10, "{used:?}");
        let histogram = |name: &str| {
            let parts = ["_bucket", "_count", "_sum"];
            parts
                .into_iter()
                .any(|part| name.strip_suffix(part).is_some_and(|it| known.contains(it)))
        };
        let is_known = |name: &str| known.contains(name) || histogram(name);
        let unknown: Vec<_> = used.into_iter().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).expect("readable")
}

/// The names of the agent's series in a text.
fn series(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_name(c)).filter(|word| word.starts_with("nllb_")).collect()
}
