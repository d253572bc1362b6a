//! Who may import whom: between crates, so that what decides stays free of clocks and sockets; and
//! between the agent's modules, so that each adapter can be read and replaced alone.

use super::{
    Finding,
    source::{Source, is_word},
};

/// The agent's modules that speak to the outside. Only the driver and the command line see several.
const ADAPTERS: [&str; 8] =
    ["admin", "config", "datapath", "discovery", "metrics", "network", "probe", "state"];
/// What stands above the adapters.
const ABOVE: [&str; 2] = ["cli", "driver"];
/// The files that list the modules or start the program.
const ROOTS: [&str; 2] = ["lib", "main"];

/// Crates of the workspace without a rule would go unchecked.
pub(crate) fn unknown_members(manifest: &str, crates: &[(&str, &[&str])]) -> Vec<Finding> {
    let members = manifest.lines().enumerate().find(|(_, line)| line.starts_with("members"));
    let Some((index, line)) = members else {
        return vec![];
    };
    let quoted = line.split('"').skip(1).step_by(2);
    quoted
        .filter(|member| crates.iter().all(|(name, _)| name != member))
        .map(|member| Finding {
            path: "Cargo.toml".into(),
            line: index + 1,
            rule: "crate-imports",
            advice: format!("say in xtask/src/tidy.rs which of our crates {member} may use"),
        })
        .collect()
}

/// The dependencies in a crate's manifest, those of its tests and build script too.
pub(crate) fn crates(path: &str, manifest: &str, may_use: &[&str]) -> Vec<Finding> {
    let mut in_dependencies = false;
    let mut findings = Vec::new();
    for (index, line) in manifest.lines().map(str::trim).enumerate() {
        let table = line.strip_prefix('[').map(|rest| rest.trim_end_matches(']'));
        in_dependencies = table.map_or(in_dependencies, |table| table.ends_with("dependencies"));
        // Either `[dependencies]` and `name = …`, or `[dependencies.name]`.
        let name = match table {
            Some(table) => table.rsplit_once("dependencies.").map(|(_, name)| name),
            None if in_dependencies => line.split(['.', '=', ' ']).next(),
            None => None,
        };
        let ours = |name: &&str| name.starts_with("nllb-") || *name == "xtask";
        if let Some(name) = name.filter(ours).filter(|name| !may_use.contains(name)) {
            let may_use = if may_use.is_empty() { "none".into() } else { may_use.join(", ") };
            findings.push(Finding {
                path: path.into(),
                line: index + 1,
                rule: "crate-imports",
                advice: format!("do not depend on {name}; of our crates it may use {may_use}"),
            });
        }
    }
    findings
}

/// The modules that a file of the agent names.
pub(crate) fn modules(source: &Source) -> Vec<Finding> {
    let Some(inner) = source.path.strip_prefix("nllb-agent/src/") else {
        return vec![];
    };
    let inner = inner.trim_end_matches(".rs");
    let own = inner.split('/').next().unwrap_or(inner);
    if ABOVE.contains(&own) || ROOTS.contains(&own) {
        return vec![];
    }
    let from = if ADAPTERS.contains(&own) { "an adapter" } else { "a shared module" };
    let mut findings = Vec::new();
    for (line, module) in named_modules(source, inner.split('/').count()) {
        if module != own && (ADAPTERS.contains(&&*module) || ABOVE.contains(&&*module)) {
            findings.push(Finding {
                path: source.path.clone(),
                line,
                rule: "module-imports",
                advice: format!(
                    "{own} is {from} and must not see {module}; move what both need into a module \
                     of its own, or let the driver pass it in"
                ),
            });
        }
    }
    findings
}

/// The top-level modules that a file names, with their lines: after `crate::`, after as many
/// `super::` as lead to the root, or in a group behind either.
fn named_modules(source: &Source, depth: usize) -> Vec<(usize, String)> {
    let mut code = String::new();
    let mut line_of = Vec::new();
    for (number, line) in source.numbered() {
        code.push_str(&line.code);
        code.push('\n');
        line_of.resize(code.len(), number);
    }
    let mut found = Vec::new();
    for start in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&start) {
            let before = &code[..at];
            if before.ends_with(is_word) || before.ends_with("super::") {
                continue;
            }
            let rest_at = at + start.len();
            found.extend(first_words(&code[rest_at..]).map(|(offset, word)| {
                (line_of.get(rest_at + offset).copied().unwrap_or(0), word.to_owned())
            }));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The first identifier of a path, or of every path in a group; with its offset.
fn first_words(path: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut depth = 0_usize;
    let mut ends = None;
    let mut starts = vec![];
    let mut expect_word = true;
    for (at, c) in path.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 1 => expect_word = true,
            _ if is_word(c) => {
                if expect_word && depth <= 1 {
                    starts.push(at);
                }
                expect_word = false;
            }
            _ => {}
        }
        if depth == 0 && !is_word(c) {
            ends = Some(at);
            break;
        }
    }
    let path = &path[..ends.unwrap_or(path.len())];
    starts.into_iter().map(move |at| {
        let length = path[at..].find(|c| !is_word(c)).unwrap_or(path.len() - at);
        (at, &path[at..at + length])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }

    fn modules_of(path: &str, text: &str) -> Vec<usize> {
        lines(&modules(&Source::parse(path, text)))
    }

    #[test]
    fn a_crate_may_use_only_what_its_row_says() {
        let manifest = "[package]\nname = \"nllb-core\"\n[dependencies]\nnllb-common.workspace = true\n\
                        nllb-agent = { path = \"..\" }\n[dev-dependencies]\nnllb-agent.workspace = true\n\
                        [build-dependencies.nllb-ebpf]\npath = \"x\"\n[features]\nnllb-agent = []\n";
        let findings = crates("nllb-core/Cargo.toml", manifest, &["nllb-common"]);
        assert_eq!(lines(&findings), [5, 7, 8]);
    }

    #[test]
    fn a_new_member_needs_a_row() {
        let manifest = "[workspace]\nmembers = [\"one\", \"two\"]\n";
        assert_eq!(unknown_members(manifest, &[("one", &[]), ("two", &[])]), []);
        assert_eq!(lines(&unknown_members(manifest, &[("one", &[])])), [2]);
    }

    #[test]
    fn an_adapter_that_names_another_is_found_however_it_writes_it() {
        let path = "nllb-agent/src/probe/tls.rs";
        assert_eq!(modules_of(path, "use crate::datapath::Maps;"), [1]);
        assert_eq!(modules_of(path, "use crate::{\n    probe::Tls,\n    admin::{a, b},\n};"), [3]);
        assert_eq!(modules_of(path, "fn f() { super::super::config::read() }"), [1]);
        assert_eq!(modules_of("nllb-agent/src/probe.rs", "use super::discovery::X;"), [1]);
        assert_eq!(modules_of(path, "use crate::driver::Driver;"), [1]);
        assert_eq!(modules_of("nllb-agent/src/telemetry.rs", "use crate::metrics::M;"), [1]);
    }

    #[test]
    fn an_adapter_may_name_itself_and_shared_modules() {
        let path = "nllb-agent/src/probe/tls.rs";
        let text = "use crate::probe::{config, http};\nuse super::admin;\nuse crate::telemetry::t;\n\
                    use crate::{probe::{admin, config}, telemetry};\nuse nllb_core::config;";
        assert_eq!(modules_of(path, text), [0; 0]);
    }

    #[test]
    fn the_driver_and_the_command_line_see_everything() {
        let text = "use crate::{admin, config, datapath};";
        for path in ["driver.rs", "driver/sync.rs", "cli/run.rs", "lib.rs"] {
            assert_eq!(modules_of(&format!("nllb-agent/src/{path}"), text), [0; 0], "{path}");
        }
    }
}
