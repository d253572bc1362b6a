//! File descriptors: how many the agent may open, and what the relays may take of them. And locked memory.
//!
//! Service managers start programs with a low soft limit, 1024 as a rule, for the sake of programs
//! that use `select`. The agent does not, so it takes what the hard limit allows.

use rustix::io;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A relayed connection has a client's socket and a backend's.
const PER_CONNECTION: u64 = 2;
/// Maps, links, probes, listeners, files: the agent itself needs some 60, more while it reloads.
const FOR_THE_AGENT: u64 = 256;
/// A listener that serves nobody is worse than an agent short of descriptors.
const LEAST_CONNECTIONS: u64 = 16;
/// 16 KiB of memory each: above this something is wrong, and the node needs its memory.
const MOST_CONNECTIONS: u64 = 1024;

/// Raises the soft limit of descriptors to the hard one.
///
/// # Errors
/// When the kernel refuses; the limit stays.
pub fn raise_descriptors() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
}

/// Raises the limit of locked memory, against which Linux before 5.11 counts maps, those of other programs too: away,
/// or, without `CAP_SYS_RESOURCE`, which the agent gives up, as far as the hard limit allows.
///
/// # Errors
/// When the kernel refuses; the limit stays.
pub fn raise_locked_memory() -> io::Result<()> {
    let none = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Memlock, none).or_else(|_| {
        let maximum = getrlimit(Resource::Memlock).maximum;
        setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum })
    })
}

/// How many connections may be relayed at once under the limit that holds now.
#[must_use]
pub fn relayed_connections() -> usize {
    // No limit at all is more than enough.
    connections(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

fn connections(descriptors: u64) -> usize {
    let fitting = descriptors.saturating_sub(FOR_THE_AGENT) / PER_CONNECTION;
    let connections = fitting.clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relayed_connections_leave_descriptors_for_the_agent() {
        let expected = [
            (0, 16),
            (256, 16),
            (288, 16),
            (290, 17),
            (1024, 384),
            (2302, 1023),
            (2304, 1024),
            (u64::MAX, 1024),
        ];
        for (descriptors, most) in expected {
            assert_eq!(connections(descriptors), most, "with {descriptors} descriptors");
        }
    }

    #[test]
    fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
        let Rlimit { current: _, maximum } = getrlimit(Resource::Nofile);
        // One less than there could be: other tests of this process do not notice.
        let lower = maximum.map(|maximum| maximum - 1);
        setrlimit(Resource::Nofile, Rlimit { current: lower, maximum }).expect("lowered");
        raise_descriptors().expect("raised");
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: maximum, maximum });
    }
}
