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
    let this = env::current_exe().unwrap_or_default();
    let unpacked = this.ancestors().map(|dir| dir.join("debian").join(package).join("usr/bin"));
    let mut found = env::split_paths(&path).chain(unpacked).map(|dir| dir.join(program));
    found.find(|program| program.is_file())
}
