//! What this machine is, which programs it has, and what set-up may do on it.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::workspace::{Workspace, say};

/// A program that has to be there, and the Debian packages that bring it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) packages: &'static [&'static str],
    /// Only the privileged tests use it, and those run only as root.
    root_only: bool,
}

const TOOLS: [Tool; 3] = [
    // For ring, which comes as C and assembly.
    Tool { program: "cc", packages: &["gcc", "libc6-dev"], root_only: false },
    Tool { program: "ip", packages: &["iproute2"], root_only: true },
    Tool { program: "nft", packages: &["nftables"], root_only: true },
];

/// The facts that set-up's choices depend on.
pub(crate) struct Machine {
    /// A Debian whose packages we know.
    pub(crate) debian: bool,
    root: bool,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self { debian: is_known_debian(&release), root: is_root() }
    }

    pub(crate) fn may_use_apt(&self) -> bool {
        self.debian && self.root
    }

    pub(crate) fn missing_tools(&self) -> Vec<Tool> {
        let needed = TOOLS.into_iter().filter(|tool| self.root || !tool.root_only);
        needed.filter(|tool| !is_program(tool.program)).collect()
    }

    /// Asks rustup for the library sources, unless someone said that nothing is to be downloaded.
    /// False when it did not give them.
    pub(crate) fn add_rust_src(&self, workspace: &Workspace) -> bool {
        if !may_download(|name| env::var(name).ok()) || !is_program("rustup") {
            return false;
        }
        say("set-up: adding rust-src to the active toolchain (rustup)");
        let added = Command::new("rustup")
            .args(["component", "add", "rust-src"])
            .current_dir(&workspace.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let added = added.is_ok_and(|status| status.success());
        if !added {
            say("set-up: rustup cannot add rust-src here; trying the distribution's compiler");
        }
        added
    }
}

/// Whoever forbids rustup or cargo to fetch things by themselves means us too.
fn may_download(variable: impl Fn(&str) -> Option<String>) -> bool {
    let forbids = |name, value| variable(name).is_some_and(|set| set == value);
    !forbids("RUSTUP_AUTO_INSTALL", "0") && !forbids("CARGO_NET_OFFLINE", "true")
}

/// The kernel gives a process's directory to the user that it acts as.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Users' PATH often lacks the directories for administrators.
pub(super) fn is_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/sbin", "/sbin"].map(Into::into);
    env::split_paths(&path)
        .chain(administration)
        .any(|directory| is_executable(&directory.join(name)))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

/// Derivatives carry other packages, so only Debian itself, and the releases that were tried.
fn is_known_debian(os_release: &str) -> bool {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"'))
    };
    value("ID") == Some("debian") && matches!(value("VERSION_ID"), Some("12" | "13"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debians_that_were_tried_are_known() {
        assert!(is_known_debian("NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n"));
        assert!(is_known_debian("VERSION_ID=\"13\"\nID=debian\n"));
    }

    #[test]
    fn derivatives_and_other_releases_are_not() {
        assert!(!is_known_debian("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"12\"\n"));
        assert!(!is_known_debian("ID=debian\nVERSION_ID=\"11\"\n"));
        assert!(!is_known_debian("ID=debian\nPRETTY_NAME=\"trixie/sid\"\n"));
        assert!(!is_known_debian(""));
    }

    #[test]
    fn rustup_is_not_asked_where_downloads_are_forbidden() {
        let with = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_owned())
        };
        assert!(may_download(|_| None));
        assert!(may_download(with("RUSTUP_AUTO_INSTALL", "1")));
        assert!(!may_download(with("RUSTUP_AUTO_INSTALL", "0")));
        assert!(!may_download(with("CARGO_NET_OFFLINE", "true")));
    }

    #[test]
    fn only_root_needs_what_only_root_can_use() {
        let user = Machine { debian: true, root: false };
        assert!(user.missing_tools().iter().all(|tool| !tool.root_only));
        assert!(!user.may_use_apt());
    }
}
