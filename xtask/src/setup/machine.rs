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
    purpose: Purpose,
}

/// What needs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Every build.
    Build,
    /// The lab, which only root can have.
    Lab,
    /// The fuzz targets.
    Fuzz,
    /// Guests with other kernels: to unpack those.
    Guests,
    /// Images, and the tests of what is under `deploy/`. Only root is asked to have it.
    Deploy,
}

const TOOLS: [Tool; 16] = [
    // For ring, which comes as C and assembly.
    Tool { program: "cc", packages: &["gcc", "libc6-dev"], purpose: Purpose::Build },
    Tool { program: "ip", packages: &["iproute2"], purpose: Purpose::Lab },
    Tool { program: "nft", packages: &["nftables"], purpose: Purpose::Lab },
    // Name servers and clients of the lab; neither package starts a service.
    Tool { program: "dnsmasq", packages: &["dnsmasq-base"], purpose: Purpose::Lab },
    Tool { program: "dig", packages: &["bind9-dnsutils"], purpose: Purpose::Lab },
    // For libFuzzer.
    Tool { program: "c++", packages: &["g++"], purpose: Purpose::Fuzz },
    // For their corpora, and for kernels.
    Tool { program: "xz", packages: &["xz-utils"], purpose: Purpose::Fuzz },
    Tool { program: "strace", packages: &["strace"], purpose: Purpose::Deploy },
    Tool { program: "lz4", packages: &["lz4"], purpose: Purpose::Guests },
    Tool { program: "zstd", packages: &["zstd"], purpose: Purpose::Guests },
    Tool { program: "buildah", packages: &["buildah"], purpose: Purpose::Deploy },
    Tool { program: "podman", packages: &["podman", "crun"], purpose: Purpose::Deploy },
    Tool { program: "kustomize", packages: &["kustomize"], purpose: Purpose::Deploy },
    Tool { program: "systemd-analyze", packages: &["systemd"], purpose: Purpose::Deploy },
    Tool { program: "ansible-playbook", packages: &["ansible-core"], purpose: Purpose::Deploy },
    Tool { program: "ansible-lint", packages: &["ansible-lint"], purpose: Purpose::Deploy },
];
/// Packages that Debian 12 does not have, and that run there as Debian 13 has them.
const NEWER: [&str; 1] = ["kustomize"];

/// The facts that set-up's choices depend on.
pub(crate) struct Machine {
    /// The release of Debian, when it is one whose packages we know.
    pub(crate) debian: Option<Debian>,
    root: bool,
}

/// A release of Debian that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Debian {
    /// 12.
    Bookworm,
    /// 13.
    Trixie,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self { debian: known_debian(&release), root: is_root() }
    }

    pub(crate) fn may_use_apt(&self) -> bool {
        self.debian.is_some() && self.root
    }

    /// Of what is needed up to this purpose and asked of who is at work.
    pub(crate) fn missing_tools(&self, purpose: Purpose) -> Vec<Tool> {
        Self::lacks_for(if self.root { purpose } else { Purpose::Build })
    }

    /// Of what is needed up to this purpose.
    pub(crate) fn lacks_for(purpose: Purpose) -> Vec<Tool> {
        let needed = TOOLS.into_iter().filter(|tool| tool.purpose <= purpose);
        needed.filter(|tool| !is_program(tool.program)).collect()
    }

    /// Whether a package has to come from the next release.
    pub(crate) fn is_too_old_for(&self, package: &str) -> bool {
        self.debian == Some(Debian::Bookworm) && NEWER.contains(&package)
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
pub(crate) fn is_program(name: &str) -> bool {
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
fn known_debian(os_release: &str) -> Option<Debian> {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"'))
    };
    match (value("ID")?, value("VERSION_ID")?) {
        ("debian", "12") => Some(Debian::Bookworm),
        ("debian", "13") => Some(Debian::Trixie),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debians_that_were_tried_are_known() {
        let twelve = "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(known_debian(twelve), Some(Debian::Bookworm));
        assert_eq!(known_debian("VERSION_ID=\"13\"\nID=debian\n"), Some(Debian::Trixie));
    }

    #[test]
    fn derivatives_and_other_releases_are_not() {
        assert_eq!(known_debian("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"12\"\n"), None);
        assert_eq!(known_debian("ID=debian\nVERSION_ID=\"11\"\n"), None);
        assert_eq!(known_debian("ID=debian\nPRETTY_NAME=\"trixie/sid\"\n"), None);
        assert_eq!(known_debian(""), None);
    }

    #[test]
    fn the_next_release_helps_out_only_where_this_one_has_no_such_package() {
        let machine = |debian| Machine { debian: Some(debian), root: true };
        assert!(machine(Debian::Bookworm).is_too_old_for("kustomize"));
        assert!(!machine(Debian::Bookworm).is_too_old_for("podman"));
        assert!(!machine(Debian::Trixie).is_too_old_for("kustomize"));
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
        let user = Machine { debian: Some(Debian::Trixie), root: false };
        let asked = user.missing_tools(Purpose::Deploy);
        assert!(asked.iter().all(|tool| tool.purpose == Purpose::Build), "{asked:?}");
        assert!(!user.may_use_apt());
    }
}
