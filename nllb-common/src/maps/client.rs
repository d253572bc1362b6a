//! Who dials, for the policies that give the same client the same backend: key and value of CLIENTS.

use crate::mix;

/// Key of CLIENTS: a process in a network namespace, dialling a frontend.
///
/// A process, because all of a host's share one namespace; it is what stays the same over the
/// connections of a client library.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// The process, as the first process-id namespace numbers it.
    pub tgid: u32,
    /// Id of the frontend.
    pub frontend: u32,
}

impl Client {
    /// A number spread evenly over clients, the same at each connect of one.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    pub const fn hash(&self) -> u32 {
        let netns = mix(self.netns as u32) ^ (self.netns >> 32) as u32;
        mix(mix(netns ^ self.tgid) ^ self.frontend)
    }
}

/// Value of CLIENTS: the backend that a client had last, in one aligned word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Favourite {
    /// Its id.
    pub backend: u32,
    /// Its epoch.
    pub epoch: u32,
}

#[expect(clippy::cast_possible_truncation, reason = "bit fields, in const")]
impl Favourite {
    /// The word in the map: bits 0..32 backend, 32..64 epoch.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.backend as u64 | (self.epoch as u64) << 32
    }

    /// From the word in the map.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { backend: word as u32, epoch: (word >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_favourite_survives_its_word(backend: u32, epoch: u32) {
            let favourite = Favourite { backend, epoch };
            prop_assert_eq!(Favourite::from_word(favourite.word()), favourite);
        }
    }

    #[test]
    fn neighbouring_clients_have_hashes_far_apart() {
        let clients = (0..4u64).flat_map(|netns| {
            (0..250).map(move |tgid| Client { netns, tgid, frontend: 1 }.hash() >> 24)
        });
        // 1,000 draws of 256 values leave some 5 of them out.
        assert!(clients.collect::<BTreeSet<_>>().len() > 235);
    }
}
