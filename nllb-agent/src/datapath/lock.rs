//! One agent per pin directory.
//!
//! Two agents on the same pins would undo each other's programs and maps. The lock is the kernel's, on
//! the directory itself, so it is gone with the process however that ends.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::load::LoadError;

/// The right to use a pin directory, until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: File,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// When another process holds it, or the directory cannot be opened.
    pub(super) fn take(directory: &Path) -> Result<Self, LoadError> {
        let failed =
            |source: io::Error| LoadError::Directory { path: directory.to_owned(), source };
        let opened = File::open(directory).map_err(failed)?;
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _directory: opened }),
            Err(Errno::WOULDBLOCK) => Err(LoadError::InUse { path: directory.to_owned() }),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_until_the_first_has_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Lock::take(directory.path()).expect("free");
        let refused = Lock::take(directory.path()).expect_err("held").to_string();
        assert!(refused.contains("another agent"), "{refused}");
        drop(first);
        Lock::take(directory.path()).expect("free again");
    }
}
