//! The tables of guests, and what is noted of their interfaces.

use core::ptr;

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::btf_maps::{HashMap, HashOfMaps, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use nllb_common::maps::{Flow, FlowKey, FlowTag, FrontendKey, Guest, MAX_GUESTS};
use nllb_common::packet::Packet;
use nllb_common::pick::Request;

use super::{CONTROL, NO_PREALLOC};
use crate::choice::Dialled;

/// The table of one guest. How many entries it has is the agent's affair.
type Inner = LruHashMap<FlowTag, Flow, 1>;

#[btf_map]
static GUESTS: HashOfMaps<u32, Inner, { MAX_GUESTS as usize }> = HashOfMaps::new();
#[btf_map]
static GUEST_STATES: HashMap<u32, Guest, { MAX_GUESTS as usize }, NO_PREALLOC> = HashMap::new();

/// The table of the guest behind an interface.
#[derive(Clone, Copy)]
pub(crate) struct Table(&'static Inner);

impl Table {
    /// `None` when the interface has none.
    #[inline(always)]
    pub(crate) fn of(interface: u32) -> Option<Self> {
        // SAFETY: a table outlives the run of the program, also one that is taken out meanwhile. The entry that names
        // it may get another, of another guest, while it is read: whose address is another.
        unsafe { GUESTS.get(&interface) }.map(Table)
    }

    /// Copies what is there; `None` when there is nothing.
    #[inline(always)]
    pub(crate) fn get(self, key: &FlowKey, into: &mut Flow) -> Option<Entry> {
        let place = self.0.get_ptr_mut(key.tag())?;
        /// Copies fields, in this order.
        macro_rules! copy {
            ($($name:ident),+) => {
                // SAFETY: aligned fields of an entry whose memory stays an entry's; volatile, so in this order.
                $(into.$name = unsafe { ptr::read_volatile(&raw const (*place).$name) };)+
            };
        }
        copy!(peer, addr, port, frontend, backend, epoch, sequence, asked_ms, state, guard);
        into.is_of(key).then_some(Entry(place))
    }

    /// Writes an entry, in the place of what is there; `false` when there is no memory.
    #[inline(always)]
    pub(crate) fn set(self, key: &FlowKey, flow: &Flow) -> bool {
        self.0.insert(key.tag(), flow, u64::from(BPF_ANY)).is_ok()
    }

    /// Forgets an entry.
    #[inline(always)]
    pub(crate) fn remove(self, key: &FlowKey) {
        let _absent = self.0.remove(key.tag());
    }
}

/// Where an entry of a table is.
#[derive(Clone, Copy)]
pub(crate) struct Entry(*mut Flow);

// The memory may be another entry's by now. What is written then makes that one be taken for closed, or asked about,
// which costs it a look more and nothing else.
impl Entry {
    /// Writes its state.
    #[inline(always)]
    pub(crate) fn set_state(self, state: u32) {
        // SAFETY: an aligned word of an entry whose memory stays an entry's.
        unsafe { ptr::write_volatile(&raw mut (*self.0).state, state) };
    }

    /// Notes when something was asked.
    #[inline(always)]
    pub(crate) fn set_asked_ms(self, asked_ms: u32) {
        // SAFETY: as above.
        unsafe { ptr::write_volatile(&raw mut (*self.0).asked_ms, asked_ms) };
    }
}

/// What a program works on: more than there is room for on its stack. Nothing on the same processor runs such a program
/// meanwhile, and the verifier knows nothing of what is in it.
#[repr(C)]
pub(crate) struct Work {
    /// What it looks at.
    pub(crate) packet: Packet,
    /// The packet that it is about, if it is an error.
    pub(crate) quoted: Packet,
    /// The frontend that may be dialled.
    pub(crate) dialled_key: FrontendKey,
    /// The one that is.
    pub(crate) dialled: Dialled,
    /// What is asked for it.
    pub(crate) request: Request,
    /// The entry that is about it.
    pub(crate) key: FlowKey,
    /// What that says.
    pub(crate) flow: Flow,
    /// The entry of the other direction.
    pub(crate) back_key: FlowKey,
    /// What that says.
    pub(crate) back: Flow,
    /// An entry of something else.
    pub(crate) other_key: FlowKey,
    /// What that says.
    pub(crate) other: Flow,
}

#[btf_map]
static GUEST_WORK: PerCpuArray<Work, 1> = PerCpuArray::new();

/// What to work on; `None` never happens for an array of one but must be handled.
#[inline(always)]
pub(crate) fn work() -> Option<&'static mut Work> {
    let work = GUEST_WORK.get_ptr_mut(0)?;
    // SAFETY: it is this processor's, and all of it is numbers. Programs of traffic control do not interrupt each other.
    Some(unsafe { &mut *work })
}

/// See [`Request::zero`].
#[inline(always)]
pub(crate) fn zero() -> Option<u32> {
    let control = CONTROL.get_ptr(0)?;
    // SAFETY: the pointer is to a live array entry, and an aligned word of it is read.
    Some(unsafe { ptr::read_volatile(&raw const (*control).zero) })
}

/// What is noted of an interface.
#[derive(Clone, Copy)]
pub(crate) struct State(*mut Guest);

/// Reads or writes a word of it.
macro_rules! word {
    ($self:ident.$field:ident) => {
        // SAFETY: an aligned word of a live entry.
        unsafe { ptr::read_volatile(&raw const (*$self.0).$field) }
    };
    ($self:ident.$field:ident = $value:expr) => {
        // SAFETY: as above.
        unsafe { ptr::write_volatile(&raw mut (*$self.0).$field, $value) }
    };
}

impl State {
    /// `None` when it is none of a guest.
    #[inline(always)]
    pub(crate) fn of(interface: u32) -> Option<Self> {
        GUEST_STATES.get_ptr_mut(interface).map(Self)
    }

    /// Whether what goes to the guest is known not to pass here.
    #[inline(always)]
    pub(crate) fn is_one_way(self) -> bool {
        word!(self.one_way) != 0
    }

    /// Whether nothing was ever answered, for so long that it must be the way.
    #[inline(always)]
    pub(crate) fn is_deaf(self, now_ns: u64) -> bool {
        let state =
            Guest { answered: word!(self.answered), asked_ns: word!(self.asked_ns), ..Guest::NONE };
        state.is_deaf(now_ns)
    }

    /// Notes that what goes to the guest does not pass here.
    #[inline(always)]
    pub(crate) fn set_one_way(self) {
        word!(self.one_way = 1);
    }

    /// Notes an answer.
    #[inline(always)]
    pub(crate) fn answer(self) {
        word!(self.answered = 1);
        word!(self.one_way = 0);
    }

    /// Notes that something was translated.
    #[inline(always)]
    pub(crate) fn translate(self, now_ns: u64) {
        let before = word!(self.translated);
        word!(self.translated = before + 1);
        if word!(self.asked_ns) == 0 {
            word!(self.asked_ns = now_ns);
        }
    }
}
