//! Finds the cgroup to attach to, and the cgroups whose sockets must be covered.
//!
//! A container with a private cgroup namespace takes its own cgroup for the root, so pid 1's view of
//! the mounts is asked as well, and the root is known by its inode.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::AttachError;

/// Inode number of the root of a cgroup2 hierarchy; the kernel gives out ids from 1.
const ROOT_CGROUP_INODE: u64 = 1;

/// Commands that run a kubelet: on its own, or inside the distribution's one binary.
const KUBELETS: [&str; 4] = ["kubelet", "k3s-server", "k3s-agent", "kubelite"];

/// Where to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupChoice {
    /// The root of the host's cgroup2 hierarchy, wherever it is mounted.
    Auto,
    /// This cgroup.
    Path(PathBuf),
}

/// A cgroup, open.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) path: PathBuf,
    /// The cgroup2 mount it was found under.
    pub(super) mount: PathBuf,
    pub(super) id: u64,
    pub(super) dir: File,
    choice: CgroupChoice,
}

impl Cgroup {
    /// Finds and opens the cgroup to attach to.
    pub fn find(choice: &CgroupChoice) -> Result<Self, AttachError> {
        let candidates = match choice {
            CgroupChoice::Path(path) => vec![(path.clone(), cgroup_mount_of(path))],
            CgroupChoice::Auto => {
                let mut mounts = cgroup2_mounts("/proc/self/mountinfo", Path::new("/"));
                mounts.extend(cgroup2_mounts("/proc/1/mountinfo", Path::new("/proc/1/root")));
                mounts.into_iter().map(|mount| (mount.clone(), mount)).collect()
            }
        };
        let mut found = None;
        for (path, mount) in candidates {
            let opened = File::open(&path).and_then(|dir| Ok((dir.metadata()?.ino(), dir)));
            match opened {
                Ok((id, dir)) => {
                    let cgroup = Self { path, mount, id, dir, choice: choice.clone() };
                    if cgroup.is_root() || matches!(choice, CgroupChoice::Path(_)) {
                        return Ok(cgroup);
                    }
                    found.get_or_insert(cgroup);
                }
                Err(source) if matches!(choice, CgroupChoice::Path(_)) => {
                    return Err(AttachError::Cgroup { path, source });
                }
                Err(_) => {}
            }
        }
        found.ok_or(AttachError::NoCgroup2)
    }

    /// Path of the cgroup.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the root of the hierarchy, so that no socket of the host is outside.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.id == ROOT_CGROUP_INODE
    }

    /// What keeps the data path from serving the whole host, one line each.
    pub(super) fn shortcomings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.choice != CgroupChoice::Auto {
            return lines;
        }
        if !self.is_root() {
            lines.push(format!(
                "{} is not the root of the host's cgroups, sockets outside it are not served; run \
                 with the host's cgroup namespace, or mount the host's /sys/fs/cgroup",
                self.path.display()
            ));
        }
        // Not to be read without the host's pid namespace; then nothing is known.
        let netns = |pid| fs::metadata(format!("/proc/{pid}/ns/net")).map(|file| file.ino());
        if let (Ok(own), Ok(host)) = (netns("self"), netns("1")) {
            if own != host {
                lines.push(
                    "not in the host's network namespace, so loopback frontends serve another one; \
                     run with the host's network"
                        .to_owned(),
                );
            }
        }
        lines
    }

    /// Cgroups whose sockets must be covered, with whose they are.
    pub(super) fn watched(&self, kubelets: &[Process]) -> Vec<(String, PathBuf)> {
        if let CgroupChoice::Path(path) = &self.choice {
            return vec![("configured cgroup".to_owned(), path.clone())];
        }
        let mut watched: Vec<_> =
            self.cgroup_of("1").map(|path| ("pid 1".to_owned(), path)).into_iter().collect();
        for Process { pid, command } in kubelets {
            watched.extend(self.cgroup_of(pid).map(|path| (format!("{command} ({pid})"), path)));
        }
        watched
    }

    /// The cgroup directory of a process, below the mount that we attach under.
    fn cgroup_of(&self, pid: &str) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let relative = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        if leads_out(relative) {
            // Whatever runs at the root runs there, unless somebody is in between.
            return self.is_root().then(|| self.path.clone());
        }
        Some(self.mount.join(relative.trim_end_matches(" (deleted)")))
    }
}

/// Whether a cgroup is outside of our cgroup namespace. It is named from our own cgroup then, and where that
/// is nobody says.
fn leads_out(relative: &str) -> bool {
    relative.split('/').any(|part| part == "..")
}

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pid: String,
    command: String,
}

/// Every kubelet on the host. Reads a file per process: not often, and not on a thread that others wait
/// for.
#[must_use]
pub fn kubelets() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(kubelet)
        .collect()
}

/// Those of `known` that are still there.
#[must_use]
pub fn still_kubelets(known: Vec<Process>) -> Vec<Process> {
    known.into_iter().filter_map(|Process { pid, command: _ }| kubelet(pid)).collect()
}

/// The process with this id, if it is a kubelet.
fn kubelet(pid: String) -> Option<Process> {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let command = command.trim_end().to_owned();
    KUBELETS.contains(&command.as_str()).then_some(Process { pid, command })
}

/// Mount points of cgroup2 in a mountinfo file, as seen below `prefix`.
fn cgroup2_mounts(mountinfo: &str, prefix: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(mountinfo).unwrap_or_default();
    parse_mountinfo(&text).map(|mount| prefix.join(mount.trim_start_matches('/'))).collect()
}

/// Mount points of type cgroup2 (`proc_pid_mountinfo(5)`: the type follows the separator).
fn parse_mountinfo(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        rest.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4))?
    })
}

/// The cgroup2 mount that holds `path`.
fn cgroup_mount_of(path: &Path) -> PathBuf {
    cgroup2_mounts("/proc/self/mountinfo", Path::new("/"))
        .into_iter()
        .filter(|mount| path.starts_with(mount))
        .max_by_key(|mount| mount.as_os_str().len())
        .unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_mounts_are_found_among_others() {
        let text = "\
31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - tmpfs tmpfs rw,mode=755
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:39 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
";
        assert_eq!(parse_mountinfo(text).collect::<Vec<_>>(), ["/sys/fs/cgroup/unified"]);
    }

    #[test]
    fn from_a_private_namespace_cgroups_of_others_cannot_be_followed() {
        assert!(leads_out("../../init.scope") && leads_out(".."));
        assert!(!leads_out("") && !leads_out("system.slice/a..b.service"));
    }

    #[test]
    fn a_cgroup_that_is_not_there_is_named() {
        let choice = CgroupChoice::Path("/sys/fs/cgroup/no/such".into());
        let error = Cgroup::find(&choice).expect_err("no such cgroup").to_string();
        assert!(error.contains("/sys/fs/cgroup/no/such"), "{error}");
    }
}
