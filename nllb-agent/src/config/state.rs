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

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawState {
    file: Option<Spanned<String>>,
}

/// What is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The last known backends; `None` to keep nothing.
    pub file: Option<PathBuf>,
}

impl State {
    /// The checked section, with the place of the file.
    pub(super) fn check(document: &Place, raw: Option<At<RawState>>) -> Result<At<Self>, Fault> {
        let (place, RawState { file }) = match raw {
            Some(At { place, value }) => (place, value),
            None => (document.named("state"), RawState::default()),
        };
        match place.optional("file", file) {
            Some(raw) if raw.value == "off" => {
                Ok(At { place: raw.place, value: Self { file: None } })
            }
            Some(raw) => {
                let file = raw.check(absolute("/var/lib/nllb/table.json, or off"))?;
                file.check(|file| Ok(Self { file: Some(file) }))
            }
            None => {
                let value = Self { file: Some(PathBuf::from(DEFAULT_STATE_FILE)) };
                Ok(At { place: place.named("file"), value })
            }
        }
    }
}

/// Refuses a file that somebody needs for something else: the next table would take its name.
pub(super) fn check_apart<'a>(
    state: &At<State>,
    bpffs: &Path,
    needed: impl Iterator<Item = (&'static str, &'a Path)>,
) -> Result<(), Fault> {
    let At { place, value: State { file: Some(file) } } = state else {
        return Ok(());
    };
    let fault = |problem| Err(place.clone().fault(problem));
    // What is written first stands beside it.
    let mut beside = file.clone().into_os_string();
    beside.push(".new");
    let (bpffs, written) = (real(bpffs), [real(file), real(Path::new(&beside))]);
    if written.iter().any(|path| path.starts_with(&bpffs)) {
        return fault(Problem::AmongPins { path: file.clone() });
    }
    for (what, path) in needed {
        if written.contains(&real(path)) {
            return fault(Problem::Replaces { path: path.to_owned(), what });
        }
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
