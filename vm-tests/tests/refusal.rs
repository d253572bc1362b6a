//! The guest's program on a host.

use std::process::Command;

#[test]
fn outside_of_a_guest_nothing_is_done() {
    for step in [&["check", "whole_machine"][..], &["features"], &["drive"], &[]] {
        let output = Command::new(env!("CARGO_BIN_EXE_nllb-vm")).args(step).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{step:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("not in a guest"), "{step:?}: {errors}");
    }
}
