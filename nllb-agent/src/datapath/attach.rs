//! Attaches the programs, and proves that they are effective.
//!
//! The classic failure of this field is an attachment that is silently partial: a container with a
//! private cgroup namespace takes its own cgroup for the root. So the cgroup is looked for from the
//! outside (pid 1's view as well), its inode is compared with the root's, and what is effective on the
//! processes that matter is asked of the kernel, again and again.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::sys::{self, AttachType};

/// Inode number of the root of a cgroup2 hierarchy; the kernel gives out ids from 1.
const ROOT_CGROUP_INODE: u64 = 1;

/// Commands that run a kubelet: on its own, or inside the distribution's one binary.
const KUBELETS: [&str; 4] = ["kubelet", "k3s-server", "k3s-agent", "kubelite"];

/// One of the places where a program attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `connect(2)` on v4 sockets.
    Connect4,
    /// `connect(2)` on v6 sockets.
    Connect6,
    /// Life of TCP connections.
    SockOps,
}

impl Hook {
    /// Every hook, in the order of attachment: evidence first, so that no translated connection
    /// starts unseen.
    pub const ALL: [Self; 3] = [Self::SockOps, Self::Connect4, Self::Connect6];

    /// The word for it in status and messages.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::SockOps => "sock_ops",
        }
    }

    /// Name of its program.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Connect4 => "nllb_connect4",
            Self::Connect6 => "nllb_connect6",
            Self::SockOps => "nllb_sock_ops",
        }
    }

    const fn attach_type(self) -> AttachType {
        match self {
            Self::Connect4 => AttachType::Connect4,
            Self::Connect6 => AttachType::Connect6,
            Self::SockOps => AttachType::SockOps,
        }
    }

    fn pin(self, directory: &Path) -> PathBuf {
        directory.join(format!("link_{}", self.label()))
    }
}

/// Where to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupChoice {
    /// The root of the host's cgroup2 hierarchy, wherever it is mounted.
    Auto,
    /// This cgroup.
    Path(PathBuf),
}

/// Why the programs could not be attached.
#[derive(Debug, Error)]
pub enum AttachError {
    /// No cgroup2 hierarchy is mounted.
    #[error(
        "no cgroup2 hierarchy is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified"
    )]
    NoCgroup2,
    /// The cgroup could not be opened.
    #[error("cgroup {path}: {source}")]
    Cgroup {
        /// The cgroup.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Somebody attached a program that excludes all others.
    #[error(
        "cgroup {cgroup}: {hook} is taken by {owner}, attached so that it excludes all others; detach it (bpftool cgroup detach) or attach it with the multi flag"
    )]
    Exclusive {
        /// The cgroup where it sits.
        cgroup: PathBuf,
        /// Name of the hook.
        hook: &'static str,
        /// The other program.
        owner: String,
    },
    /// The kernel refused.
    #[error("cannot {verb} {hook}: {source}")]
    Kernel {
        /// What was tried.
        verb: &'static str,
        /// Name of the hook.
        hook: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A cgroup, open.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// The cgroup2 mount it was found under.
    mount: PathBuf,
    id: u64,
    dir: File,
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

    /// Cgroups whose sockets must be covered, with whose they are.
    fn watched(&self) -> Vec<(String, PathBuf)> {
        if let CgroupChoice::Path(path) = &self.choice {
            return vec![("configured cgroup".to_owned(), path.clone())];
        }
        let mut watched: Vec<_> =
            self.cgroup_of("1").map(|path| ("pid 1".to_owned(), path)).into_iter().collect();
        for (pid, command) in kubelets() {
            watched.extend(self.cgroup_of(&pid).map(|path| (format!("{command} ({pid})"), path)));
        }
        watched
    }

    /// The cgroup directory of a process, below the mount that we attach under.
    fn cgroup_of(&self, pid: &str) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let relative = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Some(self.mount.join(relative.trim_end_matches(" (deleted)")))
    }
}

fn kubelets() -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| {
            let command = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let command = command.trim_end().to_owned();
            KUBELETS.contains(&command.as_str()).then_some((pid, command))
        })
        .collect()
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

/// A loaded program, ready to attach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded<'a> {
    pub(super) hook: Hook,
    pub(super) fd: BorrowedFd<'a>,
    pub(super) id: u32,
}

/// Whether a hook was found attached or is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pinned link was there; its program was replaced without a gap.
    Adopted,
    /// There was none for this cgroup.
    New,
}

/// One attached program.
#[derive(Debug)]
struct AttachedLink {
    hook: Hook,
    link: OwnedFd,
    program: u32,
    origin: Origin,
}

/// The attached programs.
#[derive(Debug)]
pub struct Attachment {
    cgroup: Cgroup,
    directory: PathBuf,
    links: Vec<AttachedLink>,
}

impl Attachment {
    /// Attaches `programs` to `cgroup`; links pinned in `directory` get the new programs.
    pub(super) fn establish(
        programs: &[Loaded<'_>],
        cgroup: Cgroup,
        directory: &Path,
    ) -> Result<Self, AttachError> {
        let mut attachment = Self { cgroup, directory: directory.to_owned(), links: Vec::new() };
        attachment.repair(programs)?;
        Ok(attachment)
    }

    /// Attaches what is not attached as it should be.
    pub(super) fn repair(&mut self, programs: &[Loaded<'_>]) -> Result<(), AttachError> {
        for program in programs {
            let link = attach(program, &self.cgroup, &self.directory)?;
            self.links.retain(|link| link.hook != program.hook);
            self.links.push(link);
        }
        Ok(())
    }

    /// The cgroup attached to.
    #[must_use]
    pub const fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Whether every link was there before.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.links.iter().all(|link| link.origin == Origin::Adopted)
    }

    /// Asks the kernel whether the programs are where they should be.
    #[must_use]
    pub fn verify(&self) -> Coverage {
        let hooks = self
            .links
            .iter()
            .map(|link| (link.hook, link.program, self.check_link(link)))
            .collect();
        let watched = self
            .cgroup
            .watched()
            .into_iter()
            .map(|(whose, path)| {
                let missing = self.missing(&path);
                Watched { whose, path, missing }
            })
            .collect();
        Coverage { hooks, watched }
    }

    fn check_link(&self, link: &AttachedLink) -> Result<(), String> {
        let info = sys::link_info(&link.link).map_err(|error| error.to_string())?;
        if info.cgroup != self.cgroup.id {
            return Err(format!(
                "attached to cgroup {} instead of {}",
                info.cgroup, self.cgroup.id
            ));
        }
        if info.program != link.program {
            return Err(format!("runs program {} instead of {}", info.program, link.program));
        }
        if !link.hook.pin(&self.directory).exists() {
            return Err("its pin is gone".to_owned());
        }
        Ok(())
    }

    /// Hooks that are not effective for the sockets of a cgroup, or why that is not known.
    fn missing(&self, path: &Path) -> Result<Vec<Hook>, String> {
        let dir = File::open(path).map_err(|error| error.to_string())?;
        let mut missing = Vec::new();
        for link in &self.links {
            let effective = sys::query(&dir, link.hook.attach_type(), true)
                .map_err(|error| error.to_string())?;
            if !effective.programs.contains(&link.program) {
                missing.push(link.hook);
            }
        }
        Ok(missing)
    }
}

/// What the kernel says of the attachment.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Per hook: the program's id, and what is wrong with the link.
    pub hooks: Vec<(Hook, u32, Result<(), String>)>,
    /// Per cgroup that matters: what does not run there.
    pub watched: Vec<Watched>,
}

impl Coverage {
    /// Whether everything is where it should be. A cgroup that could not be read counts as well:
    /// processes come and go while we look.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.hooks.iter().all(|(_, _, state)| state.is_ok())
            && self
                .watched
                .iter()
                .all(|watched| watched.missing.as_ref().map_or(true, |missing| missing.is_empty()))
    }
}

/// A cgroup whose sockets must be covered.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Whose it is, for a reader.
    pub whose: String,
    /// Its path.
    pub path: PathBuf,
    /// Hooks that are not effective there, or why that is not known.
    pub missing: Result<Vec<Hook>, String>,
}

fn attach(
    program: &Loaded<'_>,
    cgroup: &Cgroup,
    directory: &Path,
) -> Result<AttachedLink, AttachError> {
    let Loaded { hook, fd, id } = *program;
    let pin = hook.pin(directory);
    let failed = |verb| move |source| AttachError::Kernel { verb, hook: hook.label(), source };
    if let Ok(link) = sys::open_pin(&pin) {
        let same = sys::link_info(&link).is_ok_and(|info| info.cgroup == cgroup.id);
        if same {
            sys::link_update(&link, fd).map_err(failed("replace the program of"))?;
            return Ok(AttachedLink { hook, link, program: id, origin: Origin::Adopted });
        }
    }
    let link = sys::link_create(fd, &cgroup.dir, hook.attach_type()).map_err(|source| {
        exclusive_owner(cgroup, hook, &source).unwrap_or_else(|| failed("attach")(source))
    })?;
    // A pin of a link on another cgroup goes only now, when its successor works.
    match fs::remove_file(&pin) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(failed("unpin the old link of")(source));
        }
        _ => {}
    }
    sys::pin(&link, &pin).map_err(failed("pin the link of"))?;
    Ok(AttachedLink { hook, link, program: id, origin: Origin::New })
}

/// On EPERM, finds the program on the cgroup or above it that excludes all others.
fn exclusive_owner(cgroup: &Cgroup, hook: Hook, error: &io::Error) -> Option<AttachError> {
    if error.raw_os_error() != Some(libc::EPERM) {
        return None;
    }
    cgroup.path.ancestors().take_while(|path| path.starts_with(&cgroup.mount)).find_map(|path| {
        let dir = File::open(path).ok()?;
        let attached = sys::query(dir.as_fd(), hook.attach_type(), false).ok()?;
        let &[first, ..] = attached.programs.as_slice() else {
            return None;
        };
        (attached.flags == 0).then(|| AttachError::Exclusive {
            cgroup: path.to_owned(),
            hook: hook.label(),
            owner: describe(first),
        })
    })
}

fn describe(program: u32) -> String {
    let name = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == program)
        .and_then(|info| info.name_as_str().map(str::to_owned));
    match name {
        Some(name) if !name.is_empty() => format!("program {name} (id {program})"),
        _ => format!("the program with id {program}"),
    }
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
    fn a_cgroup_that_is_not_there_is_named() {
        let choice = CgroupChoice::Path("/sys/fs/cgroup/no/such".into());
        let error = Cgroup::find(&choice).expect_err("no such cgroup").to_string();
        assert!(error.contains("/sys/fs/cgroup/no/such"), "{error}");
    }
}
