//! The table of each guest: a map of its own, so that none can wash out what another has.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError};
use nllb_common::maps::{Flow, FlowTag, Guest, MAX_GUESTS, names};

use crate::datapath::maps::{MapsError, kernel, open};
use crate::datapath::sys;
use crate::datapath::sys::interface;

/// Least entries of a table: some thousand connections, of which each has two entries.
const LEAST: u32 = 8192;
/// Entries for each CPU, which may hold 128 of them in reserve: with fewer a table that is large enough on a small
/// machine would forget at once on a large one.
const FOR_EACH_CPU: u32 = 256;

/// The tables of all guests.
#[derive(Debug)]
pub(super) struct Tables {
    guests: MapData,
    states: HashMap<MapData, u32, Guest>,
}

/// Creates the hash of tables and pins it, unless it is pinned already, so that the loader takes this one: with the
/// type information of the loader's, some kernels accept only tables that have some too (see POOLS).
pub(in crate::datapath) fn pin_guests(pin: &Path) -> Result<(), MapsError> {
    if pin.exists() {
        return Ok(());
    }
    let created = create_table(1)
        .and_then(|like| interface::create_hash_of_maps(names::GUESTS, MAX_GUESTS, &like))
        .and_then(|guests| sys::pin(&guests, pin));
    let map = names::GUESTS;
    created.map_err(|source| MapsError::Call { map, verb: "create it", source })
}

fn create_table(entries: u32) -> io::Result<OwnedFd> {
    interface::create_lru_hash("GUEST", size_of::<FlowTag>(), size_of::<Flow>(), entries)
}

impl Tables {
    /// Opens the pinned maps.
    pub(super) fn open(directory: &Path) -> Result<Self, MapsError> {
        let states = Map::from_map_data(open(directory, names::GUEST_STATES)?).ok();
        let states = states.and_then(|map| HashMap::try_from(map).ok());
        let states = states.ok_or(MapsError::Mismatch { map: names::GUEST_STATES })?;
        Ok(Self { guests: open(directory, names::GUESTS)?, states })
    }

    /// An object to pin in the place of what cannot be pinned.
    pub(super) fn mark(&self) -> io::Result<OwnedFd> {
        self.guests().try_clone_to_owned()
    }

    fn guests(&self) -> BorrowedFd<'_> {
        self.guests.fd().as_fd()
    }

    /// Gives an interface a table in which nothing is, in the place of the one that it may have.
    pub(super) fn make(&mut self, index: u32) -> io::Result<()> {
        let cpus = aya::util::nr_cpus().unwrap_or(1);
        let entries = u32::try_from(cpus).unwrap_or(u32::MAX).saturating_mul(FOR_EACH_CPU);
        let table = create_table(entries.max(LEAST))?;
        self.states.insert(index, Guest::default(), 0).map_err(io::Error::other)?;
        // SAFETY: GUESTS is a hash of maps by the number of an interface.
        unsafe { interface::put_map(&self.guests(), index, &table) }
    }

    /// Whether an interface has a table.
    pub(super) fn has(&self, index: u32) -> bool {
        // SAFETY: as above.
        let has = unsafe { interface::has_map(&self.guests(), index) };
        has.unwrap_or(false) && self.state(index).is_some()
    }

    /// Forgets the table of an interface.
    pub(super) fn remove(&mut self, index: u32) -> io::Result<()> {
        match self.states.remove(&index) {
            Err(error) if !matches!(error, MapError::KeyNotFound) => {
                let error = kernel(names::GUEST_STATES, "forget a guest")(error);
                tracing::debug!(%error, index);
            }
            _ => {}
        }
        // SAFETY: as above.
        unsafe { interface::remove(&self.guests(), index) }
    }

    /// What the programs note of an interface.
    pub(super) fn state(&self, index: u32) -> Option<Guest> {
        self.states.get(&index, 0).ok()
    }

    /// The interfaces that have a table.
    pub(super) fn known(&self) -> Vec<u32> {
        // SAFETY: as above.
        unsafe { interface::keys(&self.guests(), MAX_GUESTS) }.unwrap_or_default()
    }
}
