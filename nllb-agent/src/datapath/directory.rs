//! Directories of pins, held open so that nobody can put something else in their place.
//!
//! What is pinned there rules every connect of the node, and an agent removes what other versions have left.
//! So a directory counts only if nobody but root, or the agent's own user, can have put anything into it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::load::LoadError;

/// `BPF_FS_MAGIC`, what `statfs` says of a BPF file system.
pub(super) const BPF_FS: i64 = 0xcafe_4a11;

/// The right to write that nobody but the owner may have.
const OTHERS_WRITE: u32 = 0o022;

/// A directory that is open.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    opened: OwnedFd,
}

impl Directory {
    /// Opens a directory; none when it does not exist.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, LoadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(opened) => Ok(Some(Self { path: path.to_owned(), opened })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(path)(errno)),
        }
    }

    /// Opens a directory in this one. Follows no symbolic link.
    pub(super) fn sub(&self, name: &OsStr) -> Result<Self, LoadError> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.opened, name, flags, Mode::empty()) {
            Ok(opened) => Ok(Self { path, opened }),
            Err(errno) => Err(failed(&path)(errno)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Asserts that only root or the agent's own user can have put anything into it.
    pub(super) fn require_own(&self) -> Result<(), LoadError> {
        let stat = rustix::fs::fstat(&self.opened).map_err(failed(&self.path))?;
        let reason = if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
            format!("it belongs to user {}; it must be root's or the agent's own", stat.st_uid)
        } else if stat.st_mode & OTHERS_WRITE != 0 {
            format!("others may write to it (mode {:o}); chmod go-w it", stat.st_mode & 0o7777)
        } else {
            return Ok(());
        };
        Err(LoadError::NotOwn { path: self.path.clone(), reason })
    }

    /// Asserts that it is on a file system of this kind.
    pub(super) fn require_on(&self, file_system: i64) -> Result<(), LoadError> {
        let found = rustix::fs::fstatfs(&self.opened).map_err(failed(&self.path))?;
        if found.f_type == file_system {
            Ok(())
        } else {
            Err(LoadError::NoBpffs { path: self.path.clone() })
        }
    }

    /// What is in it, in order.
    pub(super) fn entries(&self) -> Result<Vec<(OsString, FileType)>, LoadError> {
        let failed = failed(&self.path);
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.opened).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                entries.push((name.to_owned(), entry.file_type()));
            }
        }
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(entries)
    }

    /// A path to an entry that leads through the open directory, whatever has taken its name.
    pub(super) fn reach(&self, name: &OsStr) -> PathBuf {
        Path::new("/proc/self/fd").join(self.opened.as_raw_fd().to_string()).join(name)
    }

    /// Removes an entry, which is a directory or not. Gives what was its path.
    pub(super) fn remove(&self, name: &OsStr, directory: bool) -> Result<PathBuf, LoadError> {
        let path = self.path.join(name);
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&self.opened, name, flags) {
            Ok(()) => Ok(path),
            Err(errno) => Err(failed(&path)(errno)),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.opened.as_fd()
    }
}

fn failed(path: &Path) -> impl Fn(Errno) -> LoadError + use<> {
    let path = path.to_owned();
    move |errno| LoadError::Directory { path: path.clone(), source: io::Error::from(errno) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_that_others_may_write_to_is_not_our_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let own = |mode| {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).expect("ours");
            let opened = Directory::open(dir.path()).expect("opened").expect("there");
            opened.require_own().map_err(|error| error.to_string())
        };
        assert_eq!([own(0o700), own(0o755)], [Ok(()), Ok(())]);
        for mode in [0o720, 0o702, 0o1777] {
            let refused = own(mode).expect_err("others may write");
            assert!(refused.contains("others may write to it"), "{refused}");
        }
    }

    #[test]
    fn a_name_that_is_a_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("there")).expect("created");
        std::os::unix::fs::symlink("there", dir.path().join("v7")).expect("linked");
        let opened = Directory::open(dir.path()).expect("opened").expect("exists");
        opened.sub(OsStr::new("v7")).expect_err("a link");
        opened.sub(OsStr::new("there")).expect("a directory");
    }
}
