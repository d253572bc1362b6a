//! Takes the data path away: every link, then every map, of every ABI version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::load::LoadError;
use super::lock::Lock;
use super::sys;

/// Removes the pins of every ABI version below `bpffs`; links first, so that no program runs on maps
/// that are going. Returns what was removed, in order.
///
/// # Errors
/// When an agent is running on any of the pins; nothing is removed then. When one cannot be removed; those
/// before it are gone then.
pub fn uninstall(bpffs: &Path) -> Result<Vec<PathBuf>, LoadError> {
    Versions::lock(bpffs, None)?.remove()
}

/// Directories of ABI versions, each locked: an agent of one of them that ran at the same time would attach
/// what is removed again, and only one agent may rule.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<(PathBuf, Lock)>);

impl Versions {
    /// Locks those that there are, but for the one in `keep`.
    ///
    /// # Errors
    /// When an agent is running on one of them.
    pub(super) fn lock(bpffs: &Path, keep: Option<&Path>) -> Result<Self, LoadError> {
        let versions = list(bpffs)?.into_iter().filter(|path| is_version(path));
        let others = versions.filter(|version| Some(version.as_path()) != keep);
        let locked = others.map(|version| {
            let lock = Lock::take(&version)?;
            Ok((version, lock))
        });
        locked.collect::<Result<_, _>>().map(Self)
    }

    /// The directories.
    pub(super) fn directories(&self) -> Vec<&Path> {
        self.0.iter().map(|(directory, _)| directory.as_path()).collect()
    }

    /// Removes them with all that is pinned in them. Returns what was removed, in order.
    pub(super) fn remove(&self) -> Result<Vec<PathBuf>, LoadError> {
        let mut removed = Vec::new();
        for (directory, _) in &self.0 {
            let (links, maps): (Vec<_>, Vec<_>) = list(directory)?.into_iter().partition(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("link_"))
            });
            for link in &links {
                // So that nothing is translated once we return. A link that is gone already, and one of
                // before Linux 5.9, ends with its pin.
                let _not_attached = sys::open_pin(link).and_then(sys::link_detach);
            }
            for pin in links.into_iter().chain(maps) {
                fs::remove_file(&pin).map_err(failed(&pin))?;
                removed.push(pin);
            }
            fs::remove_dir(directory).map_err(failed(directory))?;
            removed.push(directory.clone());
        }
        Ok(removed)
    }
}

fn is_version(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix('v'))
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The entries of a directory in order; none when it does not exist.
fn list(directory: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(directory)(error)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed(directory))?;
    paths.sort();
    Ok(paths)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> LoadError {
    move |source| LoadError::Directory { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_go_before_maps_and_strangers_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let version = dir.path().join("v1");
        fs::create_dir_all(&version).expect("create");
        fs::create_dir_all(dir.path().join("other")).expect("create");
        for name in ["CONTROL", "link_connect4", "VERDICT"] {
            fs::write(version.join(name), "").expect("write");
        }
        let removed = uninstall(dir.path()).expect("uninstall");
        let names: Vec<_> =
            removed.iter().map(|p| p.file_name().expect("a name").to_string_lossy()).collect();
        assert_eq!(names, ["link_connect4", "CONTROL", "VERDICT", "v1"]);
        assert!(dir.path().join("other").exists());
    }

    #[test]
    fn another_version_is_removed_beside_the_one_in_use() {
        let dir = tempfile::tempdir().expect("a directory");
        for version in ["v1", "v2"] {
            fs::create_dir_all(dir.path().join(version)).expect("create");
            fs::write(dir.path().join(version).join("link_connect4"), "").expect("write");
        }
        let keep = dir.path().join("v2");
        let others = Versions::lock(dir.path(), Some(&keep)).expect("nobody uses it");
        assert_eq!(others.directories(), [dir.path().join("v1")]);
        others.remove().expect("removed");
        assert!(!dir.path().join("v1").exists());
        assert!(keep.join("link_connect4").exists());
    }

    #[test]
    fn a_version_in_use_keeps_every_version_where_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        for version in ["v1", "v2"] {
            fs::create_dir_all(dir.path().join(version)).expect("create");
        }
        let _agent = Lock::take(&dir.path().join("v2")).expect("free");
        let refused = uninstall(dir.path()).expect_err("in use").to_string();
        assert!(refused.contains("v2: another agent is running"), "{refused}");
        assert!(dir.path().join("v1").exists());
    }

    #[test]
    fn nothing_installed_is_nothing_removed() {
        assert!(uninstall(Path::new("/nonexistent/nllb")).expect("no error").is_empty());
    }
}
