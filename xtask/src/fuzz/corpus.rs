//! The corpora that are committed: one archive per target, since each holds hundreds of inputs of a few octets
//! that nobody reads. What people read are the seeds.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::{Place, Target};
use crate::workspace::succeeds;

/// Unpacks an archive into a directory that then has nothing else in it.
pub(super) fn unpack(packed: &Path, into: &Path) -> Result<()> {
    empty(into)?;
    if !packed.is_file() {
        return Ok(());
    }
    tar(Command::new("tar").arg("-xJf").arg(packed).arg("-C").arg(into))
}

/// Writes to the archive as few inputs as reach what all that are known reach.
pub(super) fn keep(place: &Place) -> Result<()> {
    let Place { target: Target { name, longest, .. }, program, found, given, packed, kept, .. } =
        place;
    let fewest = kept.with_extension("fewest");
    empty(&fewest)?;
    let mut merge = Command::new(program);
    merge
        .args(["-merge=1", "-verbosity=0"])
        .arg(format!("-max_len={longest}"))
        .arg(&fewest)
        .args(given.iter().filter(|directory| directory.is_dir()))
        .arg(found);
    if !succeeds(&mut merge)? {
        bail!("{name}: the inputs cannot be merged");
    }
    if let Some(directory) = packed.parent() {
        fs::create_dir_all(directory)?;
    }
    // The same inputs are the same archive.
    let same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
    let small = ["--use-compress-program", "xz -9e", "-cf"];
    tar(Command::new("tar").args(same).args(small).arg(packed).arg("-C").arg(&fewest).arg("."))
}

fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())
}

fn tar(command: &mut Command) -> Result<()> {
    if succeeds(command)? { Ok(()) } else { bail!("tar has failed") }
}
