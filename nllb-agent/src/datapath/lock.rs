//! One agent per pin directory.
//!
//! Two agents on the same pins would undo each other's programs and maps. The lock is the kernel's, on
//! the directory itself, so it is gone with the process however that ends.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::directory::Directory;
use super::load::LoadError;

/// The right to use a pin directory, until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    directory: Directory,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// When another process holds it.
    pub(super) fn take(directory: Directory) -> Result<Self, LoadError> {
        let path = || directory.path().to_owned();
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory }),
            Err(Errno::WOULDBLOCK) => Err(LoadError::InUse { path: path() }),
            Err(errno) => Err(LoadError::Directory { path: path(), source: errno.into() }),
        }
    }

    /// What it is the lock of.
    pub(super) const fn directory(&self) -> &Directory {
        &self.directory
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;

    /// Takes the lock of a directory that exists.
    pub(in super::super) fn take(path: &Path) -> Result<Lock, LoadError> {
        Lock::take(Directory::open(path)?.expect("it exists"))
    }

    #[test]
    fn a_second_holder_is_refused_until_the_first_has_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = take(directory.path()).expect("free");
        let refused = take(directory.path()).expect_err("held").to_string();
        assert!(refused.contains("another agent"), "{refused}");
        drop(first);
        take(directory.path()).expect("free again");
    }
}
