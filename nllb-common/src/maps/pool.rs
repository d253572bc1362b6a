//! The backends of a pool: the values of the inner maps of POOLS.

use super::MAX_POOL_BACKENDS;
use crate::addr::{Addr, Family, Port};

/// A backend id that names none.
pub const NO_BACKEND: u32 = u32::MAX;
/// Backend id of the self-test's listeners: outside the maps, so that nothing is kept about them.
pub const SELF_TEST_BACKEND: u32 = u32::MAX - 1;
/// One backend of a pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Address, v4 as v4-mapped.
    pub addr: Addr,
    /// Port.
    pub port: Port,
    /// [`Family`] of the address as its number, so that the choice need not work it out.
    pub family: u16,
    /// Index into VERDICT and EVIDENCE.
    pub backend: u32,
    /// Epoch of that id: verdict and evidence of another epoch are about another backend.
    pub epoch: u32,
}

impl Slot {
    /// A slot that holds nothing.
    pub const EMPTY: Self = Self {
        addr: Addr::UNSPECIFIED,
        port: Port::new(0),
        family: Family::V6 as u16,
        backend: NO_BACKEND,
        epoch: 0,
    };

    /// A backend at `addr`:`port`.
    #[must_use]
    pub const fn new(addr: Addr, port: Port, backend: u32, epoch: u32) -> Self {
        Self { addr, port, family: addr.family() as u16, backend, epoch }
    }
}

/// Entries of a pool's Maglev table: a prime, as the algorithm needs, and some sixteen times the most
/// backends, so that shares differ by a few per cent at most.
pub const MAGLEV_ENTRIES: usize = 251;

/// Value of the inner maps of POOLS: all backends of a pool, never changed once published.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSet {
    /// How many of `slots` are in use.
    pub len: u32,
    /// The backends. From `len` on, where the choice never looks, are those that are left out, so that the
    /// next agent knows the ids that their connections have; then [`Slot::EMPTY`].
    pub slots: [Slot; MAX_POOL_BACKENDS],
    /// The Maglev table: indices into `slots`. The last entry is padding.
    pub maglev: [u8; MAGLEV_ENTRIES + 1],
}

impl PoolSet {
    /// A pool without backends.
    pub const EMPTY: Self =
        Self { len: 0, slots: [Slot::EMPTY; MAX_POOL_BACKENDS], maglev: [0; MAGLEV_ENTRIES + 1] };

    /// A pool of these backends; `None` when they are more than [`MAX_POOL_BACKENDS`].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_POOL_BACKENDS")]
    pub fn new(slots: &[Slot]) -> Option<Self> {
        let mut set = Self { len: slots.len() as u32, ..Self::EMPTY };
        set.slots.get_mut(..slots.len())?.copy_from_slice(slots);
        Some(set)
    }

    /// The same pool with these backends left out; `None` when there is no room for them.
    #[must_use]
    pub fn with_left_out(mut self, slots: &[Slot]) -> Option<Self> {
        let first = self.len as usize;
        self.slots.get_mut(first..first + slots.len())?.copy_from_slice(slots);
        Some(self)
    }

    /// The same pool with this Maglev table.
    #[must_use]
    pub fn with_maglev(mut self, table: &[u8; MAGLEV_ENTRIES]) -> Self {
        self.maglev[..MAGLEV_ENTRIES].copy_from_slice(table);
        self
    }

    /// The slots in use.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().take(self.len as usize)
    }

    /// The backends of the pool that get no connections through it.
    pub fn left_out(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().skip(self.len as usize).filter(|slot| slot.backend != NO_BACKEND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_takes_as_many_backends_as_it_has_slots_and_no_more() {
        let full = [Slot::EMPTY; MAX_POOL_BACKENDS];
        assert_eq!(PoolSet::new(&full).map(|p| p.iter().count()), Some(MAX_POOL_BACKENDS));
        assert_eq!(PoolSet::new(&[Slot::EMPTY; MAX_POOL_BACKENDS + 1]), None);
    }

    #[test]
    fn who_is_left_out_is_behind_those_in_use_as_far_as_there_is_room() {
        let slot = |backend| Slot { backend, ..Slot::EMPTY };
        let set = PoolSet::new(&[slot(1), slot(2)]).expect("few");
        assert_eq!(set.left_out().count(), 0);
        let with = set.with_left_out(&[slot(7)]).expect("room for it");
        assert!(with.iter().map(|slot| slot.backend).eq([1, 2]));
        assert!(with.left_out().map(|slot| slot.backend).eq([7]));
        assert!(set.with_left_out(&[slot(7); MAX_POOL_BACKENDS - 2]).is_some());
        assert_eq!(set.with_left_out(&[slot(7); MAX_POOL_BACKENDS - 1]), None);
    }
}
