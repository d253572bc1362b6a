//! Programs that only some tests use, and that set-up unpacks instead of installing.

use std::env;
use std::path::PathBuf;

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
