//! Finds network namespaces by their cookie, and enters them.
//!
//! The kernel programs know a namespace by its cookie, and the last process that connected from it.
//! No system call leads from a cookie to a namespace, so that process is the first place to look, and
//! where it has gone (a command in a container, say) one walk over all processes and mounted names. What
//! led there is remembered as a path and never as a descriptor: a descriptor would keep the namespace of
//! a deleted pod alive. Each visit checks that the path still leads to the same cookie.
//!
//! Before Linux 5.14 a socket does not tell the cookie; then the records of the translated sockets in the
//! namespace do.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::maps::MapData;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nllb_common::maps::Netns;

use super::NamespaceError;
use super::diag::Diag;
use super::progress::Progress;

/// Where container runtimes and iproute2 mount network namespaces by name; as pid 1 sees it as well,
/// since an agent in a container has mounts of its own.
const NAMED: [&str; 4] =
    ["/run/netns", "/run/docker/netns", "/proc/1/root/run/netns", "/proc/1/root/run/docker/netns"];
/// Inode of the first pid namespace (`PROC_PID_INIT_INO`), whose numbers the kernel programs speak.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// What leads to a network namespace.
#[derive(Clone, Debug)]
struct Way {
    path: PathBuf,
    /// What it led to; another inode means another namespace.
    inode: u64,
}

impl Way {
    /// Whether it leads where it did. Who enters looks at the cookie as well.
    fn holds(&self) -> bool {
        inode(&self.path).ok() == Some(self.inode)
    }
}

/// The network namespaces that have translated connections, and how to get there.
#[derive(Debug)]
pub(super) struct Namespaces {
    /// The agent's own, to come back to.
    own: File,
    /// Whether the thread has left it. To go back needs CAP_SYS_ADMIN; who never left does not.
    away: bool,
    own_inode: u64,
    /// The file system of network namespaces: what is on another is none.
    nsfs: u64,
    /// Not known before the first translated connection from there, on Linux before 5.14.
    own_cookie: Option<u64>,
    ways: HashMap<u64, Way>,
    /// Those that no walk has found, with the process that was the hint then: they are looked for again
    /// when something has connected since, or when an order needs them.
    lost: HashMap<u64, u32>,
    /// What the walk that did not find them could not look at.
    hidden: u64,
    progress: Arc<Progress>,
}

/// The one walk of an order.
#[derive(Debug)]
pub(super) struct Walk {
    /// What to look for on the way.
    wanted: HashSet<u64>,
    /// Whether it was made.
    pub(super) done: bool,
    /// Processes whose network namespace may not be known.
    hidden: u64,
    /// Whether the kernel refused to let us enter one.
    denied: bool,
}

impl Walk {
    /// A walk that has yet to be made, for these.
    pub(super) fn new(wanted: impl IntoIterator<Item = u64>) -> Self {
        Self { wanted: wanted.into_iter().collect(), done: false, hidden: 0, denied: false }
    }

    /// Why nothing led there.
    fn reason(&self) -> NamespaceError {
        if self.denied {
            NamespaceError::Denied
        } else if sees_all_processes() {
            NamespaceError::NotFound { hidden: self.hidden }
        } else {
            NamespaceError::OtherPids
        }
    }
}

impl Namespaces {
    /// The calling thread's network namespace is taken for the agent's own.
    pub(super) fn new(progress: &Arc<Progress>) -> io::Result<Self> {
        let own = File::open("/proc/thread-self/ns/net")?;
        let metadata = own.metadata()?;
        Ok(Self {
            own,
            away: false,
            own_inode: metadata.ino(),
            nsfs: metadata.dev(),
            own_cookie: None,
            ways: HashMap::new(),
            lost: HashMap::new(),
            hidden: 0,
            progress: Arc::clone(progress),
        })
    }

    /// Goes to the agent's own network namespace.
    pub(super) fn go_home(&mut self) -> io::Result<()> {
        if self.away {
            setns(&self.own, CloneFlags::CLONE_NEWNET)?;
            self.away = false;
        }
        Ok(())
    }

    /// The same, and opens a netlink socket there.
    pub(super) fn home(&mut self, storage: &MapData) -> io::Result<Diag> {
        self.go_home()?;
        let mut diag = Diag::open(&self.progress)?;
        if self.own_cookie.is_none() {
            self.own_cookie = cookie(&mut diag, storage)?;
        }
        Ok(diag)
    }

    /// Whether this is the agent's own.
    pub(super) fn is_own(&self, cookie: u64) -> bool {
        self.own_cookie == Some(cookie)
    }

    /// Enters a network namespace and opens a netlink socket there.
    pub(super) fn enter(
        &mut self,
        cookie: u64,
        tgid: u32,
        storage: &MapData,
        walk: &mut Walk,
    ) -> Result<Diag, NamespaceError> {
        if let Some(diag) = self.follow(cookie, tgid, storage, walk) {
            return Ok(diag);
        }
        if !walk.done {
            self.walk(storage, walk);
        }
        let found = self.ways.get(&cookie).map(|way| way.path.clone());
        let diag = found.and_then(|path| self.try_way(cookie, path, storage, walk));
        diag.ok_or_else(|| walk.reason())
    }

    /// Finds those of the namespaces with connections that are not known, and forgets those without. Gives
    /// those that are out of reach.
    pub(super) fn refresh(
        &mut self,
        active: &[(u64, Netns)],
        storage: &MapData,
    ) -> Vec<(u64, NamespaceError)> {
        let cookies: HashSet<u64> = active.iter().map(|(cookie, _)| *cookie).collect();
        self.ways.retain(|cookie, _| cookies.contains(cookie));
        let mut walk = Walk::new([]);
        let mut unknown = Vec::new();
        for &(cookie, netns) in active {
            let holds = self.ways.get(&cookie).is_some_and(Way::holds);
            if !holds && self.follow(cookie, netns.tgid, storage, &mut walk).is_none() {
                unknown.push((cookie, netns.tgid));
            }
        }
        if unknown.iter().any(|(cookie, tgid)| self.lost.get(cookie) != Some(tgid)) {
            walk.wanted = unknown.iter().map(|(cookie, _)| *cookie).collect();
            self.walk(storage, &mut walk);
            unknown.retain(|(cookie, _)| !self.ways.contains_key(cookie));
            self.hidden = walk.hidden;
        }
        walk.hidden = self.hidden;
        self.lost = unknown.iter().copied().collect();
        unknown.into_iter().map(|(cookie, _)| (cookie, walk.reason())).collect()
    }

    /// Tries the way that is known, then the last process that connected.
    fn follow(
        &mut self,
        cookie: u64,
        tgid: u32,
        storage: &MapData,
        walk: &mut Walk,
    ) -> Option<Diag> {
        let known = self.ways.remove(&cookie).map(|way| way.path);
        let hint = PathBuf::from(format!("/proc/{tgid}/ns/net"));
        known.into_iter().chain([hint]).find_map(|path| self.try_way(cookie, path, storage, walk))
    }

    /// Goes where a path leads; remembers it if that is the right one.
    fn try_way(
        &mut self,
        wanted: u64,
        path: PathBuf,
        storage: &MapData,
        walk: &mut Walk,
    ) -> Option<Diag> {
        let (inode, cookie, diag) = self.go(&path, storage, walk)?;
        if cookie != wanted {
            return None;
        }
        self.ways.insert(wanted, Way { path, inode });
        Some(diag)
    }

    /// Looks at every process and every mounted name until all that is wanted is found.
    fn walk(&mut self, storage: &MapData, walk: &mut Walk) {
        walk.done = true;
        walk.wanted.retain(|cookie| !self.ways.get(cookie).is_some_and(Way::holds));
        let mut seen = HashSet::from([(self.nsfs, self.own_inode)]);
        for path in processes().chain(NAMED.iter().flat_map(|named| entries(Path::new(named)))) {
            // Who may not enter one may enter none.
            if walk.wanted.is_empty() || walk.denied {
                break;
            }
            self.progress.beat();
            match fs::metadata(&path) {
                Ok(found)
                    if found.dev() == self.nsfs && seen.insert((found.dev(), found.ino())) => {}
                Ok(_) => continue,
                Err(error) => {
                    let hidden = error.kind() == io::ErrorKind::PermissionDenied;
                    walk.hidden += u64::from(hidden);
                    continue;
                }
            }
            if let Some((inode, cookie, _)) = self.go(&path, storage, walk) {
                if walk.wanted.remove(&cookie) {
                    self.ways.insert(cookie, Way { path, inode });
                }
            }
        }
    }

    /// Enters what a path leads to; gives its inode, its cookie and a netlink socket there. None when it
    /// leads to no network namespace, to the agent's own, or to one that is not allowed.
    fn go(&mut self, path: &Path, storage: &MapData, walk: &mut Walk) -> Option<(u64, u64, Diag)> {
        self.progress.beat();
        let (file, inode) = open(path, self.nsfs)?;
        if inode == self.own_inode {
            return None;
        }
        if let Err(errno) = setns(&file, CloneFlags::CLONE_NEWNET) {
            // Anything else says that this is no network namespace.
            if errno == Errno::EPERM {
                walk.denied = true;
            }
            return None;
        }
        self.away = true;
        let mut diag = Diag::open(&self.progress).ok()?;
        let cookie = cookie(&mut diag, storage).ok()??;
        Some((inode, cookie, diag))
    }
}

/// Opens a namespace; none when it is something else. Opening a FIFO would wait for somebody who writes.
fn open(path: &Path, nsfs: u64) -> Option<(File, u64)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    (metadata.dev() == nsfs).then(|| (file, metadata.ino()))
}

/// Cookie of the network namespace of a netlink socket, as far as it can be told.
fn cookie(diag: &mut Diag, storage: &MapData) -> io::Result<Option<u64>> {
    match diag.netns_cookie() {
        Some(cookie) => Ok(Some(cookie)),
        None => diag.recorded_netns(storage),
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|metadata| metadata.ino())
}

/// Where each process is, in the order of their numbers, so that what holds a namespace open for a
/// container comes before what runs in it for a moment.
fn processes() -> impl Iterator<Item = PathBuf> {
    let is_process = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.as_encoded_bytes().to_owned());
        name.is_some_and(|name| name.iter().all(u8::is_ascii_digit))
    };
    entries(Path::new("/proc")).filter(is_process).map(|path| path.join("ns/net"))
}

/// The entries of a directory; none when it is not there.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// Whether the processes that the kernel programs name can be found in /proc.
fn sees_all_processes() -> bool {
    inode(Path::new("/proc/self/ns/pid")).is_ok_and(|inode| inode == FIRST_PID_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_no_namespace_is_not_taken_for_one_and_does_not_wait() {
        let own = Path::new("/proc/thread-self/ns/net");
        let metadata = fs::metadata(own).expect("a namespace");
        let (_, found) = open(own, metadata.dev()).expect("a namespace");
        assert_eq!(found, metadata.ino());
        let dir = tempfile::tempdir().expect("a directory");
        let [fifo, file] = ["fifo", "file"].map(|name| dir.path().join(name));
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("ran").success());
        fs::write(&file, "").expect("written");
        assert!(open(&fifo, metadata.dev()).is_none() && open(&file, metadata.dev()).is_none());
    }

    #[test]
    fn a_way_holds_as_long_as_it_leads_to_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let [path, other] = ["way", "other"].map(|name| dir.path().join(name));
        fs::write(&path, "").expect("written");
        fs::write(&other, "").expect("written");
        let way = Way { inode: inode(&path).expect("there"), path: path.clone() };
        assert!(way.holds());
        fs::rename(&other, &path).expect("renamed");
        assert!(!way.holds(), "it leads elsewhere");
        fs::remove_file(&path).expect("removed");
        assert!(!way.holds(), "it leads nowhere");
    }
}
