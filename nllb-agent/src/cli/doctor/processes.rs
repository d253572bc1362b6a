//! The processes of this host.

use std::fs;

/// As many are looked at; on a node with more, whoever is looked for is among these.
const MOST: usize = 32_768;

/// Their ids.
pub(super) fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok).take(MOST);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What people know one by: its name and its id.
pub(super) fn named(pid: u32) -> String {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} (process {pid})", command.trim_end())
}
