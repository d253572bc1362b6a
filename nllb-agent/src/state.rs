//! The table on disk: the last known backends, for a node that boots while one of them is dead or
//! while nobody resolves the control plane's name.
//!
//! It is a memory and never an authority: what cannot be read is ignored with one line, what is old
//! loses its observations, and a disk that cannot be written costs one warning. What is no table is
//! never replaced, whoever named it. JSON, because it is
//! some kilobytes and a person may want to look.
//!
//! A power loss leaves the old file or the new one: the new one is written beside it, brought to the
//! disk, and only then gets the name.

mod disk;
mod document;
mod pace;

pub use pace::{Last, should_write};

use crate::text::OneLine;
use disk::{Disk, RealDisk};
use document::Document;
use nllb_core::{Recollection, Remembered};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The format that is written and read.
const VERSION: u64 = 1;
/// All that 128 backends with 64 names of the greatest length can take is half of it.
const LARGEST: u64 = 4 << 20;
/// Older observations say nothing: API servers are replaced within days.
const STALE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A clock that was set back by this much is no reason to forget.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// What was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The backends, and what clients dial. Backends without state, round-trip time, names and version
    /// when they are too old.
    pub known: Recollection,
    /// Counts the writes of all agents so far.
    pub generation: u64,
    /// Since when it stands there; zero when it is from the future.
    pub age: Duration,
    /// Why the observations in it are not used, in one line that names the file.
    pub outdated: Option<String>,
}

/// Why a file is ignored. One line that names it.
#[derive(Debug, thiserror::Error)]
#[error("{}", OneLine(format_args!("{}: the table on disk is ignored: {reason}", file.display())))]
pub struct Ignored {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It cannot be read.
    #[error("it cannot be read ({0})")]
    Read(#[from] io::Error),
    /// A directory, a pipe or the like.
    #[error("it is not a regular file")]
    NotAFile,
    /// Something else than a table, which is therefore not replaced.
    #[error("it is no table of an agent, so it stays as it is: remove it or name another file")]
    NotATable,
    /// More than any agent writes.
    #[error("it has more than {LARGEST} bytes")]
    TooLarge,
    /// Of another agent.
    #[error("it is of format {found}, this agent knows {VERSION}")]
    Format {
        /// As written.
        found: u64,
    },
    /// Not what an agent writes.
    #[error("it is damaged ({0})")]
    Damaged(String),
}

/// Why the table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What has the name is not replaced. The same line as when it was read.
    #[error(transparent)]
    Taken(#[from] Ignored),
    /// The disk.
    #[error("cannot write {}: {what}: {source}", file.display())]
    Step {
        /// The file.
        file: PathBuf,
        /// The step that failed.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads the table; `None` when there is none. Blocks.
///
/// # Errors
/// When there is a file that cannot be used.
pub fn read(file: &Path, now: SystemTime) -> Result<Option<Kept>, Ignored> {
    let ignored = |reason| Ignored { file: file.to_owned(), reason };
    let Some(text) = load(file).map_err(ignored)? else {
        return Ok(None);
    };
    let document = document::parse(&text).map_err(ignored)?;
    Ok(Some(judge(file, document, now)))
}

/// The text of a table, good or not; `None` when there is no file.
fn load(file: &Path) -> Result<Option<Vec<u8>>, Reason> {
    let Some((opened, mut text)) = open(file)? else {
        return Ok(None);
    };
    opened.take(LARGEST + 1 - text.len() as u64).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(Reason::TooLarge);
    }
    Ok(Some(text))
}

/// Opens a table and reads its first bytes, which tell that it is one. One that was cut there is
/// nobody's, but an empty file is no loss.
fn open(file: &Path) -> Result<Option<(File, Vec<u8>)>, Reason> {
    // A pipe that somebody left there would make an agent wait for its other end.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file);
    let mut opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !opened.metadata()?.is_file() {
        return Err(Reason::NotAFile);
    }
    let mut head = Vec::new();
    opened.by_ref().take(document::HEAD).read_to_end(&mut head)?;
    if head.is_empty() || document::is_table(&head) {
        Ok(Some((opened, head)))
    } else {
        Err(Reason::NotATable)
    }
}

/// Takes the observations out of a table whose time makes them worthless. Addresses stay, since
/// nothing better is known, and so does what an operator ordered.
fn judge(file: &Path, document: Document, now: SystemTime) -> Kept {
    let Document { generation, written_at, mut known } = document;
    let age = now.duration_since(written_at);
    let outdated = match &age {
        Ok(age) if *age > STALE => {
            let days = age.as_secs() / (24 * 3600);
            Some(format!("{}: the table on disk is {days} days old", file.display()))
        }
        Err(ahead) if ahead.duration() > CLOCK_SLACK => {
            let ahead = ahead.duration().as_secs();
            Some(format!("{}: the table on disk is from {ahead} s in the future", file.display()))
        }
        Ok(_) | Err(_) => None,
    };
    let outdated = outdated.map(|why| format!("{why}: of it only addresses and drains are used"));
    if outdated.is_some() {
        known.backends = known.backends.into_iter().map(forgotten).collect();
    }
    Kept { known, generation, age: age.unwrap_or_default(), outdated }
}

fn forgotten(backend: Remembered) -> Remembered {
    let Remembered { pool, addr, state: _, drained, close_after, rtt: _, names: _, version: _ } =
        backend;
    let state = nllb_common::maps::State::Unknown;
    let (rtt, names, version) = (None, Vec::new(), None);
    Remembered { pool, addr, state, drained, close_after, rtt, names, version }
}

/// Writes the table in one step as others see it. Blocks, for as long as the disk takes.
///
/// # Errors
/// When it could not be written, or when something else than a table has the name; that is as it was.
pub fn write(
    file: &Path,
    generation: u64,
    known: &Recollection,
    now: SystemTime,
) -> Result<(), WriteError> {
    open(file).map_err(|reason| match reason {
        Reason::Read(source) => {
            WriteError::Step { file: file.to_owned(), what: "reading what is there", source }
        }
        Reason::NotAFile
        | Reason::NotATable
        | Reason::TooLarge
        | Reason::Format { .. }
        | Reason::Damaged(_) => Ignored { file: file.to_owned(), reason }.into(),
    })?;
    write_to(&mut RealDisk, file, generation, known, now)
}

fn write_to<D: Disk>(
    disk: &mut D,
    file: &Path,
    generation: u64,
    known: &Recollection,
    now: SystemTime,
) -> Result<(), WriteError> {
    let failed = |what| move |source| WriteError::Step { file: file.to_owned(), what, source };
    let directory = file.parent().unwrap_or(Path::new("/"));
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = directory.join(name);
    let text = document::render(generation, known, now);
    disk.make_directory(directory).map_err(failed("its directory"))?;
    let written = (|| {
        let mut new = disk.create(&beside).map_err(failed("a file beside it"))?;
        disk.write(&mut new, text.as_bytes()).map_err(failed("its content"))?;
        disk.sync(&new).map_err(failed("bringing it to the disk"))?;
        disk.rename(&beside, file).map_err(failed("giving it its name"))
    })();
    if written.is_err() {
        // It may be what fills the disk. It is in nobody's way when it cannot be removed.
        let _removed = disk.remove(&beside);
    }
    written?;
    disk.sync_directory(directory).map_err(failed("bringing its name to the disk"))
}

#[cfg(test)]
mod tests;
