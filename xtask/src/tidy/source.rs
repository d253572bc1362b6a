//! A source file, line by line, with code and comments apart and the tests marked: a rule about
//! `unsafe` must not find the word in a string, and one about clocks not in a test.

/// A file below the root of the repository.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Without comments and without what is inside of literals.
    pub(crate) code: String,
    pub(crate) comment: String,
    /// Inside a `#[cfg(test)]` item, or in a file of tests.
    pub(crate) test: bool,
}

/// What the scanner is inside of at the end of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    /// A block comment; they nest.
    Comment(usize),
    Text,
    /// A raw string with this many hashes.
    RawText(usize),
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let mut inside = Inside::Code;
        let mut lines: Vec<Line> = text.lines().map(|line| scan(line, &mut inside)).collect();
        let whole = path.contains("/tests/") || path.ends_with("/tests.rs");
        lines.iter_mut().for_each(|line| line.test = whole);
        mark_tests(&mut lines);
        Self { path: path.into(), lines }
    }

    /// The lines with their numbers, counted from 1.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn scan(line: &str, inside: &mut Inside) -> Line {
    let mut result = Line::default();
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let taken = match *inside {
            Inside::Code => scan_code(rest, next, inside, &mut result),
            Inside::Comment(depth) => {
                let (taken, depth) = match rest.get(..2) {
                    Some("*/") => (2, depth - 1),
                    Some("/*") => (2, depth + 1),
                    Some(_) | None => (next.len_utf8(), depth),
                };
                *inside = if depth == 0 { Inside::Code } else { Inside::Comment(depth) };
                result.comment.push_str(&rest[..taken]);
                taken
            }
            Inside::Text if next == '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            Inside::Text => {
                if next == '"' {
                    *inside = Inside::Code;
                }
                next.len_utf8()
            }
            Inside::RawText(hashes) => {
                let end = format!("\"{}", "#".repeat(hashes));
                if rest.starts_with(&end) {
                    *inside = Inside::Code;
                    end.len()
                } else {
                    next.len_utf8()
                }
            }
        };
        rest = &rest[taken..];
    }
    result
}

/// One step in code: returns how much was taken.
fn scan_code(rest: &str, next: char, inside: &mut Inside, result: &mut Line) -> usize {
    if rest.starts_with("//") {
        result.comment.push_str(rest);
        return rest.len();
    }
    if rest.starts_with("/*") {
        *inside = Inside::Comment(1);
        return 2;
    }
    let in_word = result.code.ends_with(is_word);
    if let (false, Some(raw)) = (in_word, rest.strip_prefix("br").or(rest.strip_prefix('r'))) {
        let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
        if raw[hashes..].starts_with('"') {
            *inside = Inside::RawText(hashes);
            result.code.push_str("\"\"");
            return rest.len() - raw.len() + hashes + 1;
        }
    }
    if next == '"' {
        *inside = Inside::Text;
        result.code.push_str("\"\"");
        return 1;
    }
    if let Some(length) = character_literal(rest) {
        result.code.push_str("' '");
        return length;
    }
    result.code.push(next);
    next.len_utf8()
}

/// The length of a literal like `'x'` or `'\u{1F600}'`; lifetimes are none.
fn character_literal(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let first = body.chars().next()?;
    if first == '\\' {
        return Some(1 + 2 + body.get(2..)?.find('\'')? + 1);
    }
    let after = &body[first.len_utf8()..];
    after.starts_with('\'').then(|| 1 + first.len_utf8() + 1)
}

/// Whether a character can be part of an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Marks the item that follows each `#[cfg(test)]`: up to the brace that closes it, or to a
/// semicolon when it has no braces.
fn mark_tests(lines: &mut [Line]) {
    let mut depth = None;
    for line in lines {
        let mut code = line.code.as_str();
        if depth.is_none() {
            // Also `cfg(all(test, …))`.
            let Some(at) =
                code.find("#[cfg(").filter(|at| words(&code[*at..]).any(|w| w == "test"))
            else {
                continue;
            };
            depth = Some(0_usize);
            code = code[at..].split_once(']').map_or("", |(_, after)| after);
        }
        line.test = true;
        for c in code.chars() {
            match (c, depth) {
                ('{', Some(open)) => depth = Some(open + 1),
                ('}', Some(0 | 1)) | (';', Some(0)) => depth = None,
                ('}', Some(open)) => depth = Some(open - 1),
                _ => {}
            }
        }
    }
}

/// The identifiers and keywords of a piece of code.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<String> {
        Source::parse("a/src/b.rs", text).lines.into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_and_the_inside_of_literals_are_no_code() {
        assert_eq!(code("let a = \"unsafe\"; // unsafe"), ["let a = \"\"; "]);
        assert_eq!(code("a(r#\"x \" unsafe\"#, b\"y\\\"unsafe\")"), ["a(\"\", b\"\")"]);
        assert_eq!(code("a /* un /* deep */ safe\n more */ b"), ["a ", " b"]);
        assert_eq!(code("\"one\ntwo\" three"), ["\"\"", " three"]);
    }

    #[test]
    fn quotes_that_open_no_string_are_told_apart() {
        assert_eq!(code("f('\"', b'\\'', '\\u{22}') + g"), ["f(' ', b' ', ' ') + g"]);
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), ["fn f<'a>(x: &'a str) {}"]);
        assert_eq!(code("var\"x\""), ["var\"\""]);
    }

    #[test]
    fn comments_are_kept_apart() {
        let source = Source::parse("a/src/b.rs", "x(); // SAFETY: why");
        assert_eq!(source.lines[0].comment, "// SAFETY: why");
    }

    fn test_lines(path: &str, text: &str) -> Vec<usize> {
        let source = Source::parse(path, text);
        source.numbered().filter(|(_, line)| line.test).map(|(number, _)| number).collect()
    }

    #[test]
    fn a_module_of_tests_is_marked_to_its_last_brace() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { {} }\n}\nfn c() {}\n";
        assert_eq!(test_lines("a/src/b.rs", text), [2, 3, 4, 5]);
    }

    #[test]
    fn a_single_item_for_tests_is_marked_alone() {
        let text =
            "#[cfg(test)]\nuse x::y;\nfn a() {}\n#[cfg(all(test, unix))]\nmod tests;\nfn c() {}";
        assert_eq!(test_lines("a/src/b.rs", text), [1, 2, 4, 5]);
    }

    #[test]
    fn files_of_tests_are_tests_from_top_to_bottom() {
        assert_eq!(test_lines("a/tests/b.rs", "a\nb"), [1, 2]);
        assert_eq!(test_lines("a/src/b/tests.rs", "a\nb"), [1, 2]);
        assert_eq!(test_lines("tests/src/b.rs", "a\nb"), [0; 0]);
    }
}
