//! Looks at what is attached and pinned without touching it, with or without an agent.

use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::super::directory::BPF_FS;
use super::super::sys;
use super::super::uninstall::{is_link, is_version};
use super::{Cgroup, Hook, exclusive_owner, kubelets};

/// A link as it is pinned.
#[derive(Clone, Debug)]
pub struct PinnedLink {
    /// Where it is attached.
    pub hook: Hook,
    /// Id of its program, or why that cannot be told.
    pub program: Result<u32, String>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// What runs for the sockets of a cgroup at one hook.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Whose cgroup it is.
    pub whose: String,
    /// The hook.
    pub hook: Hook,
    /// Id and name of each program in the order in which they run, or why that cannot be told.
    pub programs: Result<Vec<(u32, String)>, String>,
}

impl Cgroup {
    /// What keeps the data path from serving the whole host, one line each.
    #[must_use]
    pub fn limits(&self) -> Vec<String> {
        self.shortcomings()
    }

    /// The links that are pinned in `directory`; none when nothing is.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn links(&self, directory: &Path) -> io::Result<Vec<PinnedLink>> {
        match fs::read_dir(directory) {
            Ok(mut entries) => {
                if entries.next().is_none() {
                    return Ok(Vec::new());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        Ok(Hook::expected(directory).map(|hook| self.link(directory, hook)).collect())
    }

    fn link(&self, directory: &Path, hook: Hook) -> PinnedLink {
        let opened = sys::open_pin(&hook.pin(directory)).and_then(sys::link_info);
        let info = match opened {
            Ok(info) => info,
            Err(error) => {
                let gone = error.kind() == io::ErrorKind::NotFound;
                let reason = if gone { "its pin is gone".to_owned() } else { error.to_string() };
                return PinnedLink { hook, program: Err(reason.clone()), problem: Some(reason) };
            }
        };
        let problem = match info.cgroup {
            cgroup if cgroup == self.id => None,
            0 => Some("detached".to_owned()),
            cgroup => Some(format!("attached to cgroup {cgroup} instead of {}", self.id)),
        };
        PinnedLink { hook, program: Ok(info.program), problem }
    }

    /// What runs for the sockets of pid 1, of every kubelet, or of the configured cgroup, at the hooks that a
    /// data path has whose pins are in `directory`.
    #[must_use]
    pub fn effective(&self, directory: &Path) -> Vec<Effective> {
        let names = names();
        let name = |id: &u32| names.get(id).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for (whose, path) in self.watched(&kubelets()) {
            for hook in Hook::expected(directory) {
                let asked = File::open(&path)
                    .and_then(|dir| sys::query(&dir, hook.attach_type(), true))
                    .map_err(|error| format!("{}: {error}", path.display()));
                let programs =
                    asked.map(|asked| asked.programs.iter().map(|id| (*id, name(id))).collect());
                found.push(Effective { whose: whose.clone(), hook, programs });
            }
        }
        found
    }

    /// Programs on this cgroup or above it that admit no other, as sentences.
    #[must_use]
    pub fn exclusive(&self) -> Vec<String> {
        Hook::ALWAYS
            .into_iter()
            .chain(Hook::DATAGRAMS)
            // Two of ours attach at one place.
            .filter(|hook| !matches!(hook, Hook::UdpConnect4 | Hook::UdpConnect6))
            .filter_map(|hook| Some(exclusive_owner(self, hook)?.to_string()))
            .collect()
    }
}

/// Names of all programs by id; none where they may not be listed.
fn names() -> std::collections::HashMap<u32, String> {
    let loaded = aya::programs::loaded_programs().filter_map(Result::ok);
    loaded.map(|info| (info.id(), info.name_as_str().unwrap_or_default().to_owned())).collect()
}

/// Whether pins can be made there: it, or the nearest directory above it, is on a BPF file system.
#[must_use]
pub fn on_bpffs(path: &Path) -> bool {
    let existing = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    rustix::fs::statfs(existing).is_ok_and(|found| found.f_type == BPF_FS)
}

/// Directories of pins of other versions than the one in `keep`, with the number of links in each.
#[must_use]
pub fn other_versions(bpffs: &Path, keep: &Path) -> Vec<(PathBuf, usize)> {
    let entries = fs::read_dir(bpffs).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<_> = entries
        .filter(|entry| is_version(&entry.file_name()) && entry.path().is_dir())
        .map(|entry| entry.path())
        .filter(|path| path != keep)
        .map(|path| {
            let pins = fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok);
            let links = pins.filter(|pin| is_link(&pin.file_name())).count();
            (path, links)
        })
        .collect();
    found.sort();
    found
}

/// The process that holds the lock on a directory of pins. Only read: to try the lock would stop an agent
/// that starts in this moment.
#[must_use]
pub fn owner(directory: &Path) -> Option<u32> {
    let inode = fs::metadata(directory).ok()?.ino();
    holder(&fs::read_to_string("/proc/locks").ok()?, inode)
}

/// Who holds the lock on this inode (`proc_locks(5)`); 0 is a process outside of our pid namespace.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let flock = words.next()? == "FLOCK";
        let pid = words.nth(2)?;
        let locked = words.next()?.rsplit(':').next()?;
        (flock && locked.parse() == Ok(inode)).then(|| pid.parse().ok())?
    })
}

/// Whether sockets tell the cookie of their network namespace (Linux 5.14).
#[must_use]
pub fn tells_namespaces() -> bool {
    UdpSocket::bind("127.0.0.1:0").is_ok_and(|socket| sys::netns_cookie(socket.as_fd()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_lock_is_read_from_the_list_of_all() {
        let locks = "1: POSIX  ADVISORY  WRITE 100 00:19:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4711 00:20:77 0 EOF\n";
        assert_eq!(holder(locks, 77), Some(4711));
        assert_eq!(holder(locks, 78), None);
    }

    #[test]
    fn the_holder_of_a_real_lock_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(owner(dir.path()), None);
        let _lock = super::super::super::lock::tests::take(dir.path()).expect("free");
        assert_eq!(owner(dir.path()), Some(std::process::id()));
    }
}
