//! What the thread that ends sockets is at, for those who wait for it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by one thread and those who wait for it. Each number stands for itself, so no order between them
/// is needed.
#[derive(Debug, Default)]
pub(super) struct Progress {
    beats: AtomicU64,
    /// The socket that is being ended; 0 for none.
    socket: AtomicU64,
    given_up: AtomicBool,
    /// Sockets at which a thread has hung.
    avoid: BTreeSet<u64>,
}

impl Progress {
    /// Of a thread that is to leave these sockets alone.
    pub(super) fn avoiding(avoid: BTreeSet<u64>) -> Self {
        Self { avoid, ..Self::default() }
    }

    /// Says that the thread gets on.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows as long as the thread gets on.
    pub(super) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Whether the thread may end a socket, of which it says so before. Not one at which a thread has hung,
    /// and none when it has hung itself: another one does its work by then.
    pub(super) fn may_end(&self, cookie: u64) -> bool {
        self.beat();
        let may = !self.avoid.contains(&cookie) && !self.is_given_up();
        self.socket.store(if may { cookie } else { 0 }, Ordering::Relaxed);
        may
    }

    /// Says that the kernel has answered about the socket.
    pub(super) fn ended(&self) {
        self.socket.store(0, Ordering::Relaxed);
    }

    /// Cookie of the socket that is being ended.
    pub(super) fn socket(&self) -> Option<u64> {
        Some(self.socket.load(Ordering::Relaxed)).filter(|cookie| *cookie != 0)
    }

    /// Tells the thread to end when it can.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}
