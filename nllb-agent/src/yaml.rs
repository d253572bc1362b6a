//! Reading YAML so that a mistake can be named: line, column and the path of the key.
//!
//! The YAML library knows lines and columns, serde_path_to_error knows the path; neither knows
//! both. Used for the agent's configuration and for kubeconfig files.

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Location};

/// Why a text could not be read into a type.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlProblem {
    /// The text is not YAML, or YAML that the library refuses.
    #[error("cannot be read as YAML ({message}): check indentation, colons and quotes")]
    Syntax {
        /// What the parser said.
        message: String,
    },
    /// A key that the type does not have.
    #[error("unknown key \"{key}\"{}", suggestion(.key, .known))]
    UnknownKey {
        /// The key.
        key: String,
        /// The keys that are possible there.
        known: Vec<&'static str>,
    },
    /// A key stands twice in one mapping.
    #[error("the key stands twice in this mapping: remove one of them")]
    DuplicateKey,
    /// A value of another type.
    #[error("{found} is not {expected}: {advice}")]
    WrongType {
        /// The value as written.
        found: String,
        /// What is wanted.
        expected: String,
        /// What to do.
        advice: &'static str,
    },
}

/// A problem and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// Line, from 1; 0 when not known.
    pub line: u64,
    /// Column, from 1; 0 when not known.
    pub column: u64,
    /// Path of the key, like `pools[0].probe.rise`; empty for the document.
    pub key: String,
    /// What is wrong.
    pub problem: YamlProblem,
}

/// Reads `text` into `T`.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let mut key = String::new();
    let options =
        serde_saphyr::options! { with_snippet: false, strict_booleans: true, emit_comments: false };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |source| {
        serde_path_to_error::deserialize(source).map_err(|error| {
            key = path(error.path());
            error.into_inner()
        })
    });
    read.map_err(|error| explain(text, &error, key))
}

/// The path without the steps that only exist inside the span wrapper.
fn path(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out.push_str(&format!("[{index}]")),
            Segment::Map { key } if key == "value" => {}
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Segment::Unknown => {}
        }
    }
    out
}

fn explain(text: &str, error: &Error, key: String) -> YamlError {
    let error = error.without_snippet();
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let (line, column) = (location.line(), location.column());
    let found = || quoted_at(text, line, column);
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum is open ended")]
    let (key, problem) = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            // The path of an unknown key ends in the key itself; the mapping is what is named.
            let parent = key.strip_suffix(field.as_str()).unwrap_or(&key);
            let parent = parent.strip_suffix('.').unwrap_or(parent).to_owned();
            (parent, YamlProblem::UnknownKey { key: field.clone(), known: expected.clone() })
        }
        Error::DuplicateMappingKey { key: Some(name), .. } => {
            let parent = key.strip_suffix(name.as_str()).unwrap_or(&key);
            let parent = parent.strip_suffix('.').unwrap_or(parent);
            let key = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            (key, YamlProblem::DuplicateKey)
        }
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => (
            key,
            YamlProblem::WrongType { found: found(), expected: plain(expected), advice: WRITE_ONE },
        ),
        Error::InvalidScalar { ty, .. } => {
            (key, YamlProblem::WrongType { found: found(), expected: plain(ty), advice: WRITE_ONE })
        }
        Error::InvalidBooleanStrict { .. } => (
            key,
            YamlProblem::WrongType {
                found: found(),
                expected: "a boolean".to_owned(),
                advice: "write true or false",
            },
        ),
        Error::Unexpected { expected, .. } => (
            key,
            YamlProblem::WrongType { found: found(), expected: plain(expected), advice: WRITE_ONE },
        ),
        other => (key, YamlProblem::Syntax { message: one_line(&message(other)) }),
    };
    YamlError { line, column, key, problem }
}

const WRITE_ONE: &str = "write one";

/// What the library says, without its position, which is kept apart.
fn message(error: &Error) -> String {
    use serde_saphyr::{MessageFormatter, UserMessageFormatter};
    UserMessageFormatter.format_message(error).into_owned()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The name of a type as a user would say it.
fn plain(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "unsigned integer" => "a whole number",
        "f32" | "f64" | "float" => "a number",
        "bool" => "a boolean",
        "a sequence" | "sequence start" => "a list",
        "mapping start" | "a map" | "map" => "a mapping",
        "a string" | "string" | "string scalar" => "a string",
        other if other.starts_with("struct ") => "a mapping",
        other => other,
    }
    .to_owned()
}

/// The text from that position to the end of its line, cut short and quoted.
fn quoted_at(text: &str, line: u64, column: u64) -> String {
    const LONGEST: usize = 40;
    let at = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    let rest: String = text
        .lines()
        .nth(at(line))
        .unwrap_or_default()
        .chars()
        .skip(at(column))
        .take(LONGEST)
        .collect();
    let rest = rest.split(" #").next().unwrap_or_default().trim().trim_matches('"');
    if rest.is_empty() { "nothing".to_owned() } else { format!("\"{rest}\"") }
}

/// How to go on after an unknown word: the nearest known one, or all of them.
pub(crate) fn suggestion(word: &str, known: &[&'static str]) -> String {
    match nearest(word, known) {
        Some(near) => format!(": did you mean \"{near}\"?"),
        None => format!(": known here are {}", known.join(", ")),
    }
}

/// The known word that is at most a third of its letters away.
fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let word = word.to_lowercase();
    known
        .iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, in one row of memory.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_gets_its_neighbour_and_a_far_one_the_whole_list() {
        let known = ["addresses", "kind", "pool"];
        assert_eq!(suggestion("adresses", &known), ": did you mean \"addresses\"?");
        assert_eq!(suggestion("Pool", &known), ": did you mean \"pool\"?");
        assert_eq!(suggestion("zzz", &known), ": known here are addresses, kind, pool");
    }
}
