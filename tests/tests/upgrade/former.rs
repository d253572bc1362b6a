//! An agent of an earlier commit, built from source: what a node has that is upgraded.
//!
//! Its target directory is its own, and what is built on the way there lies beside what this workspace builds, so
//! that dependencies are built once for both. Versions of their own keep the packages apart.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nllb_common::ABI_VERSION;
use nllb_lab::lab::say_skipped;

/// The commit: the last one that builds before the latest change of the kernel programs. To be replaced by
/// the last release, of which more nodes have the data path than of any commit.
const COMMIT: &str = "3aac0b7";

/// An earlier agent.
pub(crate) struct Former {
    pub(crate) program: PathBuf,
    /// What it calls itself.
    pub(crate) version: String,
    /// The version of its maps' layout.
    pub(crate) layout: u32,
}

impl Former {
    /// Builds the agent of [`COMMIT`], with another version of the layout if that is wanted; says why not
    /// where the commit is not known.
    pub(crate) fn build_or_skip(layout: Option<u32>) -> Option<Self> {
        let known = git(&["rev-parse", "--verify", "--quiet", &format!("{COMMIT}^{{commit}}")]);
        let Ok(commit) = known else {
            say_skipped(&format!("no commit {COMMIT} here; git fetch --unshallow brings it"));
            return None;
        };
        Some(Self::build(commit.trim(), layout).expect("the earlier agent can be built"))
    }

    fn build(commit: &str, layout: Option<u32>) -> Result<Self> {
        let layout = layout.unwrap_or(ABI_VERSION);
        let version = format!("0.0.0-layout{layout}");
        let directory = directory().join(format!("{commit}-layout{layout}"));
        if !directory.exists() {
            // Whole or not at all, and its files are never newer than what was built from them.
            let new = directory.with_extension("new");
            unpack(commit, &new)?;
            set_layout(&new, layout)?;
            set_version(&new, &version)?;
            fs::rename(&new, &directory)?;
        }
        let target = directory.join("target");
        let mut cargo = Command::new(env!("CARGO"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_build(name)) {
            cargo.env_remove(name);
        }
        cargo.args(["build", "--package", "nllb-agent", "--bin", "nllb"]).current_dir(&directory);
        // Where everything goes but the program. A cargo before 1.91 does not know it and builds all anew.
        cargo.env("CARGO_BUILD_BUILD_DIR", outer_target()).env("CARGO_TARGET_DIR", &target);
        run(&mut cargo)?;
        Ok(Self { program: target.join("debug/nllb"), version, layout })
    }
}

/// Lays out the files of a commit.
fn unpack(commit: &str, directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    let archive = directory.join("archive.tar");
    git(&["archive", &format!("--output={}", archive.display()), commit])?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(directory))?;
    fs::remove_file(archive).context("cannot remove the archive")
}

/// What a developer does who changes the layout.
fn set_layout(directory: &Path, layout: u32) -> Result<()> {
    let begin = "pub const ABI_VERSION: u32 = ";
    edit(&directory.join("nllb-common/src/lib.rs"), |text| {
        let (before, rest) = text.split_once(begin).context("no version of the layout")?;
        let (_, after) = rest.split_once(';').context("no version of the layout")?;
        Ok(format!("{before}{begin}{layout};{after}"))
    })
}

/// Changes the version of our packages, also where it is locked.
fn set_version(directory: &Path, version: &str) -> Result<()> {
    let line =
        |text: &str| text.lines().find(|line| line.starts_with("version = ")).map(str::to_owned);
    let new = format!("version = \"{version}\"");
    edit(&directory.join("Cargo.toml"), |text| {
        let old = line(&text).context("the workspace has no version")?;
        Ok(text.replacen(&old, &new, 1))
    })?;
    edit(&directory.join("Cargo.lock"), |text| {
        let package = |package: &str| match line(package) {
            // Those of others name the registry they are from.
            Some(old) if !package.contains("\nsource = ") => package.replacen(&old, &new, 1),
            _ => package.to_owned(),
        };
        let (head, packages) = text.split_once("\n\n").context("no packages")?;
        let packages: Vec<_> = packages.split("\n\n").map(package).collect();
        Ok(format!("{head}\n\n{}", packages.join("\n\n")))
    })
}

fn edit(file: &Path, change: impl FnOnce(String) -> Result<String>) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let text = change(text).with_context(|| file.display().to_string())?;
    fs::write(file, text).with_context(|| file.display().to_string())
}

/// Where the earlier sources are, and the programs that were built from them.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("former")
}

/// The directory into which this test was built.
fn outer_target() -> &'static Path {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(temporary)
}

/// What cargo tells of the package that it runs: build scripts that look at it would run anew.
fn is_of_this_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

fn git(args: &[&str]) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    run(Command::new("git").args(args).current_dir(root))
}

/// Runs a command that must succeed; gives what it printed.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
