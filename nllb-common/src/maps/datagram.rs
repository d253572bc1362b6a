//! What is kept per datagram socket: where its datagrams went, so that answers seem to come from there where
//! they were sent.
//!
//! A client checks who answers, and it knows the address that it dialled. One socket may ask several
//! addresses at once (musl asks every name server from one socket), and each datagram may have met another
//! backend. So a socket has a few pairs of backend and dialled address; the oldest makes room for a new one.
//! They live and die with their socket, so no table of them can be filled by whoever sends much.
//!
//! The kernel holds the socket's lock around each hook that reads or writes this, so plain loads and stores
//! are enough. Loops are without branches where they lead to the choice, see [`crate::pick`].

use super::pool::{NO_BACKEND, Slot};
use crate::addr::{Addr, Port};

/// Pairs that are kept of one socket: three dialled addresses (the most that resolvers use) with five
/// backends each.
pub const MAX_EXCHANGES: usize = 16;

/// A question is asked again when nothing has come back for so long: more than any answer from a cluster's
/// own server takes, less than any resolver waits. Sooner it is another question, as for the second family.
const AGAIN_MS: u32 = 200;
/// When a question is forgotten: longer than any resolver waits.
const FORGOTTEN_MS: u32 = 15_000;

/// Where datagrams went.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Address of the backend; unspecified for an entry that was never used.
    pub backend_addr: Addr,
    /// Address that was dialled.
    pub dialled_addr: Addr,
    /// Port of the backend.
    pub backend_port: Port,
    /// Port that was dialled.
    pub dialled_port: Port,
    /// Id of the backend.
    pub backend: u32,
    /// Epoch of the backend.
    pub epoch: u32,
    /// When the last datagram was sent that nothing came back for, in milliseconds of the monotonic clock
    /// (they wrap), never 0; 0 when something has come since.
    pub asked_ms: u32,
}

/// Value of DATAGRAMS: the exchanges of a socket. No two of them have the same address of a backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchanges {
    /// Where the next new one goes.
    next: u32,
    entries: [Exchange; MAX_EXCHANGES],
}

/// What the datagrams of a socket so far say about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Not 0 when this is a second try: the last one at the same address was not answered in time.
    pub again: u32,
    /// Id of the backend that did not answer then.
    pub backend: u32,
    /// Its epoch.
    pub epoch: u32,
    /// The backend that the next one should rather not go to: the one that did not answer, else the one that
    /// was last asked at another address, whose answer could not be told from the next one's. [`NO_BACKEND`]
    /// when there is none.
    pub avoid: u32,
}

/// 1 when this is zero, else 0; the verifier does not know which. See [`crate::pick::Request`] for `zero`.
#[inline(always)]
const fn is_zero(bits: u32, zero: u32) -> u32 {
    (bits == 0) as u32 ^ zero
}

/// All ones for 1, none for 0.
#[inline(always)]
const fn filled(bit: u32) -> u32 {
    0u32.wrapping_sub(bit)
}

/// `b` for 1, `a` for 0, without a branch.
#[inline(always)]
const fn select(bit: u32, a: u32, b: u32) -> u32 {
    a ^ (a ^ b) & filled(bit)
}

impl Exchange {
    const UNUSED: Self = Self {
        backend_addr: Addr::UNSPECIFIED,
        dialled_addr: Addr::UNSPECIFIED,
        backend_port: Port::new(0),
        dialled_port: Port::new(0),
        backend: 0,
        epoch: 0,
        asked_ms: 0,
    };

    /// 1 when this is the backend's address, else 0.
    #[inline(always)]
    const fn is_backend(&self, addr: &Addr, port: Port, zero: u32) -> u32 {
        let ports = self.backend_port.word() ^ port.word();
        is_zero(self.backend_addr.difference(addr) | ports, zero)
    }

    /// 1 when this was dialled, else 0.
    #[inline(always)]
    const fn is_dialled(&self, addr: &Addr, port: Port, zero: u32) -> u32 {
        let ports = self.dialled_port.word() ^ port.word();
        is_zero(self.dialled_addr.difference(addr) | ports, zero)
    }

    /// The backend's address is dialled by itself: what comes from there is to seem to.
    #[inline(always)]
    pub fn forget(&mut self) {
        // No datagram comes from port 0.
        self.backend_port = Port::new(0);
        self.asked_ms = 0;
    }
}

impl Exchanges {
    /// Nothing sent yet: all zero, as the kernel makes a new one.
    pub const NONE: Self = Self { next: 0, entries: [Exchange::UNUSED; MAX_EXCHANGES] };

    /// The exchange with the backend at this address; [`None`] when nothing was sent there.
    #[inline(always)]
    pub fn with_backend(&mut self, addr: Addr, port: Port) -> Option<&mut Exchange> {
        self.entries.iter_mut().find(|entry| entry.is_backend(&addr, port, 0) != 0)
    }

    /// The exchange with the backend that a socket is connected to, if it was connected by way of this
    /// address.
    #[inline(always)]
    #[must_use]
    pub fn with_peer(&self, backend: (u32, u32), addr: Addr, port: Port) -> Option<&Exchange> {
        let is_peer = |entry: &&Exchange| {
            (entry.backend, entry.epoch) == backend && entry.is_dialled(&addr, port, 0) != 0
        };
        self.entries.iter().find(is_peer)
    }

    /// What to know before a datagram to this address is sent.
    ///
    /// The result is folded from all entries, and none is looked up by a place that was found: the verifier
    /// would want to know exactly where such a place came from, and follow each way in which it came about.
    #[inline(always)]
    #[must_use]
    pub fn past(&self, addr: Addr, port: Port, now_ms: u32, zero: u32) -> Past {
        // What is left of each until it is forgotten: the youngest has most. 0 for none.
        let (mut again, mut busy) = (zero, zero);
        let (mut backend, mut epoch, mut other) = (zero, zero, NO_BACKEND ^ zero);
        for entry in &self.entries {
            let age_ms = now_ms.wrapping_sub(entry.asked_ms);
            let left_ms = FORGOTTEN_MS.wrapping_sub(age_ms);
            let waits = 1 ^ (is_zero(entry.asked_ms, zero) | (age_ms | left_ms) >> 31);
            let late = 1 ^ (age_ms.wrapping_sub(AGAIN_MS) >> 31);
            let same = entry.is_dialled(&addr, port, zero);
            let key = left_ms.wrapping_add(1) & filled(waits & same & late);
            // Both are below half of what there is.
            let later = again.wrapping_sub(key) >> 31;
            again = select(later, again, key);
            backend = select(later, backend, entry.backend);
            epoch = select(later, epoch, entry.epoch);
            let key = left_ms.wrapping_add(1) & filled(waits & (1 ^ same));
            let later = busy.wrapping_sub(key) >> 31;
            busy = select(later, busy, key);
            other = select(later, other, entry.backend);
        }
        let avoid = select(is_zero(again, zero), backend, other);
        Past { again, backend, epoch, avoid }
    }

    /// Notes that a datagram for this address goes to a backend. Of two addresses that lead to the same
    /// backend the latest counts. `zero` is as in [`Self::past`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a place is below MAX_EXCHANGES")]
    pub fn note(&mut self, slot: &Slot, addr: Addr, port: Port, asked_ms: u32, zero: u32) {
        let Slot { addr: backend_addr, port: backend_port, family: _, backend, epoch } = *slot;
        let (mut place, mut known) = (self.next ^ zero, zero);
        for index in 0..MAX_EXCHANGES {
            let same = self.entries[index].is_backend(&backend_addr, backend_port, zero);
            place = select(same, place, index as u32);
            known |= same;
        }
        self.next = self.next.wrapping_add(1 ^ known);
        let entry = &mut self.entries[place as usize % MAX_EXCHANGES];
        entry.backend_addr = backend_addr;
        entry.backend_port = backend_port;
        entry.dialled_addr = addr;
        entry.dialled_port = port;
        entry.backend = backend;
        entry.epoch = epoch;
        entry.asked_ms = asked_ms;
    }
}

const _: () = assert!(MAX_EXCHANGES.is_power_of_two() && NO_BACKEND == u32::MAX);

#[cfg(test)]
mod tests;
