//! The measurement of packets runs: for one round, and where the kernel has IPVS for some more.

use std::path::Path;
use std::process::{Command, Output};

use nllb_agent::exit::Exit;
use nllb_lab::lab::{available_or_say, say_skipped};
use nllb_lab::process;

/// Measures; on a busy machine, or an emulated one, goals are missed.
fn measure(arguments: &[&str]) -> Output {
    let mut command = Command::new(process::program().expect("the lab's program"));
    let output = command.args(["bench", "packets"]).args(arguments).output().expect("it runs");
    let codes = [Exit::Success, Exit::Failed].map(|exit| Some(i32::from(exit.code())));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(codes.contains(&output.status.code()), "{errors}");
    output
}

#[test]
fn every_program_and_every_side_has_a_figure() {
    if !available_or_say() {
        return;
    }
    let output = measure(&["--rounds=1", "--output=json"]);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["version"], 1);
    let programs = result["programs"].as_array().expect("programs");
    let hits =
        programs.iter().filter(|it| it["what"].as_str().is_some_and(|it| it.contains("hit")));
    assert_eq!(hits.count(), 6);
    assert!(programs.iter().all(|it| it["ns"]["median"].as_f64().is_some()), "{programs:?}");
    let sides = result["rates"].as_array().expect("sides");
    // IPVS is not in every kernel.
    assert!((4..=5).contains(&sides.len()), "{sides:?}");
    for side in sides {
        assert!(side["packets_per_second"]["median"].as_f64().is_some_and(|it| it > 0.0), "{side}");
    }
}

#[test]
fn packets_per_second_are_measured_beside_ipvs() {
    if !Path::new("/proc/net/ip_vs").exists() {
        say_skipped("this kernel has no IPVS: cargo xtask vm-test 6.12 --boot packets");
        return;
    }
    if !available_or_say() {
        return;
    }
    let output = measure(&["--rounds=10"]);
    let table = String::from_utf8_lossy(&output.stdout);
    println!("{table}");
    assert!(table.contains("IPVS / nllb, packets per second"), "{table}");
}
