//! What is held against the kernel's own books between epochs: sockets, memory, descriptors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::netns;

/// What the agent may have more than after the first epoch. Memory that was given back to the allocator
/// is not always given back to the kernel at once.
const MORE_MIB: f64 = 3.0;
/// Clients of the admin socket and probes come and go.
const MORE_DESCRIPTORS: usize = 12;

/// What the agent takes of the machine when all is well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Books {
    pub(super) allocated_mib: f64,
    pub(super) descriptors: usize,
}

impl Books {
    /// What grew since the first epoch, in sentences.
    pub(super) fn grown(&self, first: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.allocated_mib > first.allocated_mib + MORE_MIB {
            found.push(format!(
                "the agent has allocated {:.1} MiB, {:.1} after the first epoch",
                self.allocated_mib, first.allocated_mib
            ));
        }
        if self.descriptors > first.descriptors + MORE_DESCRIPTORS {
            found.push(format!(
                "the agent has {} descriptors, {} after the first epoch",
                self.descriptors, first.descriptors
            ));
        }
        found
    }
}

/// The established connections of these processes in these network namespaces, by who is at the other end.
pub(super) fn open_by_server(netns: &[&str], ids: &[u32]) -> Result<BTreeMap<SocketAddr, u64>> {
    let mut open = BTreeMap::new();
    for name in netns {
        let listed = netns::run_in(name, || {
            Command::new("ss").args(["-H", "-t", "-n", "-p", "state", "established"]).output()
        })?;
        let listed = listed.context("cannot run ss")?;
        ensure!(listed.status.success(), "ss cannot list sockets");
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            if let Some(server) = peer_of(line, ids) {
                *open.entry(server).or_insert(0) += 1;
            }
        }
    }
    Ok(open)
}

/// Who is at the other end of a connection of one of these processes. The columns are: bytes to read, bytes to
/// send, this end, the other end, processes.
fn peer_of(line: &str, ids: &[u32]) -> Option<SocketAddr> {
    let mut columns = line.split_whitespace().skip(3);
    let peer = columns.next()?.parse().ok()?;
    let processes = columns.next()?;
    let is_of = |id: &u32| processes.contains(&format!("pid={id},"));
    ids.iter().any(is_of).then_some(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ss_tells_who_is_at_the_other_end_and_whose_it_is() {
        let line = "0      0      10.77.0.20:41234    10.77.0.10:6443  users:((\"nllb-lab\",pid=321,fd=9))";
        assert_eq!(peer_of(line, &[7, 321]), "10.77.0.10:6443".parse().ok());
        assert_eq!(peer_of(line, &[32]), None);
        assert_eq!(peer_of("0 0 10.77.0.20:41234 10.77.0.10:6443", &[321]), None);
    }

    #[test]
    fn what_grows_a_little_has_not_grown() {
        let first = Books { allocated_mib: 8.0, descriptors: 40 };
        assert!(Books { allocated_mib: 10.9, descriptors: 52 }.grown(&first).is_empty());
        assert_eq!(Books { allocated_mib: 11.1, descriptors: 53 }.grown(&first).len(), 2);
    }
}
