//! The names of pins of one interface: of its two links, or, since filters need no pin, of a mark that there are
//! some, which says whether the qdisc was made for them, and in which network namespace: a link knows where it is,
//! but the number of an interface is another interface's elsewhere.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt as _;
use std::path::Path;

use crate::datapath::sys::interface::Direction;

/// Begins the name of the mark of filters in a qdisc that others have made.
const FOUND: &str = "clsact_found_";
/// The same where the qdisc was made for them.
const MADE: &str = "clsact_made_";

/// What is pinned for an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::datapath) enum Pinned {
    /// A link to it.
    Link(u32),
    /// The mark of filters on it.
    Filters {
        /// The interface.
        interface: u32,
        /// Whether the qdisc was made for them.
        made: bool,
        /// The network namespace in which it is, by the number of its file.
        netns: u64,
    },
}

impl Pinned {
    /// The interface.
    pub(super) const fn interface(self) -> u32 {
        match self {
            Self::Link(interface) | Self::Filters { interface, made: _, netns: _ } => interface,
        }
    }

    /// What the name of a pin says; none that is no interface's.
    pub(in crate::datapath) fn of(name: &OsStr) -> Option<Self> {
        let name = name.to_str()?;
        let number = |prefix: &str| name.strip_prefix(prefix)?.parse::<u32>().ok();
        let links = Direction::IN_ORDER.iter().find_map(|direction| number(prefix(*direction)));
        let filters = |start, made| {
            let (interface, netns) = name.strip_prefix(start)?.split_once('_')?;
            let (interface, netns) = (interface.parse().ok()?, netns.parse().ok()?);
            Some(Self::Filters { interface, made, netns })
        };
        let found = || filters(FOUND, false);
        links.map(Self::Link).or_else(found).or_else(|| filters(MADE, true))
    }
}

/// The name of a link's pin.
pub(super) fn link(direction: Direction, interface: u32) -> String {
    format!("{}{interface}", prefix(direction))
}

/// The name of the mark of filters.
pub(super) fn filters(interface: u32, made: bool) -> String {
    format!("{}{interface}_{}", if made { MADE } else { FOUND }, netns())
}

/// The network namespace of this thread; 0 when /proc does not tell.
pub(super) fn netns() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").map_or(0, |file| file.st_ino())
}

/// Removes a pin; one that is not there is removed already.
pub(super) fn remove(pin: &Path) -> io::Result<()> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// All that is pinned for interfaces in a directory.
pub(super) fn all(directory: &Path) -> Vec<Pinned> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| Pinned::of(&entry.file_name())).collect()
}

const fn prefix(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "link_from_guest_",
        Direction::Egress => "link_to_guest_",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_pinned_for_which_interface() {
        let of = |name: &str| Pinned::of(OsStr::new(name));
        for direction in Direction::IN_ORDER {
            assert_eq!(of(&link(direction, 7)), Some(Pinned::Link(7)));
        }
        for made in [false, true] {
            assert_eq!(
                of(&filters(9, made)),
                Some(Pinned::Filters { interface: 9, made, netns: netns() })
            );
        }
        for other in [
            "link_connect4",
            "link_to_guest_",
            "link_to_guest_x",
            "clsact_9",
            "clsact_made_9",
            "clsact_made_9_x",
            "set_7",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
