//! The `state` section: what the agent keeps on disk.

use super::address::absolute;
use super::error::{Fault, Problem};
use super::place::{At, Place};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the last known backends are kept when nothing else is said.
pub const DEFAULT_STATE_FILE: &str = "/var/lib/nllb/table.json";
/// Where the journal is kept when nothing else is said: beside them, under this name.
const JOURNAL: &str = "journal.jsonl";
/// That is here by default.
pub const DEFAULT_JOURNAL: &str = "/var/lib/nllb/journal.jsonl";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawState {
    file: Option<Spanned<String>>,
    journal: Option<Spanned<String>>,
}

/// What is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The last known backends; `None` to keep nothing.
    pub file: Option<PathBuf>,
    /// What happened; `None` to keep nothing.
    pub journal: Option<PathBuf>,
}

/// Where each of them is said.
#[derive(Debug)]
pub(super) struct Places {
    file: Place,
    journal: Place,
}

impl State {
    /// The checked section, with the places of the files.
    pub(super) fn check(
        document: &Place,
        raw: Option<At<RawState>>,
    ) -> Result<(Self, Places), Fault> {
        let (place, RawState { file, journal }) = match raw {
            Some(At { place, value }) => (place, value),
            None => (document.named("state"), RawState::default()),
        };
        let default = Some(PathBuf::from(DEFAULT_STATE_FILE));
        let file = kept(&place, "file", "/var/lib/nllb/table.json, or off", file, default)?;
        let beside = file.value.as_ref().map(|file| file.with_file_name(JOURNAL));
        let example = "/var/lib/nllb/journal.jsonl, or off";
        let journal = kept(&place, "journal", example, journal, beside)?;
        let places = Places { file: file.place, journal: journal.place };
        Ok((Self { file: file.value, journal: journal.value }, places))
    }
}

/// A file that is written unless it is `off`.
fn kept(
    place: &Place,
    key: &str,
    example: &'static str,
    raw: Option<Spanned<String>>,
    default: Option<PathBuf>,
) -> Result<At<Option<PathBuf>>, Fault> {
    match place.optional(key, raw) {
        Some(raw) if raw.value == "off" => Ok(At { place: raw.place, value: None }),
        Some(raw) => raw.check(absolute(example))?.check(|file| Ok(Some(file))),
        None => Ok(At { place: place.named(key), value: default }),
    }
}

/// Refuses files that somebody needs for something else: what is written would take their names.
pub(super) fn check_apart<'a>(
    state: &'a State,
    places: Places,
    bpffs: &Path,
    needed: impl Iterator<Item = (&'static str, &'a Path)>,
) -> Result<(), Fault> {
    let State { file, journal } = state;
    let mut needed: Vec<_> = needed.collect();
    // What is written first stands beside the one, and what is older beside the other.
    let written = [(file, ".new", places.file), (journal, ".1", places.journal)];
    for (file, suffix, place) in written {
        let Some(file) = file else { continue };
        let mut beside = file.clone().into_os_string();
        beside.push(suffix);
        let (bpffs, written) = (real(bpffs), [real(file), real(Path::new(&beside))]);
        if written.iter().any(|path| path.starts_with(&bpffs)) {
            return Err(place.fault(Problem::AmongPins { path: file.clone() }));
        }
        for (what, path) in &needed {
            if written.contains(&real(path)) {
                let path = path.to_path_buf();
                return Err(place.fault(Problem::Replaces { path, what }));
            }
        }
        needed.push(("the table on disk", file));
    }
    Ok(())
}

/// Where a path leads, also when there is no file yet.
fn real(path: &Path) -> PathBuf {
    let of_directory = || {
        let directory = fs::canonicalize(path.parent()?).ok()?;
        Some(directory.join(path.file_name()?))
    };
    fs::canonicalize(path).ok().or_else(of_directory).unwrap_or_else(|| path.to_owned())
}
