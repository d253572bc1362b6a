//! What a guide shows: commands, and what they printed.

/// A command of a `console` block, and the lines that are shown below it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) command: String,
    pub(crate) output: Vec<String>,
}

/// All of a guide, in their order.
pub(crate) fn shown(guide: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut inside = false;
    for line in guide.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            all.push(Shown { command: command.to_owned(), output: Vec::new() });
        } else if let Some(last) = all.last_mut().filter(|_| inside) {
            match last.command.strip_suffix('\\') {
                Some(start) => last.command = format!("{start}{}", line.trim_start()),
                None => last.output.push(line.to_owned()),
            }
        }
    }
    all
}

impl Shown {
    /// The first line that is shown and is not in what was printed, but for numbers, times and what `…` stands for.
    pub(crate) fn missing(&self, printed: &str) -> Option<&str> {
        let printed: Vec<_> = printed.lines().map(shape).collect();
        let is_there = |line: &&String| {
            let wanted = shape(line);
            printed.iter().any(|line| holds(line, &wanted))
        };
        self.output.iter().find(|line| !is_there(line)).map(String::as_str)
    }
}

/// Whether the parts around each `…` are in the line, in their order.
fn holds(line: &str, wanted: &str) -> bool {
    let mut rest = line;
    wanted.split('…').map(str::trim).all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

/// A line without what differs from run to run: numbers with their units of time, tokens, the width of columns. Of a
/// check that passed its name stays, since what was found is another host's.
fn shape(line: &str) -> String {
    if let Some(check) = line.strip_prefix("  pass  ") {
        let name = check.split("  ").next().unwrap_or_default();
        return format!("pass {}", numbers(name));
    }
    let words = line.split_whitespace().map(|word| {
        let is_token = |part: &str| part.len() == 32 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let parts = word.split('/').map(|part| match part {
            part if is_token(part) => "TOKEN".to_owned(),
            part => numbers(part),
        });
        parts.collect::<Vec<_>>().join("/")
    });
    words.collect::<Vec<_>>().join(" ").replace("connections", "connection")
}

/// `#` for each number with the unit behind it.
fn numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let number =
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        if !first.is_ascii_digit() {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        rest = &rest[number..];
        let unit = rest.len() - rest.trim_start_matches(char::is_alphabetic).len();
        if ["µs", "ms", "s", "m", "h", "d"].contains(&&rest[..unit]) {
            rest = &rest[unit..];
        }
        if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

#[test]
fn lines_are_compared_without_numbers_and_units() {
    let shown = |command: &str, output: &[&str]| Shown {
        command: command.to_owned(),
        output: output.iter().map(|&line| line.to_owned()).collect(),
    };
    let one = shown("", &["debug, info again in 10m", "a … z", "…", "18 connections in 1.5ms"]);
    let printed = "debug, info again in 9m58s\nb\na b c z\n1 connection in 367µs\n";
    assert_eq!(one.missing(printed), None);
    assert_eq!(one.missing("debug, info again in 9m58s"), Some("a … z"));
    assert_eq!(one.missing("warn"), Some("debug, info again in 10m"));
    let guide = "$ no\n```console\n$ one \\\n    two\nthree\n\n$ four\n```\nfive\n";
    let all = super::shown::shown(guide);
    assert_eq!(
        (&*all[0].command, &*all[0].output),
        ("one two", &["three".to_owned(), String::new()][..])
    );
    assert_eq!((&*all[1].command, all[1].output.len(), all.len()), ("four", 0, 2));
}
