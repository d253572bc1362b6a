//! The rules about single files: where `unsafe` and clocks are allowed, how a file opens and how
//! long it gets, how tests wait, and words that mean something else here.

use super::{
    Finding,
    source::{Line, Source, words},
};

/// A file longer than this says at its top why it exists.
const SHORT_FILE: usize = 40;
/// The length budget of a file without its tests. Past it an idea wants a file of its own.
const MAX_LINES: usize = 400;

/// The only places of `unsafe`: the kernel programs' context and maps, the types that are read from
/// maps as bytes, the agent's own system calls, the allocator, and the lab's system calls.
const UNSAFE_FILES: [&str; 7] = [
    "nllb-ebpf/src/ctx",
    "nllb-ebpf/src/maps",
    "nllb-ebpf/src/vip/maps.rs",
    "nllb-common/src/maps.rs",
    "nllb-agent/src/datapath",
    "nllb-agent/src/heap.rs",
    "tests/src/sys",
];
/// The only places that read a clock: everything else gets `now` as a parameter.
const CLOCK_FILES: [&str; 5] =
    ["nllb-agent/src/driver", "nllb-agent/src/probe", "tests/", "vm-tests/", "xtask/"];

/// Words that a definition must not be named by, and what we call the thing. Only those that have no
/// other honest use.
const WORDS: [(&str, &str); 6] = [
    ("upstream", "backend"),
    ("canary", "sentinel"),
    ("heartbeat", "lease"),
    ("failsafe", "panic"),
    ("simulator", "lab"),
    ("mock", "lab"),
];
/// What stands before the name in a definition.
const DEFINES: [&str; 8] = ["fn", "struct", "enum", "trait", "mod", "const", "static", "type"];

/// All rules of this module.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = layout(source);
    for (number, line) in source.numbered() {
        let mut add = |rule, advice: Option<String>| {
            let path = source.path.clone();
            findings.extend(advice.map(|advice| Finding { path, line: number, rule, advice }));
        };
        add("unsafe", unsafe_code(source, number, line));
        add("clock", clock(source, line));
        add("allow", allow(line));
        add("sleep", sleep(source, number, line));
        add("glossary", glossary(line));
    }
    findings
}

fn layout(source: &Source) -> Vec<Finding> {
    let finding = |line, rule, advice: String| {
        let path = source.path.clone();
        Finding { path, line, rule, advice }
    };
    let mut findings = Vec::new();
    if source.path.ends_with("/mod.rs") {
        let advice = "name it after its directory, beside it: foo.rs and foo/".into();
        findings.push(finding(1, "layout", advice));
    }
    let opens = source.lines.first().is_some_and(|line| line.comment.starts_with("//!"));
    if source.lines.len() > SHORT_FILE && !opens {
        findings.push(finding(1, "head", "open with `//!` and say why this file exists".into()));
    }
    let length = source.lines.iter().filter(|line| !line.test).count();
    if length > MAX_LINES {
        let advice = format!("{length} lines without tests, {MAX_LINES} are the budget: split it");
        findings.push(finding(length, "length", advice));
    }
    findings
}

fn unsafe_code(source: &Source, number: usize, line: &Line) -> Option<String> {
    let at = find_word(&line.code, "unsafe")?;
    let after = line.code[at + "unsafe".len()..].trim_start();
    // `#[unsafe(no_mangle)]` is about a name, not about memory.
    if after.starts_with('(') {
        return None;
    }
    if !allowed(&UNSAFE_FILES, &source.path) {
        return Some(format!("not here; it lives in {}", UNSAFE_FILES.join(", ")));
    }
    // A function states its contract in its documentation; clippy looks for that.
    let needs_reason = !after.starts_with("fn") && !after.starts_with("extern");
    let advice = "say above it in `// SAFETY:` which fact makes this true";
    (needs_reason && !has_comment(source, number, "SAFETY:")).then(|| advice.into())
}

fn clock(source: &Source, line: &Line) -> Option<String> {
    let reads = ["Instant::now", "SystemTime::now"].iter().any(|call| line.code.contains(call));
    let free = line.test || allowed(&CLOCK_FILES, &source.path);
    (reads && !free).then(|| "take `now` as a parameter; driver and probe read the clock".into())
}

fn allow(line: &Line) -> Option<String> {
    let allows = line.code.contains("#[allow(") || line.code.contains("#![allow(");
    allows.then(|| "mend it, or `#[expect(…, reason = \"…\")]`".into())
}

fn sleep(source: &Source, number: usize, line: &Line) -> Option<String> {
    let of_tests = line.test || source.path.starts_with("tests/");
    let at = find_word(&line.code, "sleep")?;
    let calls =
        line.code[at..].starts_with("sleep(") && !line.code[..at].trim_end().ends_with("fn");
    let advice = "await the event itself, or say in a comment with `reason:` why there is none";
    (of_tests && calls && !has_comment(source, number, "reason:")).then(|| advice.into())
}

fn glossary(line: &Line) -> Option<String> {
    let mut previous = "";
    for word in words(&line.code) {
        if DEFINES.contains(&previous) {
            let parts = snake_case(word);
            let wrong = WORDS.iter().find(|(wrong, _)| parts.split('_').any(|part| part == *wrong));
            if let Some((wrong, right)) = wrong {
                return Some(format!("{word}: we do not say {wrong}, we say {right}"));
            }
        }
        previous = word;
    }
    None
}

/// `allowed` are directories, files, or beginnings like `…/driver` for `driver.rs` and `driver/`.
fn allowed(allowed: &[&str], path: &str) -> bool {
    allowed.iter().any(|start| {
        path.strip_prefix(start).is_some_and(|rest| {
            rest.is_empty() || start.ends_with('/') || rest.starts_with('/') || rest == ".rs"
        })
    })
}

/// In the line itself, or in the comment that ends on the line above (attributes may stand between,
/// and the beginning of a statement that goes on here).
fn has_comment(source: &Source, number: usize, text: &str) -> bool {
    let here = number - 1;
    let above = source.lines[..here].iter().rev().take_while(|line| {
        let code = line.code.trim();
        let goes_on = code.ends_with(['=', '(', ',']) || code.starts_with("#[");
        goes_on || (code.is_empty() && !line.comment.is_empty())
    });
    source.lines[here..=here].iter().chain(above).any(|line| line.comment.contains(text))
}

fn find_word(code: &str, word: &str) -> Option<usize> {
    let found = words(code).find(|found| *found == word)?;
    // `words` gives slices of `code`.
    Some(found.as_ptr() as usize - code.as_ptr() as usize)
}

fn snake_case(name: &str) -> String {
    let mut result = String::new();
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && after_lower {
            result.push('_');
        }
        after_lower = c.is_lowercase();
        result.extend(c.to_lowercase());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        check(&Source::parse(path, text)).into_iter().map(|f| (f.line, f.rule)).collect()
    }

    const NONE: [(usize, &str); 0] = [];

    #[test]
    fn unsafe_is_found_outside_its_files() {
        let text = "// SAFETY: fine\nunsafe { f() }";
        assert_eq!(findings("nllb-core/src/pool.rs", text), [(2, "unsafe")]);
        assert_eq!(findings("nllb-agent/src/datapath_x.rs", text), [(2, "unsafe")]);
        assert_eq!(findings("nllb-agent/src/datapath/sys.rs", text), NONE);
        assert_eq!(findings("nllb-agent/src/datapath.rs", text), NONE);
    }

    #[test]
    fn unsafe_needs_a_reason_right_above_it() {
        let path = "nllb-ebpf/src/ctx.rs";
        assert_eq!(findings(path, "unsafe { f() }"), [(1, "unsafe")]);
        assert_eq!(findings(path, "// SAFETY: x\n\nunsafe { f() }"), [(3, "unsafe")]);
        assert_eq!(findings(path, "// SAFETY: x\n// and y\n#[inline]\nunsafe impl A {}"), NONE);
        assert_eq!(findings(path, "// SAFETY: x\nlet a =\n    unsafe { f() };"), NONE);
        assert_eq!(findings(path, "unsafe { f() } // SAFETY: x"), NONE);
        assert_eq!(findings(path, "unsafe fn f() {}\nunsafe extern \"C\" {}"), NONE);
    }

    #[test]
    fn the_word_unsafe_in_attributes_and_texts_is_harmless() {
        let text = "#[unsafe(no_mangle)]\nlet a = \"unsafe { }\"; // unsafe { }\nis_unsafe { }";
        assert_eq!(findings("nllb-core/src/pool.rs", text), NONE);
    }

    #[test]
    fn clocks_are_read_only_in_driver_probe_and_tests() {
        let text = "let now = Instant::now();\nlet t = std::time::SystemTime::now();";
        assert_eq!(findings("nllb-core/src/pool.rs", text), [(1, "clock"), (2, "clock")]);
        assert_eq!(findings("nllb-agent/src/admin.rs", text), [(1, "clock"), (2, "clock")]);
        assert_eq!(findings("nllb-agent/src/probe/tls.rs", text), NONE);
        assert_eq!(findings("tests/src/lib.rs", text), NONE);
        assert_eq!(
            findings("nllb-core/src/pool.rs", "#[cfg(test)]\nfn f() { Instant::now() }"),
            NONE
        );
    }

    #[test]
    fn lints_are_expected_with_a_reason_never_allowed() {
        assert_eq!(findings("a/src/b.rs", "#[allow(dead_code)]\n#![allow(x)]").len(), 2);
        assert_eq!(findings("a/src/b.rs", "#[expect(dead_code, reason = \"x\")]"), NONE);
    }

    #[test]
    fn a_test_that_sleeps_says_why() {
        let path = "tests/tests/failover.rs";
        assert_eq!(findings(path, "thread::sleep(d);"), [(1, "sleep")]);
        assert_eq!(findings(path, "// reason: the kernel tells nobody\nthread::sleep(d);"), NONE);
        assert_eq!(findings(path, "fn sleep(d: Duration) {}\nsleep_until(x);"), NONE);
        assert_eq!(findings("nllb-agent/src/driver.rs", "sleep(d).await;"), NONE);
    }

    #[test]
    fn long_files_open_with_their_reason_and_stay_within_the_budget() {
        assert_eq!(findings("a/src/b.rs", &"fn f() {}\n".repeat(40)), NONE);
        assert_eq!(findings("a/src/b.rs", &"fn f() {}\n".repeat(41)), [(1, "head")]);
        let long = format!("//! Why.\n{}", "fn f() {}\n".repeat(400));
        assert_eq!(findings("a/src/b.rs", &long), [(401, "length")]);
        let tested = format!("//! Why.\n#[cfg(test)]\nmod t {{\n{}}}\n", "fn f() {}\n".repeat(500));
        assert_eq!(findings("a/src/b.rs", &tested), NONE);
    }

    #[test]
    fn modules_are_named_beside_their_directory() {
        assert_eq!(findings("a/src/b/mod.rs", ""), [(1, "layout")]);
    }

    #[test]
    fn a_definition_with_a_word_that_we_do_not_say_is_found() {
        assert_eq!(findings("a/src/b.rs", "struct UpstreamPool;"), [(1, "glossary")]);
        assert_eq!(findings("a/src/b.rs", "fn send_heartbeat() {}"), [(1, "glossary")]);
        assert_eq!(findings("a/src/b.rs", "upstream.call(); fn mocking() {}"), NONE);
    }
}
