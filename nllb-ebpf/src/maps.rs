//! The maps, and the only ways in which the programs touch them. Everything here that needs `unsafe` is behind a
//! function that is safe to call.

pub(crate) mod guests;
use core::ptr;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::btf_maps::{
    Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage,
};
use aya_ebpf::macros::btf_map;
use nllb_common::maps::{
    Client, Control, EVENTS_BYTES, Evidence, Exchanges, Favourite, Frontend, FrontendKey,
    MAX_BACKENDS, MAX_CLIENTS, MAX_FRONTENDS, MAX_NETNS, MAX_POOLS, MAX_TURNS, Netns, PoolSet,
    STATS_ENTRIES, SUSPECT_ANYWAY, SocketRecord, TURNS_PER_POOL, Verdict, at_least_none,
};
use nllb_common::pick::View;
use nllb_common::{Counter, Event};

/// `BPF_F_NO_PREALLOC`: an entry that is replaced lives until its readers are gone.
const NO_PREALLOC: usize = 1;

#[btf_map]
static FRONTENDS: HashMap<FrontendKey, u64, { MAX_FRONTENDS as usize }, NO_PREALLOC> =
    HashMap::new();
#[btf_map]
static POOLS: ArrayOfMaps<Array<PoolSet, 1>, { MAX_POOLS as usize }> = ArrayOfMaps::new();
#[btf_map]
static VERDICT: Array<u64, { MAX_BACKENDS as usize }> = Array::new();
#[btf_map]
static EVIDENCE: Array<Evidence, { MAX_BACKENDS as usize }> = Array::new();
#[btf_map]
pub(crate) static SOCKS: SkStorage<SocketRecord> = SkStorage::new();
#[btf_map]
pub(crate) static DATAGRAMS: SkStorage<Exchanges> = SkStorage::new();
#[btf_map]
static DATAGRAM_PEERS: LruHashMap<u64, u64, { MAX_CLIENTS as usize }> = LruHashMap::new();
#[btf_map]
static NETNS: HashMap<u64, Netns, { MAX_NETNS as usize }, NO_PREALLOC> = HashMap::new();
#[btf_map]
static TURNS: Array<u64, { MAX_TURNS as usize }> = Array::new();
#[btf_map]
static CLIENTS: LruHashMap<Client, u64, { MAX_CLIENTS as usize }> = LruHashMap::new();
#[btf_map]
static STATS: PerCpuArray<u64, { STATS_ENTRIES as usize }> = PerCpuArray::new();
#[btf_map]
static EVENTS: RingBuf<Event, EVENTS_BYTES> = RingBuf::new();
#[btf_map]
static CONTROL: Array<Control, 1> = Array::new();

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(slot) = STATS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot belongs to this CPU and the program is not preempted by another of ours
        // on the same counter in a way that matters more than one lost count.
        unsafe { *slot += 1 };
    }
}

/// Lease and limits; `None` never happens for a one-entry array but must be handled.
#[inline(always)]
pub(crate) fn control() -> Option<Control> {
    let control = CONTROL.get_ptr(0)?;
    // SAFETY: the pointer is to a live array entry. Each field is an aligned word of its own and
    // none depends on another, so reading them one after the other is never torn.
    Some(unsafe { ptr::read_volatile(control) })
}

/// The frontend with this key.
#[inline(always)]
pub(crate) fn frontend(key: &FrontendKey) -> Option<Frontend> {
    let word = FRONTENDS.get_ptr(key)?;
    // SAFETY: the entry stays allocated while the program runs, and one aligned word is read.
    Some(Frontend::from_word(unsafe { ptr::read_volatile(word) }))
}

/// The backends of a pool.
#[inline(always)]
pub(crate) fn pool(pool: u32) -> Option<&'static PoolSet> {
    // The inner map is never written after it was published, and it outlives the program's run.
    POOLS.get_value(pool, &0)
}

/// Notes whose turn it was.
#[inline(always)]
pub(crate) fn take_turn(pool: u32, slot: u32, now_ns: u64) {
    if let Some(turn) = TURNS.get_ptr_mut(turn_index(pool, slot)) {
        // SAFETY: a live, aligned array entry; one aligned word is written.
        unsafe { ptr::write_volatile(turn, now_ns) };
    }
}

#[inline(always)]
fn turn_index(pool: u32, slot: u32) -> u32 {
    pool * TURNS_PER_POOL + slot
}

/// The backend that a client had last.
#[inline(always)]
pub(crate) fn favourite(client: &Client) -> Option<Favourite> {
    let word = CLIENTS.get_ptr(client)?;
    // SAFETY: the entry stays allocated while the program runs, and one aligned word is read.
    Some(Favourite::from_word(unsafe { ptr::read_volatile(word) }))
}

/// Notes the backend that a client has now.
#[inline(always)]
pub(crate) fn set_favourite(client: &Client, favourite: Favourite) {
    // Without room the client is drawn anew at its next connect, nothing else.
    let _forgotten = CLIENTS.insert(client, favourite.word(), u64::from(BPF_ANY));
}

/// Notes to whom a datagram socket is connected, by which the agent tells it from those that dialled themselves.
#[inline(always)]
pub(crate) fn set_datagram_peer(cookie: u64, backend: u32, epoch: u32) {
    let word = Favourite { backend, epoch }.word();
    let _forgotten = DATAGRAM_PEERS.insert(cookie, word, u64::from(BPF_ANY));
}

/// The datagram socket is connected elsewhere.
#[inline(always)]
pub(crate) fn forget_datagram_peer(cookie: u64) {
    let _absent = DATAGRAM_PEERS.remove(cookie);
}

/// Counts a connection of a network namespace, which is made known by it, and notes who was there.
#[inline(always)]
pub(crate) fn enter_netns(cookie: u64, tgid: u32) {
    if join_netns(cookie, tgid) {
        return;
    }
    let first = Netns { active: 1, tgid, datagram_s: 0 };
    let inserted = NETNS.insert(cookie, first, u64::from(BPF_NOEXIST)).is_ok();
    // Known by now, because another CPU was faster; or full.
    if !inserted && !join_netns(cookie, tgid) {
        count(Counter::NetnsFull);
    }
}

/// Counts a connection of a network namespace, if it is known.
#[inline(always)]
fn join_netns(cookie: u64, tgid: u32) -> bool {
    let Some(netns) = NETNS.get_ptr_mut(cookie) else {
        return false;
    };
    // SAFETY: a live, aligned entry; only atomic additions touch the count, and of the process, one
    // aligned word, the last one stays.
    unsafe {
        atomic_add(&raw mut (*netns).active, 1);
        ptr::write_volatile(&raw mut (*netns).tgid, tgid);
    }
    true
}

/// Notes that a datagram socket connected in a network namespace, which is made known by it.
#[inline(always)]
pub(crate) fn note_datagrams(cookie: u64, tgid: u32, datagram_s: u32) {
    if let Some(netns) = NETNS.get_ptr_mut(cookie) {
        // SAFETY: a live, aligned entry; two aligned words are written, of which the last ones stay.
        unsafe {
            ptr::write_volatile(&raw mut (*netns).tgid, tgid);
            ptr::write_volatile(&raw mut (*netns).datagram_s, datagram_s);
        }
        return;
    }
    let first = Netns { active: 0, tgid, datagram_s };
    let _full_or_known = NETNS.insert(cookie, first, u64::from(BPF_NOEXIST));
}

/// Takes a connection of a network namespace out of the count.
#[inline(always)]
pub(crate) fn leave_netns(cookie: u64) {
    if let Some(netns) = NETNS.get_ptr_mut(cookie) {
        // SAFETY: a live, aligned entry; only atomic additions touch the field.
        unsafe { atomic_add(&raw mut (*netns).active, u64::MAX) };
    }
}

/// Writes an event; counts it as dropped when the buffer is full.
#[inline(always)]
pub(crate) fn emit(event: Event) {
    if EVENTS.output(event, u64::from(BPF_ANY)).is_err() {
        count(Counter::EventDropped);
    }
}

/// Loads a field of evidence.
macro_rules! load {
    ($self:ident.$field:ident) => {
        // SAFETY: an aligned field of the live array entry `self.0`.
        unsafe { ptr::read_volatile(&raw const (*$self.0).$field) }
    };
}

/// Stores a field of evidence.
macro_rules! store {
    ($self:ident.$field:ident, $value:expr) => {
        // SAFETY: as for `load`.
        unsafe { ptr::write_volatile(&raw mut (*$self.0).$field, $value) }
    };
}

/// Adds to a field of evidence.
macro_rules! add {
    ($self:ident.$field:ident, $delta:expr) => {
        // SAFETY: as for `load`.
        unsafe { atomic_add(&raw mut (*$self.0).$field, $delta) }
    };
}

/// Evidence about one backend, as long as it is of the right epoch.
#[derive(Clone, Copy)]
pub(crate) struct BackendEvidence(*mut Evidence);

impl BackendEvidence {
    /// The evidence of `backend`; `None` when the id has been given to another one since.
    #[inline(always)]
    pub(crate) fn of(backend: u32, epoch: u32) -> Option<Self> {
        let entry = EVIDENCE.get_ptr_mut(backend)?;
        // SAFETY: a live, aligned array entry; one aligned word is read.
        let held = unsafe { ptr::read_volatile(&raw const (*entry).epoch) };
        (held == epoch).then_some(Self(entry))
    }

    // The fields are words that programs on several CPUs touch at once: each is read, stored or
    // added to in one instruction. Losing a concurrent store costs one failure in a streak.

    /// Until when it is suspect, in nanoseconds of `CLOCK_MONOTONIC`.
    #[inline(always)]
    pub(crate) fn suspect_until_ns(self) -> u64 {
        load!(self.suspect_until_ns)
    }

    /// De-prefers it until `until_ns`, if it is not already for longer.
    #[inline(always)]
    pub(crate) fn suspect(self, until_ns: u64) {
        self.suspect_word(until_ns & !SUSPECT_ANYWAY);
    }

    /// As [`Self::suspect`], and no handshake ends it.
    #[inline(always)]
    pub(crate) fn suspect_anyway(self, until_ns: u64) {
        self.suspect_word(until_ns | SUSPECT_ANYWAY);
    }

    #[inline(always)]
    fn suspect_word(self, word: u64) {
        if load!(self.suspect_until_ns) < word {
            store!(self.suspect_until_ns, word);
        }
    }

    /// Adds one failure and returns how many there were before it.
    #[inline(always)]
    pub(crate) fn add_failure(self) -> u32 {
        let before = load!(self.fail_streak);
        store!(self.fail_streak, before.saturating_add(1));
        before
    }

    /// A handshake ended well: whatever it disproves is over.
    #[inline(always)]
    pub(crate) fn clear_suspicion(self) {
        if load!(self.suspect_until_ns) & SUSPECT_ANYWAY == 0 {
            store!(self.suspect_until_ns, 0);
        }
        store!(self.fail_streak, 0);
    }

    /// A handshake ended well.
    #[inline(always)]
    pub(crate) fn answer(self, now_ns: u64) {
        store!(self.last_answer_ns, now_ns);
    }

    /// Last time that a handshake ended well, in nanoseconds of `CLOCK_MONOTONIC`.
    #[inline(always)]
    pub(crate) fn last_answer_ns(self) -> u64 {
        load!(self.last_answer_ns)
    }

    /// A connection was established.
    #[inline(always)]
    pub(crate) fn add_established(self) {
        add!(self.established, 1);
        add!(self.active, 1);
    }

    /// A datagram socket was connected.
    #[inline(always)]
    pub(crate) fn add_datagram_socket(self) {
        let count = load!(self.datagram_sockets).wrapping_add(1);
        store!(self.datagram_sockets, count);
    }

    /// Established connections.
    #[inline(always)]
    fn active(self) -> u64 {
        at_least_none(load!(self.active))
    }

    /// Smoothed round-trip time in microseconds; 0 when none was seen.
    #[inline(always)]
    pub(crate) fn srtt_us(self) -> u32 {
        load!(self.srtt_us)
    }

    /// Takes the round-trip time of one handshake into the smoothed one, both in microseconds, with the
    /// weight of an eighth (RFC 6298).
    #[inline(always)]
    pub(crate) fn smooth_srtt_us(self, sample_us: u32) {
        let before = load!(self.srtt_us);
        let smoothed = match before {
            0 => sample_us,
            _ => before - before / 8 + sample_us / 8,
        };
        // 0 would mean that none was seen.
        store!(self.srtt_us, smoothed.max(1));
    }

    /// A connection that was established is closed.
    #[inline(always)]
    pub(crate) fn subtract_active(self) {
        add!(self.active, u64::MAX);
    }

    /// Whether an event may be written now; at most one per `interval_ns`.
    #[inline(always)]
    pub(crate) fn may_emit(self, now_ns: u64, interval_ns: u64) -> bool {
        if now_ns.wrapping_sub(load!(self.last_event_ns)) < interval_ns {
            return false;
        }
        store!(self.last_event_ns, now_ns);
        true
    }
}

/// Adds to a word that other CPUs add to as well: `BPF_XADD`, which every kernel has. The BPF target
/// of the compiler has no `fetch_add`, and the fetching form would need Linux 5.12.
///
/// # Safety
/// `word` is aligned and part of a live map entry.
#[inline(always)]
unsafe fn atomic_add(word: *mut u64, delta: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: one instruction on a word that the caller vouches for.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({word} + 0) += {delta}",
            word = in(reg) word,
            delta = in(reg) delta,
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        // Only linted on the host, never run there.
        let _ = (word, delta);
    }
}

/// The maps, as the choice of a backend reads them. What is not there reads as this zero, which the
/// verifier does not know, so that for it nothing depends on what was there.
pub(crate) struct KernelView {
    pub(crate) zero: u32,
}

impl View for KernelView {
    #[inline(always)]
    fn verdict(&self, backend: u32) -> Verdict {
        // SAFETY: a live, aligned array entry; one aligned word is read.
        let word = VERDICT.get_ptr(backend).map(|word| unsafe { ptr::read_volatile(word) });
        Verdict::from_word(word.unwrap_or(self.zero.into()))
    }

    #[inline(always)]
    fn suspect_until_ns(&self, backend: u32, epoch: u32) -> u64 {
        let evidence = BackendEvidence::of(backend, epoch);
        evidence.map_or(self.zero.into(), BackendEvidence::suspect_until_ns)
    }

    #[inline(always)]
    fn active(&self, backend: u32, epoch: u32) -> u64 {
        BackendEvidence::of(backend, epoch).map_or(self.zero.into(), BackendEvidence::active)
    }

    #[inline(always)]
    fn last_answer_ns(&self, backend: u32, epoch: u32) -> u64 {
        let evidence = BackendEvidence::of(backend, epoch);
        evidence.map_or(self.zero.into(), BackendEvidence::last_answer_ns)
    }

    #[inline(always)]
    fn turn_ns(&self, pool: u32, slot: u32) -> u64 {
        // SAFETY: a live, aligned array entry; one aligned word is read.
        let turn =
            TURNS.get_ptr(turn_index(pool, slot)).map(|turn| unsafe { ptr::read_volatile(turn) });
        turn.unwrap_or(self.zero.into())
    }
}
