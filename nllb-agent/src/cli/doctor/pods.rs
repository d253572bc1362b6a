//! Finds the network namespace of a pod to look from.

use super::processes;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// A namespace and whose it is: of this process, or of some pod's.
pub(super) fn find(from_pid: Option<u32>) -> Option<(PathBuf, String)> {
    let pid = match from_pid {
        Some(pid) => pid,
        None => some_pod()?,
    };
    let namespace = PathBuf::from(format!("/proc/{pid}/ns/net"));
    Some((namespace, processes::named(pid)))
}

/// A process that the kubelet has started in a network namespace of its own.
fn some_pod() -> Option<u32> {
    let own = fs::metadata("/proc/self/ns/net").ok()?.ino();
    processes::all().find(|pid| {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let namespace = fs::metadata(format!("/proc/{pid}/ns/net"));
        cgroup.contains("kubepods") && namespace.is_ok_and(|namespace| namespace.ino() != own)
    })
}
