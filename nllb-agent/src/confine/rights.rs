//! Capabilities: the agent keeps those that it has a use for, of those that it was given.
//!
//! What each is for stands in docs/security.md, and `tests/tests/rights.rs` takes them away one by one.

use rustix::io::{self, Errno};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

pub(super) type Rights = CapabilitySet;

/// All that an agent may ever use. The last is for a loopback frontend with a port below 1024, which may come with a
/// reload.
pub(super) const USED: Rights = Rights::BPF
    .union(Rights::NET_ADMIN)
    .union(Rights::PERFMON)
    .union(Rights::SYS_ADMIN)
    .union(Rights::SYS_PTRACE)
    .union(Rights::NET_BIND_SERVICE);
/// The same where no process of others is looked into: no network namespace of a pod has to be found, since no socket
/// there is ever ended, and the cgroup is named.
pub(super) const ALONE: Rights = USED.difference(Rights::SYS_PTRACE);
/// What it takes to give up more, and to open the socket that announces takeovers of the VIP before that.
pub(super) const TO_GO_ON: Rights = Rights::SETPCAP.union(Rights::NET_RAW);

/// Programs that are executed have no more rights than this one.
pub(super) fn gain_no_more() -> io::Result<()> {
    set_no_new_privs(true)
}

/// Gives up every other capability of the calling thread for good; says which are left.
pub(super) fn keep(wanted: Rights) -> io::Result<Rights> {
    let kept = capabilities(None)?.permitted.intersection(wanted);
    // First what needs CAP_SETPCAP.
    bound(kept)?;
    // With nothing to inherit there is no ambient set either.
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: Rights::empty() };
    set_capabilities(None, sets)?;
    Ok(kept)
}

/// Limits what could be gained by executing a program, which is nothing already: who lacks CAP_SETPCAP leaves the limit
/// as it is.
fn bound(kept: Rights) -> io::Result<()> {
    let every = (0..u64::BITS).map(|number| Rights::from_bits_retain(1 << number));
    for one in every.filter(|one| !kept.contains(*one)) {
        match capability_is_in_bounding_set(one) {
            Ok(true) => match remove_capability_from_bounding_set(one) {
                Ok(()) => {}
                Err(Errno::PERM) => return Ok(()),
                Err(error) => return Err(error),
            },
            Ok(false) => {}
            // Of a number that this kernel does not know.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Names as everybody writes them.
pub(super) fn names(rights: Rights) -> Vec<String> {
    rights.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// On a thread of its own: the others of this process keep what they have.
    fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| scope.spawn(work).join()).expect("no panic")
    }

    #[test]
    fn what_is_not_used_is_given_up_and_does_not_come_back() {
        apart(|| {
            let before = capabilities(None).expect("known").permitted;
            let kept = keep(USED).expect("given up");
            assert_eq!(kept, before & USED);
            let sets = capabilities(None).expect("known");
            assert_eq!((sets.effective, sets.permitted), (kept, kept));
            assert_eq!(sets.inheritable, Rights::empty());
            if before.contains(Rights::SETPCAP) {
                let bounded = capability_is_in_bounding_set(Rights::SYS_MODULE);
                assert_eq!(bounded, Ok(false));
            }
            let all = CapabilitySets { effective: before, permitted: before, ..sets };
            let again = set_capabilities(None, all);
            assert_eq!(again.is_ok(), before == kept);
        });
    }

    #[test]
    fn names_are_as_everybody_writes_them() {
        assert_eq!(names(Rights::BPF | Rights::SYS_PTRACE), ["CAP_SYS_PTRACE", "CAP_BPF"]);
    }
}
