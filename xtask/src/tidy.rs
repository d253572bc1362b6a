//! `cargo xtask tidy`: the rules of this code base that compilers and clippy do not know. They are
//! checked on the text, token by token, because a rule that a reader can hold in the head needs no
//! syntax tree, and a checker without dependencies never keeps the toolchain from moving.

mod imports;
mod rules;
mod source;

use std::{fmt, fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use source::Source;

/// The crates of the workspace, and of ours those that each may use.
pub(crate) const CRATES: [(&str, &[&str]); 7] = [
    ("nllb-common", &[]),
    ("nllb-core", &["nllb-common"]),
    ("nllb-ebpf", &["nllb-common"]),
    ("nllb-agent", &["nllb-common", "nllb-core"]),
    ("tests", &["nllb-agent", "nllb-common", "nllb-core"]),
    ("vm-tests", &["nllb-agent", "nllb-common", "nllb-lab"]),
    ("xtask", &[]),
];

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    /// What to do.
    advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, advice } = self;
        write!(f, "{path}:{line}: {rule}: {advice}")
    }
}

pub(crate) fn command(workspace: &Workspace) -> Result<ExitCode> {
    Ok(if check(workspace)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints every finding; true when there is none.
pub(crate) fn check(workspace: &Workspace) -> Result<bool> {
    let mut findings = Vec::new();
    let manifest = read(&workspace.root, "Cargo.toml")?;
    findings.extend(imports::unknown_members(&manifest, &CRATES));
    for (name, may_use) in CRATES {
        let path = format!("{name}/Cargo.toml");
        findings.extend(imports::crates(&path, &read(&workspace.root, &path)?, may_use));
        for path in rust_files(&workspace.root, name)? {
            let source = Source::parse(&path, &read(&workspace.root, &path)?);
            findings.extend(rules::check(&source));
            findings.extend(imports::modules(&source));
        }
    }
    findings.iter().for_each(|finding| println!("{finding}"));
    Ok(findings.is_empty())
}

fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

/// Paths below the root, in a stable order.
fn rust_files(root: &Path, directory: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let entries = fs::read_dir(root.join(directory));
    for entry in entries.with_context(|| format!("cannot read {directory}"))? {
        let entry = entry?;
        let path = format!("{directory}/{}", entry.file_name().display());
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                paths.extend(rust_files(root, &path)?);
            }
        } else if path.ends_with(".rs") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_which_rule_and_what_to_do() {
        let finding = Finding {
            path: "a/src/lib.rs".into(),
            line: 3,
            rule: "clock",
            advice: "pass `now` in".into(),
        };
        assert_eq!(finding.to_string(), "a/src/lib.rs:3: clock: pass `now` in");
    }
}
