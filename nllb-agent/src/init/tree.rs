//! The files of a host, which may be mounted somewhere below this one's.
//!
//! Every path is the host's own. The kernel resolves it with the given directory as the root, so that an absolute
//! symbolic link (the kubelet's current certificate is one) leads to the host's file and never out of it.

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// No file that is looked at is longer, by far.
const MAX_FILE: u64 = 4 << 20;

/// A host's files.
#[derive(Debug)]
pub struct Tree {
    root: File,
    unread: RefCell<BTreeSet<String>>,
}

impl Tree {
    /// The host whose `/` is this directory.
    ///
    /// # Errors
    /// When it is no directory that can be opened.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let root = File::from(rustix::fs::open(root, flags, Mode::empty())?);
        Ok(Self { root, unread: RefCell::default() })
    }

    /// Whether there is anything at this path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.at(path, OFlags::PATH).is_some()
    }

    /// The first of these paths that is there.
    pub(super) fn first<'a>(&self, paths: &[&'a str]) -> Option<&'a str> {
        paths.iter().copied().find(|path| self.has(path))
    }

    /// The text of a file; `None` when it is not there or cannot be read, see [`Tree::unread`].
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let file = self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let mut text = String::new();
        match file.take(MAX_FILE).read_to_string(&mut text) {
            Ok(_) => Some(text),
            Err(error) => {
                self.note(path, &error);
                None
            }
        }
    }

    /// What a file holds. Another content than expected is noted like a file that cannot be read.
    pub(super) fn parse<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        let text = self.read(path)?;
        match crate::yaml::parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(path, &error.problem);
                None
            }
        }
    }

    /// The files that are there and could not be used, with the reason.
    pub fn unread(&self) -> Vec<String> {
        self.unread.borrow().iter().cloned().collect()
    }

    fn at(&self, path: &str, flags: OFlags) -> Option<File> {
        let flags = flags | OFlags::CLOEXEC;
        match openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Ok(file) => Some(File::from(file)),
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(error) => {
                self.note(path, &error);
                None
            }
        }
    }

    fn note(&self, path: &str, why: &dyn std::fmt::Display) {
        self.unread.borrow_mut().insert(format!("{path}: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_below_the_root_and_what_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("var/lib")).expect("made");
        fs::write(at("var/lib/file"), "within").expect("written");
        symlink("/var/lib/file", at("absolute")).expect("linked");
        symlink("../../../../etc/hostname", at("var/lib/upwards")).expect("linked");
        fs::write(at("binary"), [0xff, 0xfe]).expect("written");
        fs::write(at("list"), "- a\n").expect("written");
        let tree = Tree::open(dir.path()).expect("a tree");
        assert_eq!(tree.read("/absolute").as_deref(), Some("within"));
        assert_eq!(tree.read("/var/lib/upwards"), None, "there is no /etc/hostname below");
        assert_eq!(tree.first(&["/none", "/binary", "/list"]), Some("/binary"));
        assert_eq!(tree.unread(), [""; 0]);
        assert_eq!(tree.read("/binary"), None);
        assert_eq!(tree.parse::<std::collections::BTreeMap<String, String>>("/list"), None);
        let unread = tree.unread();
        assert_eq!(unread.len(), 2, "{unread:?}");
        assert!(
            unread[0].starts_with("/binary: ") && unread[1].starts_with("/list: "),
            "{unread:?}"
        );
    }
}
