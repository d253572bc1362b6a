//! Takes the data path away: every link, then every map, of every ABI version.
//!
//! Only what is surely ours: pins of a known name, in a directory of pins that no link has led to.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nllb_common::maps::names;
use rustix::fs::FileType;

use super::directory::{BPF_FS, Directory};
use super::guests::{self, Pinned};
use super::load::LoadError;
use super::lock::Lock;
use super::sets::is_set;
use super::sys;

/// Names of maps of former versions that this one has not.
const FORMER_MAPS: [&str; 0] = [];

/// What has become of the pins.
#[derive(Debug, Default)]
pub struct Removal {
    /// What was removed, in order.
    pub removed: Vec<PathBuf>,
    /// What has the name of a directory of pins, or is in one, and is not ours.
    pub left: Vec<PathBuf>,
}

/// Removes the pins of every ABI version below `bpffs`; links first, so that no program runs on maps
/// that are going.
///
/// # Errors
/// When an agent is running on any of the pins, or others than root and this user may write to `bpffs`;
/// nothing is removed then. When one cannot be removed; those before it are gone then.
pub fn uninstall(bpffs: &Path) -> Result<Removal, LoadError> {
    Versions::lock(bpffs, None, BPF_FS)?.remove()
}

/// Directories of ABI versions, each locked: an agent of one of them that ran at the same time would attach
/// what is removed again, and only one agent may rule.
#[derive(Debug, Default)]
pub(super) struct Versions {
    base: Option<Directory>,
    held: Vec<(OsString, Lock)>,
    left: Vec<PathBuf>,
}

impl Versions {
    /// Locks those that there are on this kind of file system, but for `keep`.
    ///
    /// # Errors
    /// When an agent is running on one of them, or `bpffs` is not ours alone.
    pub(super) fn lock(
        bpffs: &Path,
        keep: Option<&Path>,
        file_system: i64,
    ) -> Result<Self, LoadError> {
        let Some(base) = Directory::open(bpffs)? else {
            return Ok(Self::default());
        };
        base.require_own()?;
        let (mut held, mut left) = (Vec::new(), Vec::new());
        for (name, kind) in base.entries()? {
            let path = bpffs.join(&name);
            if !is_version(&name) || keep == Some(&path) {
                continue;
            }
            match version(&base, &name, kind, file_system) {
                Some(version) => held.push((name, Lock::take(version)?)),
                None => left.push(path),
            }
        }
        Ok(Self { base: Some(base), held, left })
    }

    /// The directories that are still there.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        self.held.iter().map(|(_, lock)| lock.directory().path().to_owned()).collect()
    }

    /// What has such a name and is no directory of pins.
    pub(super) fn left(&self) -> &[PathBuf] {
        &self.left
    }

    /// Removes them with all that is pinned in them. Those that cannot be removed, and those after them, stay
    /// locked and can be tried again.
    pub(super) fn remove(&mut self) -> Result<Removal, LoadError> {
        let mut removal = Removal { removed: Vec::new(), left: self.left.clone() };
        let Self { base: Some(base), held, left: _ } = self else {
            return Ok(removal);
        };
        while let Some((name, lock)) = held.first() {
            if empty(lock.directory(), &mut removal)? {
                removal.removed.push(base.remove(name, true)?);
            }
            held.remove(0);
        }
        Ok(removal)
    }
}

/// Opens what has the name of a version, if it is a directory of pins.
fn version(base: &Directory, name: &OsStr, kind: FileType, file_system: i64) -> Option<Directory> {
    let version = base.sub(name).ok().filter(|_| kind == FileType::Directory)?;
    let sound = version.require_on(file_system).and_then(|()| version.require_own());
    sound.is_ok().then_some(version)
}

/// Removes what is pinned in a directory. Says whether that was all.
fn empty(directory: &Directory, removal: &mut Removal) -> Result<bool, LoadError> {
    let mut all = true;
    let (links, others): (Vec<_>, Vec<_>) = directory
        .entries()?
        .into_iter()
        .partition(|(name, _)| is_link(name) || Pinned::of(name).is_some());
    for (name, kind) in links.into_iter().chain(others) {
        if kind != FileType::RegularFile || !(is_link(&name) || is_map(&name)) {
            removal.left.push(directory.path().join(name));
            all = false;
            continue;
        }
        if let Some(Pinned::Filters { interface, made, netns }) = Pinned::of(&name) {
            let version = number(directory.path().file_name().unwrap_or_default()).unwrap_or(0);
            guests::remove_filters(directory.path(), version, (interface, made), netns)?;
        }
        if is_link(&name) {
            // So that nothing is translated once we return. A link that is gone already, and one of
            // before Linux 5.9, ends with its pin.
            let _not_attached = sys::open_pin(&directory.reach(&name)).and_then(sys::link_detach);
        }
        removal.removed.push(directory.remove(&name, false)?);
    }
    Ok(all)
}

pub(super) fn is_version(name: &OsStr) -> bool {
    number(name).is_some()
}

/// The number of the version that has this directory.
fn number(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix('v')?.parse().ok()
}

pub(super) fn is_link(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("link_")
}

fn is_map(name: &OsStr) -> bool {
    names::ALL.iter().chain(&FORMER_MAPS).any(|map| name == *map)
        || is_set(name)
        || Pinned::of(name).is_some()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::lock;
    use super::*;

    /// A directory with these versions, each with these pins, and the kind of its file system.
    fn pins(versions: &[&str], names: &[&str]) -> (tempfile::TempDir, i64) {
        let dir = tempfile::tempdir().expect("a directory");
        for version in versions {
            fs::create_dir(dir.path().join(version)).expect("created");
            for name in names {
                fs::write(dir.path().join(version).join(name), "").expect("written");
            }
        }
        let kind = rustix::fs::statfs(dir.path()).expect("asked").f_type;
        (dir, kind)
    }

    fn names(paths: &[PathBuf]) -> Vec<&str> {
        let names = paths.iter().map(|path| path.file_name().and_then(OsStr::to_str));
        names.map(|name| name.expect("a name")).collect()
    }

    #[test]
    fn links_go_before_maps_and_strangers_stay() {
        let (dir, kind) = pins(&["v1", "other"], &["CONTROL", "link_connect4", "set_4711"]);
        let removal = Versions::lock(dir.path(), None, kind).expect("free").remove();
        let Removal { removed, left } = removal.expect("removed");
        assert_eq!(names(&removed), ["link_connect4", "CONTROL", "set_4711", "v1"]);
        assert!(left.is_empty() && dir.path().join("other/CONTROL").exists(), "{left:?}");
    }

    #[test]
    fn what_is_not_ours_in_a_version_stays_and_is_named() {
        let (dir, kind) = pins(&["v1"], &["CONTROL", "letter", "link_connect4", "set_"]);
        fs::create_dir(dir.path().join("v1/VERDICT")).expect("created");
        let removal = Versions::lock(dir.path(), None, kind).expect("free").remove();
        let Removal { removed, left } = removal.expect("removed");
        assert_eq!(names(&removed), ["link_connect4", "CONTROL"]);
        assert_eq!(names(&left), ["VERDICT", "letter", "set_"]);
        assert!(dir.path().join("v1/letter").exists());
    }

    #[test]
    fn what_only_has_the_name_of_a_version_is_left_and_stops_nobody() {
        let (dir, kind) = pins(&["v1", "precious"], &["CONTROL"]);
        symlink("precious", dir.path().join("v6")).expect("linked");
        fs::write(dir.path().join("v7"), "").expect("written");
        let mut versions = Versions::lock(dir.path(), None, kind).expect("free");
        assert_eq!(versions.directories(), [dir.path().join("v1")]);
        assert_eq!(names(versions.left()), ["v6", "v7"]);
        let Removal { removed, left } = versions.remove().expect("removed");
        assert_eq!((names(&removed), names(&left)), (vec!["CONTROL", "v1"], vec!["v6", "v7"]));
        assert!(dir.path().join("precious/CONTROL").exists() && dir.path().join("v7").exists());
    }

    #[test]
    fn a_version_on_another_file_system_is_left() {
        let (dir, _) = pins(&["v1"], &["CONTROL"]);
        let Removal { removed, left } = uninstall(dir.path()).expect("nothing of ours");
        assert_eq!((names(&removed), names(&left)), (vec![], vec!["v1"]));
        assert!(dir.path().join("v1/CONTROL").exists());
    }

    #[test]
    fn nothing_is_removed_where_others_may_write() {
        let (dir, kind) = pins(&["v1"], &["CONTROL"]);
        fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).expect("ours");
        let refused = Versions::lock(dir.path(), None, kind).expect_err("not ours").to_string();
        assert!(refused.contains("others may write to it (mode 1777)"), "{refused}");
        assert!(dir.path().join("v1/CONTROL").exists());
    }

    #[test]
    fn another_version_is_removed_beside_the_one_in_use() {
        let (dir, kind) = pins(&["v1", "v2"], &["link_connect4"]);
        let keep = dir.path().join("v2");
        let mut others = Versions::lock(dir.path(), Some(&keep), kind).expect("nobody uses it");
        assert_eq!(others.directories(), [dir.path().join("v1")]);
        others.remove().expect("removed");
        assert!(others.directories().is_empty() && !dir.path().join("v1").exists());
        assert!(keep.join("link_connect4").exists());
    }

    #[test]
    fn a_version_in_use_keeps_every_version_where_it_is() {
        let (dir, kind) = pins(&["v1", "v2"], &[]);
        let _agent = lock::tests::take(&dir.path().join("v2")).expect("free");
        let refused = Versions::lock(dir.path(), None, kind).expect_err("in use").to_string();
        assert!(refused.contains("v2: another agent is running"), "{refused}");
        assert!(dir.path().join("v1").exists());
    }

    #[test]
    fn nothing_installed_is_nothing_removed() {
        let removal = uninstall(Path::new("/nonexistent/nllb")).expect("no error");
        assert!(removal.removed.is_empty() && removal.left.is_empty());
    }
}
