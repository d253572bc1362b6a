//! What is written is what is listed and documented.

use super::*;
use crate::status::example;
use nllb_common::maps::State;
use std::collections::BTreeMap;
use std::path::Path;

fn text() -> String {
    render(&example::status(), Format::Text).expect("text")
}

/// Compares with a file, or writes it.
fn compare(file: &str, content: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&file, content).expect("writable");
    }
    let expected = std::fs::read_to_string(&file).expect("readable");
    assert_eq!(content, expected, "UPDATE_EXPECTED=1 writes {}", file.display());
}

#[test]
fn every_series_of_the_example_is_as_expected() {
    let text = text();
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.sort_unstable();
    compare("src/metrics/example.txt", &(lines.join("\n") + "\n"));
}

#[test]
fn the_document_lists_every_series_as_the_code_explains_it() {
    let file = "../docs/metrics.md";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let document = std::fs::read_to_string(path).expect("readable");
    let (begin, end) = ("<!-- series: begin -->\n", "<!-- series: end -->\n");
    let (before, rest) = document.split_once(begin).expect("a beginning");
    let (_, after) = rest.split_once(end).expect("an end");
    compare(file, &format!("{before}{begin}{}{end}{after}", table(&text())));
}

/// Name, labels and explanation of every series, as Markdown.
fn table(text: &str) -> String {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) =
            line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        {
            let labels = labels(text, name);
            let labels = labels.unwrap_or_else(|| panic!("the example has no {name}"));
            let help = help.trim_end_matches('.');
            rows.insert(name, format!("| `{name}` | {labels} | {help} |\n"));
        }
    }
    let head = "| series | labels | |\n|---|---|---|\n".to_owned();
    rows.into_values().fold(head, |table, row| table + &row)
}

/// The labels of the first series with this name, or of its first class when it is a histogram.
fn labels(text: &str, name: &str) -> Option<String> {
    let brace = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix("_bucket").unwrap_or(rest);
        Some(rest.strip_prefix('{')?.split_once("} ")?.0.to_owned())
    };
    let labels = text.lines().find_map(brace)?;
    let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0));
    let names = names.filter(|name| *name != "le").map(|name| format!("`{name}`"));
    Some(names.collect::<Vec<_>>().join(", "))
}

#[test]
fn a_backend_is_in_exactly_one_state() {
    let text = text();
    let lines = text.lines().filter(|line| line.starts_with("nllb_backend_state{"));
    let (on, off): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.ends_with(" 1"));
    assert_eq!((on.len(), off.len()), (2, 2 * (State::ALL.len() - 1)));
}
