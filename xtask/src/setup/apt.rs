//! Debian packages, with one line of ours per step instead of apt's pages.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result};

use crate::workspace::say;

/// The release after Debian 12, and the key that its packages are signed with, which 12 has as well.
const NEWER: &str = "trixie";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What of a package is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// It alone.
    Nothing,
    /// With it what it depends on and this machine has not.
    Dependencies,
}

/// apt-get, whose lists are fetched at most once.
#[derive(Default)]
pub(crate) struct Apt {
    updated: bool,
}

impl Apt {
    /// Installs packages. What fails is said and otherwise ignored: the caller looks at what is
    /// there afterwards anyway.
    pub(crate) fn install(&mut self, packages: impl IntoIterator<Item = impl Into<String>>) {
        let packages: Vec<String> = packages.into_iter().map(Into::into).collect();
        self.update();
        say(&format!("set-up: installing {} (apt)", packages.join(" ")));
        let mut command = apt_get("install");
        // Set-up adds to a machine. What would have to go is the administrator's to decide.
        command.args(["--yes", "--no-install-recommends", "--no-remove"]).args(&packages);
        tell_failure(&mut command);
    }

    /// Unpacks a package into a directory without installing it. What fails is said and otherwise
    /// ignored.
    pub(crate) fn unpack(&mut self, package: &str, directory: &Path, needs: Needs) {
        self.update();
        say(&format!("set-up: unpacking {package} into {} (apt)", directory.display()));
        if let Err(error) = unpack(package, directory, needs) {
            say(&format!("set-up: {error:#}"));
        }
    }

    /// Installs one package of the next release, whose other packages stay unknown to this machine.
    /// What fails is said and otherwise ignored, as above.
    pub(crate) fn install_newer(&mut self, package: &str) -> Result<()> {
        self.update();
        let Some(archive) = archive() else {
            say("set-up: apt does not say where Debian's packages are");
            return Ok(());
        };
        say(&format!("set-up: installing {package} of Debian {NEWER} (apt)"));
        let directory = env::temp_dir().join(format!("nllb-apt-{}", std::process::id()));
        let done = download_and_install(package, &archive, &directory);
        // It is gone when nothing could be made there.
        let _gone = fs::remove_dir_all(&directory);
        done.with_context(|| format!("cannot use {}", directory.display()))
    }

    fn update(&mut self) {
        if !self.updated {
            self.updated = true;
            say("set-up: fetching the package lists (apt)");
            tell_failure(&mut apt_get("update"));
        }
    }
}

fn unpack(package: &str, directory: &Path, needs: Needs) -> Result<()> {
    let archive = directory.with_extension("deb");
    let new = directory.with_extension("new");
    for left in [&archive, &new] {
        // Of an earlier attempt; mostly there is none.
        let _ = fs::remove_dir_all(left);
        fs::create_dir_all(left).with_context(|| format!("cannot create {}", left.display()))?;
    }
    let mut download = match needs {
        Needs::Nothing => apt_get("download"),
        Needs::Dependencies => {
            fs::create_dir(archive.join("partial")).context("cannot create a directory for apt")?;
            let mut install = apt_get("install");
            install.args(["--yes", "--no-install-recommends", "--no-remove", "--download-only"]);
            install.arg("-o").arg(format!("Dir::Cache::archives={}", archive.display()));
            install
        }
    };
    // Root's own directories are none for the user that apt downloads as.
    download.args(["-o", "APT::Sandbox::User=root"]).arg(package).current_dir(&archive);
    // Whole or not at all.
    if succeeds(&mut download) && extract(&archive, &new)? {
        fs::rename(&new, directory).context("cannot move what was unpacked")?;
    }
    fs::remove_dir_all(&archive).context("cannot remove what was downloaded")
}

/// Extracts every package of a directory into another; whether there was one and all went well.
fn extract(archive: &Path, into: &Path) -> Result<bool> {
    let mut done = false;
    for entry in fs::read_dir(archive)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            done = succeeds(Command::new("dpkg-deb").arg("--extract").arg(file).arg(into));
            if !done {
                break;
            }
        }
    }
    Ok(done)
}

/// With lists of its own, so that the machine's apt never offers packages of another release.
fn download_and_install(package: &str, archive: &str, directory: &Path) -> Result<()> {
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(directory.join(part))?;
    }
    let sources = directory.join("newer.list");
    fs::write(&sources, format!("deb [signed-by={KEYRING}] {archive} {NEWER} main\n"))?;
    let apart = |action: &str| {
        let mut command = apt_get(action);
        let option = |key: &str, path: &Path| format!("Dir::{key}={}", path.display());
        command
            .current_dir(directory)
            .args(["-o", &option("Etc::sourcelist", &sources)])
            .args(["-o", "Dir::Etc::sourceparts=/dev/null"])
            .args(["-o", &option("State::lists", &directory.join("lists"))])
            .args(["-o", &option("Cache", &directory.join("cache"))])
            .args(["-o", "APT::Sandbox::User=root"]);
        command
    };
    tell_failure(&mut apart("update"));
    tell_failure(apart("download").arg(package));
    let is_package = |path: &Path| path.extension().is_some_and(|extension| extension == "deb");
    let entries = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    if let Some(file) = entries.into_iter().find(|path| is_package(path)) {
        let mut command = apt_get("install");
        command.args(["--yes", "--no-install-recommends", "--no-remove"]).arg(file);
        tell_failure(&mut command);
    }
    Ok(())
}

/// Where this machine has its Debian packages from.
pub(crate) fn archive() -> Option<String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI)", "Label: Debian"]);
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim_end_matches('/').to_owned())
}

fn apt_get(action: &str) -> Command {
    let mut command = Command::new("apt-get");
    command
        // Another apt may be at work on a freshly started machine.
        .args(["--quiet", "-o", "DPkg::Lock::Timeout=300", action])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}

/// Runs a command silently; prints the end of what it wrote when it fails.
pub(crate) fn tell_failure(command: &mut Command) {
    let _told = succeeds(command);
}

/// The same, and whether it succeeded.
fn succeeds(command: &mut Command) -> bool {
    let program = command.get_program().display().to_string();
    match command.output() {
        Ok(Output { status, .. }) if status.success() => return true,
        Ok(Output { status, stdout, stderr }) => {
            let text =
                format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            say(&format!("set-up: {program} failed ({status}):\n{}", last_lines(&text)));
        }
        Err(error) => say(&format!("set-up: {program} cannot be started: {error}")),
    }
    false
}

/// Enough to hold the reason, not the whole log.
const LINES: usize = 20;

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let start = lines.len().saturating_sub(LINES);
    lines[start..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_only_the_end_is_shown() {
        let log: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        let shown = last_lines(&log);
        assert_eq!(shown.lines().count(), LINES);
        assert!(shown.ends_with("  line 99"), "{shown}");
    }
}
