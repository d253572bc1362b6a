//! Debian packages, with one line of ours per step instead of apt's pages.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

use crate::workspace::say;

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
    pub(crate) fn unpack(&mut self, package: &str, directory: &Path) {
        self.update();
        say(&format!("set-up: unpacking {package} into {} (apt)", directory.display()));
        if let Err(error) = unpack(package, directory) {
            say(&format!("set-up: {error:#}"));
        }
    }

    fn update(&mut self) {
        if !self.updated {
            self.updated = true;
            say("set-up: fetching the package lists (apt)");
            tell_failure(&mut apt_get("update"));
        }
    }
}

fn unpack(package: &str, directory: &Path) -> Result<()> {
    let archive = directory.with_extension("deb");
    let new = directory.with_extension("new");
    for left in [&archive, &new] {
        // Of an earlier attempt; mostly there is none.
        let _ = fs::remove_dir_all(left);
        fs::create_dir_all(left).with_context(|| format!("cannot create {}", left.display()))?;
    }
    // Root's own directories are none for the user that apt downloads as.
    let mut download = apt_get("download");
    tell_failure(
        download.args(["-o", "APT::Sandbox::User=root"]).arg(package).current_dir(&archive),
    );
    for entry in fs::read_dir(&archive)? {
        let mut extract = Command::new("dpkg-deb");
        tell_failure(extract.arg("--extract").arg(entry?.path()).arg(&new));
        // Whole or not at all.
        fs::rename(&new, directory).context("cannot move what was unpacked")?;
    }
    fs::remove_dir_all(&archive).context("cannot remove the package's file")
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
    let program = command.get_program().display().to_string();
    match command.output() {
        Ok(Output { status, .. }) if status.success() => {}
        Ok(Output { status, stdout, stderr }) => {
            let text =
                format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            say(&format!("set-up: {program} failed ({status}):\n{}", last_lines(&text)));
        }
        Err(error) => say(&format!("set-up: {program} cannot be started: {error}")),
    }
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
