//! Programs that only some tests use, and that set-up unpacks instead of installing.

use std::env;
use std::path::PathBuf;

/// The variable that names a directory with `kube-apiserver` and, maybe, `etcd`, as envtest of
/// controller-runtime has it.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// The directory that it names.
#[must_use]
pub fn assets() -> Option<PathBuf> {
    env::var_os(ASSETS).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A program in PATH, or the one of a Debian package that set-up has unpacked beside the programs under
/// test.
#[must_use]
pub fn find(program: &str, package: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let root = unpacked(&format!("debian/{package}"));
    let unpacked = root.iter().flat_map(|root| ["usr/bin", "usr/sbin"].map(|dir| root.join(dir)));
    let mut found = env::split_paths(&path).chain(unpacked).map(|dir| dir.join(program));
    found.find(|program| program.is_file())
}

/// What set-up has unpacked beside the programs under test, by its path below the target directory.
#[must_use]
pub fn unpacked(path: &str) -> Option<PathBuf> {
    let this = env::current_exe().unwrap_or_default();
    this.ancestors().map(|directory| directory.join(path)).find(|path| path.exists())
}
