//! One epoch of the soak, so that the hours are not the first to find it broken.

use nllb_lab::process::command;
use nllb_lab::{Place, lab};
use serde_json::Value;

#[test]
fn an_epoch_of_faults_breaks_no_promise() {
    if !lab::available_or_say() {
        return;
    }
    let args = ["soak", "--seed=1", "--epochs=1", "--output=json"].map(Into::into);
    let output = command(&Place::default(), &args).expect("a command").output().expect("a run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((&report["schema"], &report["seed"]), (&1.into(), &1.into()));
    let epoch = &report["epochs"][0];
    assert!(epoch["connects"].as_u64().is_some_and(|connects| connects > 100), "{report}");
    assert!(epoch["steps"].as_array().is_some_and(|steps| steps.len() > 5), "{report}");
    assert_eq!(epoch["broken"], Value::Array(Vec::new()), "{told}");
}
