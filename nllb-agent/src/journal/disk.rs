//! The journal on disk: lines of JSON in two files of a bounded length, of which the older is given up when
//! the newer is full.
//!
//! Lines are only ever added, so a crash can tear the last one and no other; what is no line of a journal is
//! skipped. What is no journal at all is never written to, whoever named it.

use serde::Deserialize;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The length of one of the two files.
const LONGEST_FILE: u64 = 512 << 10;
/// No entry comes near it.
const LONGEST_LINE: u64 = 8 << 10;
/// A file that is longer was not written by any agent, and the rest is not looked at.
const MOST_READ: u64 = 4 << 20;
/// As many zeros may stand before the first line, about a block of a file system.
const MOST_ZEROS: u64 = 64 << 10;
/// How every line begins.
const HEAD: &[u8] = b"{\"seq\":";
/// Numbers beyond it are not the same to every reader of JSON.
const LARGEST_SEQ: u64 = 1 << 53;
/// Where numbers jump further than this, one of them is damaged.
const LONGEST_GAP: u64 = 1 << 20;

/// What is read of a line to know that it is one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    seq: u64,
    #[serde(rename = "timeMs")]
    _time_ms: i64,
    #[serde(rename = "what")]
    _what: String,
}

/// Why the journal cannot be used. One line that names it.
#[derive(Debug, thiserror::Error)]
pub enum Ignored {
    /// It cannot be read.
    #[error("{}: the journal cannot be read ({source})", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else has the name.
    #[error(
        "{}: it is no journal of an agent, so it stays as it is: remove it or name another file in \
         state.journal",
        file.display()
    )]
    NotAJournal {
        /// The file.
        file: PathBuf,
    },
}

/// Why entries could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What has the name is not written to.
    #[error(transparent)]
    Taken(#[from] Ignored),
    /// The disk.
    #[error("cannot write {}: {source}", file.display())]
    Disk {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What reading came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The number of the last entry; 0 when there is none.
    pub newest: u64,
    /// Pieces that are no entries.
    pub skipped: u64,
}

/// Where the older entries are.
#[must_use]
pub fn older(file: &Path) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Gives every entry to `each`, the oldest first, with its number and as a line without its end. No file is an
/// empty journal. Blocks.
///
/// # Errors
/// When there is something that cannot be read.
pub fn read(file: &Path, mut each: impl FnMut(u64, &str)) -> Result<Read, Ignored> {
    let mut read = Read::default();
    for file in [older(file), file.to_owned()] {
        let failed = |source| Ignored::Read { file: file.clone(), source };
        let mut options = OpenOptions::new();
        let Some(opened) = open(&file, options.read(true))? else { continue };
        let mut lines = BufReader::new(opened.take(MOST_READ));
        let mut line = Vec::new();
        while next_line(&mut lines, &mut line).map_err(failed)? {
            match seq_of(&line, read.newest) {
                Some((seq, text)) => {
                    each(seq, text);
                    read.newest = seq;
                }
                None if line.iter().all(|byte| matches!(byte, b'\n' | b'\0')) => {}
                None => read.skipped += 1,
            }
        }
    }
    Ok(read)
}

/// Reads the next line, with its end; of one that is too long the beginning, which is no entry. False at the end.
fn next_line(lines: &mut impl io::BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = lines.by_ref().take(LONGEST_LINE).read_until(b'\n', line)?;
    if read as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
        lines.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

/// The number of an entry that may follow `newest`, and its text.
fn seq_of(line: &[u8], newest: u64) -> Option<(u64, &str)> {
    let text = std::str::from_utf8(line).ok()?.trim_matches(['\n', '\0']);
    let Head { seq, .. } = serde_json::from_str(text).ok()?;
    let follows = newest == 0 || (seq > newest && seq - newest <= LONGEST_GAP);
    (follows && (1..=LARGEST_SEQ).contains(&seq)).then_some((seq, text))
}

/// Adds lines, and brings them to the disk. Blocks, for as long as that takes.
///
/// # Errors
/// When that failed: then none is added, as far as the disk lets that be done. And when something else has the
/// name: that is as it was.
pub fn append(file: &Path, lines: &[Arc<str>]) -> Result<(), WriteError> {
    let mut bytes = Vec::new();
    for line in lines.iter().filter(|line| (line.len() as u64) < LONGEST_LINE) {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    let failed = |source| WriteError::Disk { file: file.to_owned(), source };
    if let Some(directory) = file.parent().filter(|directory| !directory.is_dir()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    let mut opened = open_to_append(file)?;
    let mut length = opened.metadata().map_err(failed)?.len();
    if length > 0 && length + bytes.len() as u64 > LONGEST_FILE {
        let older = older(file);
        // It must be a journal too, or it would be lost.
        let mut options = OpenOptions::new();
        open(&older, options.read(true))?;
        fs::rename(file, older).map_err(failed)?;
        opened = open_to_append(file)?;
        length = opened.metadata().map_err(failed)?.len();
    }
    let added = add(&mut opened, length, &bytes);
    if added.is_err() {
        // Half a line would be skipped by readers, but a full disk is better off without. That may fail as well.
        let _cut = opened.set_len(length);
    }
    added.map_err(failed)
}

fn add(file: &mut File, length: u64, bytes: &[u8]) -> io::Result<()> {
    if length < HEAD.len() as u64 {
        // Less than what tells whose file it is.
        file.set_len(0)?;
    } else {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            // The end of one that was torn.
            file.write_all(b"\n")?;
        }
    }
    file.write_all(bytes)?;
    file.sync_data()
}

fn open_to_append(file: &Path) -> Result<File, WriteError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let opened = open(file, &options)?;
    // It is made when it is not there.
    opened.ok_or_else(|| WriteError::Disk {
        file: file.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    })
}

/// Opens a journal; `None` when there is no file.
fn open(file: &Path, options: &OpenOptions) -> Result<Option<File>, Ignored> {
    let failed = |source| Ignored::Read { file: file.to_owned(), source };
    // A pipe that somebody left there would make the agent wait for its other end.
    let opened = options.clone().custom_flags(libc::O_NONBLOCK).open(file);
    let mut opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let stranger = || Ignored::NotAJournal { file: file.to_owned() };
    if !opened.metadata().map_err(failed)?.is_file() {
        return Err(stranger());
    }
    let mut head = Vec::new();
    (&opened).take(HEAD.len() as u64).read_to_end(&mut head).map_err(failed)?;
    if head.first() == Some(&0) {
        // What was not brought to the disk before a loss of power is zero on some file systems.
        (&opened).take(MOST_ZEROS).read_to_end(&mut head).map_err(failed)?;
        let start = head.iter().position(|byte| !matches!(byte, b'\0' | b'\n'));
        head.drain(..start.unwrap_or(head.len()));
    }
    opened.rewind().map_err(failed)?;
    let own = head.starts_with(HEAD) || HEAD.starts_with(&head);
    if own { Ok(Some(opened)) } else { Err(stranger()) }
}

#[cfg(test)]
mod tests;
