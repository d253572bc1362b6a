//! Which backend a client gets by the Maglev policy: a table from a hash of the client to a backend.
//!
//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
//! 2016, section 3.4): each backend has its own permutation of the table's entries, made from its
//! address, and they take turns to claim the next free one of theirs. Shares differ by one entry at
//! most, and when a backend is added or removed few clients of the others move. Rendezvous hashing
//! would move none of them, but it asks for a hash per backend at every connect in the kernel; the
//! table is one read.
//!
//! The table follows from the addresses alone, in whatever order they come, so every agent on every
//! node builds the same one. It has all backends of the set, not only the healthy ones: who is out is
//! stepped over by the choice, and a table that changed with health would move clients of the others.

use nllb_common::addr::join;
use nllb_common::maps::{MAGLEV_ENTRIES, Slot};
use nllb_common::mix;

/// The table for these slots: which one each entry belongs to.
#[must_use]
pub fn table(slots: &[Slot]) -> [u8; MAGLEV_ENTRIES] {
    let mut entries = [0; MAGLEV_ENTRIES];
    let mut turns: Vec<_> =
        (0u8..).zip(slots).map(|(i, slot)| (i, Permutation::of(slot))).collect();
    // The order of the turns must not depend on the order in the set.
    turns.sort_by_key(|(index, _)| {
        let slot = &slots[usize::from(*index)];
        join(slot.addr, slot.port)
    });
    let mut free = [true; MAGLEV_ENTRIES];
    let mut left = if turns.is_empty() { 0 } else { MAGLEV_ENTRIES };
    while left > 0 {
        for (index, permutation) in turns.iter_mut().take(left) {
            let entry = permutation.claim(&free);
            free[entry] = false;
            entries[entry] = *index;
            left -= 1;
        }
    }
    entries
}

/// The order in which a backend claims entries: since their number is a prime, steps of any size visit
/// all of them.
struct Permutation {
    next: usize,
    step: usize,
}

impl Permutation {
    fn of(slot: &Slot) -> Self {
        Self {
            next: hash(slot, 0) % MAGLEV_ENTRIES,
            step: hash(slot, 1) % (MAGLEV_ENTRIES - 1) + 1,
        }
    }

    /// The first entry from here on that is free. There must be one.
    fn claim(&mut self, free: &[bool; MAGLEV_ENTRIES]) -> usize {
        loop {
            let entry = self.next;
            self.next = (entry + self.step) % MAGLEV_ENTRIES;
            if free[entry] {
                return entry;
            }
        }
    }
}

/// A hash of address and port that is the same on every machine and in every version: changing it
/// would move the clients of a cluster whose agents are upgraded one by one.
fn hash(slot: &Slot, salt: u32) -> usize {
    let words = slot.addr.v6_words().map(u32::from_be);
    let start = mix(0x9e37_79b9 ^ salt);
    let hash = words
        .into_iter()
        .chain([u32::from(slot.port.number())])
        .fold(start, |hash, word| mix(hash.rotate_left(5) ^ word).wrapping_add(hash));
    mix(hash) as usize
}

#[cfg(test)]
mod tests;
