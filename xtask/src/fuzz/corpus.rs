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
    let Place { target: Target { name, longest, .. }, found, given, packed, kept, .. } = place;
    let fewest = kept.with_extension("fewest");
    empty(&fewest)?;
    let mut merge = place.command();
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

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::PathBuf};

    use super::*;
    use crate::fuzz::TARGETS;

    /// More is not for a repository.
    const LARGEST: u64 = 1 << 20;
    /// Keeps of all inputs those whose names begin with `new`, as merging keeps what reaches something.
    const MERGES: &str = r#"#!/bin/sh
        [ "$1 $2 $4" = "--target=configuration -merge=1 -max_len=4096" ] || exit 9
        shift 4; into=$1; shift
        for from; do [ -d "$from" ] && cp "$from"/new* "$into"; done; exit 0"#;

    /// A target that has found these inputs, with a program that does this.
    fn place(root: &Path, program: &str, inputs: &[(&str, &str)]) -> Place {
        let of = |name: &str| root.join(name);
        fs::create_dir_all(of("found")).expect("made");
        for (name, content) in inputs {
            fs::write(of("found").join(name), content).expect("written");
        }
        fs::write(of("program"), program).expect("written");
        fs::set_permissions(of("program"), Permissions::from_mode(0o755)).expect("ours");
        Place {
            target: &TARGETS[0],
            program: of("program"),
            found: of("found"),
            given: vec![of("seeds"), of("kept")],
            packed: of("corpus/configuration.tar.xz"),
            kept: of("kept"),
            log: of("log"),
            broken: String::new(),
        }
    }

    fn contents(directory: &Path) -> Vec<(PathBuf, String)> {
        let files = fs::read_dir(directory).expect("readable").map(|entry| {
            let path = entry.expect("readable").path();
            (path.file_name().expect("a name").into(), fs::read_to_string(&path).expect("text"))
        });
        let mut files: Vec<_> = files.collect();
        files.sort();
        files
    }

    #[test]
    fn what_reaches_something_is_kept_and_packed_alike_each_time() {
        if !crate::setup::machine::is_program("xz") {
            return println!("skipped: no xz");
        }
        let root = tempfile::tempdir().expect("a directory");
        let inputs = [("new1", "lease: 3s"), ("new2", "{"), ("old", "x")];
        let place = place(root.path(), MERGES, &inputs);
        let archive = || fs::read(&place.packed).expect("an archive");
        keep(&place).expect("kept");
        let first = archive();
        unpack(&place.packed, &place.kept).expect("unpacked");
        let kept = [("new1".into(), "lease: 3s".into()), ("new2".into(), "{".into())];
        assert_eq!(contents(&place.kept), kept);

        keep(&place).expect("kept again");
        assert!(archive() == first, "the archive differs");
    }

    #[test]
    fn a_merge_that_fails_leaves_the_archive_as_it_is() {
        let root = tempfile::tempdir().expect("a directory");
        let place = place(root.path(), "#!/bin/sh\nexit 1\n", &[("new1", "x")]);
        fs::create_dir_all(place.packed.parent().expect("a parent")).expect("made");
        fs::write(&place.packed, "before").expect("written");
        let error = keep(&place).expect_err("it fails").to_string();
        assert_eq!(error, "configuration: the inputs cannot be merged");
        assert_eq!(fs::read_to_string(&place.packed).expect("there"), "before");
    }

    #[test]
    fn the_corpora_are_small() {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
        let sizes = TARGETS.iter().map(|target| {
            let archive = committed.join(format!("{}.tar.xz", target.name));
            fs::metadata(&archive)
                .unwrap_or_else(|error| panic!("{}: {error}", archive.display()))
                .len()
        });
        let sum: u64 = sizes.sum();
        assert!(sum < LARGEST, "{sum} octets: cargo xtask fuzz --keep with fewer inputs");
    }
}
