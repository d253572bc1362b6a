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
/// When an agent is running on the pins, or one cannot be removed; those before it are gone then.
pub fn uninstall(bpffs: &Path) -> Result<Vec<PathBuf>, LoadError> {
    remove(versions(bpffs)?)
}

/// The same for every ABI version but the one in `keep`.
pub(super) fn remove_others(bpffs: &Path, keep: &Path) -> Result<Vec<PathBuf>, LoadError> {
    remove(versions(bpffs)?.into_iter().filter(|version| version != keep))
}

fn remove(versions: impl IntoIterator<Item = PathBuf>) -> Result<Vec<PathBuf>, LoadError> {
    let mut removed = Vec::new();
    for directory in versions {
        // A running agent would only attach again.
        let _lock = Lock::take(&directory)?;
        let (links, maps): (Vec<_>, Vec<_>) = list(&directory)?.into_iter().partition(|path| {
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
        fs::remove_dir(&directory).map_err(failed(&directory))?;
        removed.push(directory);
    }
    Ok(removed)
}

/// The directories of the ABI versions.
fn versions(bpffs: &Path) -> Result<Vec<PathBuf>, LoadError> {
    Ok(list(bpffs)?.into_iter().filter(|path| is_version(path)).collect())
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
        remove_others(dir.path(), &keep).expect("removed");
        assert!(!dir.path().join("v1").exists());
        assert!(keep.join("link_connect4").exists());
    }

    #[test]
    fn nothing_installed_is_nothing_removed() {
        assert!(uninstall(Path::new("/nonexistent/nllb")).expect("no error").is_empty());
    }
}
