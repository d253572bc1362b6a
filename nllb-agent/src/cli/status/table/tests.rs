//! The table as a person sees it, against expected files.

use super::*;
use crate::status::example;

#[test]
fn the_table_of_a_good_agent() {
    matches("good", &render(&example::status()));
}

#[test]
fn the_table_of_an_agent_in_trouble_names_every_problem() {
    let mut status = example::status();
    status.config.last_reload_error =
        Some("agent.yaml:3:1: unknown key \"pool\": did you mean \"pools\"?".to_owned());
    status.datapath.links[1].problem = Some("detached by another program".to_owned());
    status.datapath.self_test.failures = vec!["127.86.0.1:1 was not translated".to_owned()];
    status.listeners = vec![
        example::listener("127.0.0.1:7443", ListenerState::OwnedByOther),
        example::listener("[::1]:7443", ListenerState::Failed("no such address".to_owned())),
    ];
    for backend in &mut status.pools[0].backends {
        backend.evidence = None;
        backend.last_probe = None;
    }
    matches("trouble", &render(&status));
}

#[test]
fn no_line_is_wider_than_a_hundred_columns() {
    for text in [include_str!("good.txt"), include_str!("trouble.txt")] {
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}

/// Compares with the file of that name; `UPDATE_EXPECTED=1` writes it anew.
fn matches(name: &str, text: &str) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/status/table");
    let file = dir.join(name).with_extension("txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&file, text).expect("writable");
    }
    assert_eq!(text, std::fs::read_to_string(&file).expect("readable"));
}
