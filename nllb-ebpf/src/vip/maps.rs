//! The VIP's maps, and the only ways in which the program touches them.

use core::ptr;

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::btf_maps::{Array, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use nllb_common::maps::{
    VIP_FLOWS_PER_CPU, VIP_SETS as SETS, VIP_STATS_ENTRIES, VipControl, VipEntry, VipFlow,
    VipMember, VipOutcome, VipSet, VipWays,
};

/// `BPF_F_NO_COMMON_LRU`: each CPU forgets by itself, so a flood that one of them gets is no matter of the others.
const NO_COMMON_LRU: usize = 2;

#[btf_map]
static VIP_CONTROL: Array<VipControl, 1> = Array::new();
#[btf_map]
static VIP_OWNER: Array<u64, 1> = Array::new();
#[btf_map]
static VIP_SETS: Array<VipSet, { SETS as usize }> = Array::new();
#[btf_map]
static VIP_WAYS: Array<VipWays, { SETS as usize }> = Array::new();
#[btf_map]
static VIP_FLOWS: LruHashMap<VipFlow, u64, { VIP_FLOWS_PER_CPU as usize }, NO_COMMON_LRU> =
    LruHashMap::new();
#[btf_map]
static VIP_STATS: PerCpuArray<u64, { VIP_STATS_ENTRIES as usize }> = PerCpuArray::new();

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(super) fn count(outcome: VipOutcome) {
    if let Some(slot) = VIP_STATS.get_ptr_mut(outcome as u32) {
        // SAFETY: the slot belongs to this CPU, where no other frame is looked at meanwhile.
        unsafe { *slot += 1 };
    }
}

/// What is served.
#[inline(always)]
pub(super) fn control() -> Option<VipControl> {
    let control = VIP_CONTROL.get_ptr(0)?;
    // SAFETY: the pointer is to a live array entry. Each field is an aligned word of its own.
    Some(unsafe { ptr::read_volatile(control) })
}

/// Until when this host is the owner, in nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub(super) fn owner_until_ns() -> u64 {
    // SAFETY: a live, aligned array entry; one aligned word is read.
    VIP_OWNER.get_ptr(0).map_or(0, |until| unsafe { ptr::read_volatile(until) })
}

/// This host is the owner no more.
#[inline(always)]
pub(super) fn answer_no_more() {
    if let Some(until) = VIP_OWNER.get_ptr_mut(0) {
        // SAFETY: a live, aligned array entry; one aligned word is written.
        unsafe { ptr::write_volatile(until, 0) };
    }
}

/// The members.
#[inline(always)]
pub(super) fn set(index: u32) -> Option<&'static VipSet> {
    // SAFETY: the agent writes an entry only while no program has been told of it.
    VIP_SETS.get_ptr(index).map(|set| unsafe { &*set })
}

/// The ways to them.
#[inline(always)]
pub(super) fn ways(index: u32) -> Option<&'static VipWays> {
    // SAFETY: a live array entry of aligned words. The agent may write one while it is read: then a frame takes the
    // way that there was, or one of which a part is new, and is lost as any frame may be.
    VIP_WAYS.get_ptr(index).map(|ways| unsafe { &*ways })
}

/// What was noted of a flow.
#[inline(always)]
pub(super) fn flow(key: &VipFlow) -> Option<VipEntry> {
    let word = VIP_FLOWS.get_ptr(key)?;
    // SAFETY: the entry stays allocated, for this flow or another, and one aligned word is read, which says whose
    // it is.
    Some(VipEntry::from_word(unsafe { ptr::read_volatile(word) }))
}

/// Notes to whom a flow goes.
#[inline(always)]
pub(super) fn note_flow(key: &VipFlow, member: &VipMember, hash: u32, now_s: u32) {
    // Without room it is worked out anew for its next packet, nothing else.
    let entry = VipEntry::new(member, hash, now_s).word();
    let _forgotten = VIP_FLOWS.insert(key, entry, u64::from(BPF_ANY));
}

/// Forgets a flow.
#[inline(always)]
pub(super) fn forget_flow(key: &VipFlow) {
    let _absent = VIP_FLOWS.remove(key);
}
