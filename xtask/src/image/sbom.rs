//! The packages that the program is made of, as a CycloneDX document. Cargo knows them; a tool of its
//! own would have to be built first, for a list of names and versions.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::json;

use super::output_of;
use crate::workspace::Workspace;

/// What is linked: neither tests nor what only builds.
const EDGES: &str = "normal,no-proc-macro";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Of the agent and the kernel programs inside it.
pub(super) fn list(workspace: &Workspace) -> Result<String> {
    let mut packages = BTreeSet::new();
    for package in ["nllb-agent", "nllb-ebpf"] {
        let mut command = workspace.cargo(["tree", "--locked", "--package", package]);
        command.args(["--edges", EDGES, "--target", TARGET, "--prefix", "none"]);
        packages.extend(parse(&output_of(command.args(["--format", "{p}|{l}"]))?)?);
    }
    Ok(document(&packages).to_string())
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
    /// Whether it is part of this workspace.
    ours: bool,
}

/// Lines like `serde v1.0.228|MIT OR Apache-2.0`; a path in brackets stands behind the version of ours.
fn parse(tree: &str) -> Result<BTreeSet<Package>> {
    let lines = tree.lines().filter(|line| !line.is_empty());
    let package = |line: &str| {
        let (package, licence) = line.split_once('|')?;
        let (name, rest) = package.split_once(" v")?;
        let (version, path) = rest.split_once(' ').map_or((rest, None), |(v, p)| (v, Some(p)));
        Some(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            // The mark of a package that was listed before.
            licence: licence.trim_end_matches(" (*)").replace('/', " OR "),
            ours: path.is_some(),
        })
    };
    lines.map(|line| package(line).with_context(|| format!("cargo tree: {line:?}"))).collect()
}

fn document(packages: &BTreeSet<Package>) -> serde_json::Value {
    let component = |package: &Package| {
        let Package { name, version, licence, ours } = package;
        let mut component = json!({ "type": "library", "name": name, "version": version });
        if !licence.is_empty() {
            component["licenses"] = json!([{ "expression": licence }]);
        }
        if !ours {
            component["purl"] = json!(format!("pkg:cargo/{name}@{version}"));
        }
        component
    };
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "components": packages.iter().map(component).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_listed_once_with_version_licence_and_where_it_is_from() {
        let tree = "nllb-agent v0.1.0 (/src/nllb-agent)|Apache-2.0 OR MIT\n\
                    aya v0.14.0|MIT/Apache-2.0\n\
                    aya v0.14.0|MIT/Apache-2.0 (*)\n\n\
                    wincode v0.5.5|\n";
        let document = document(&parse(tree).expect("lines"));
        let expected = json!([
            { "type": "library", "name": "aya", "version": "0.14.0",
              "licenses": [{ "expression": "MIT OR Apache-2.0" }],
              "purl": "pkg:cargo/aya@0.14.0" },
            { "type": "library", "name": "nllb-agent", "version": "0.1.0",
              "licenses": [{ "expression": "Apache-2.0 OR MIT" }] },
            { "type": "library", "name": "wincode", "version": "0.5.5",
              "purl": "pkg:cargo/wincode@0.5.5" },
        ]);
        assert_eq!(document["components"], expected);
    }

    #[test]
    fn another_form_is_refused() {
        assert!(parse("no package").is_err());
    }
}
