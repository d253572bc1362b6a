//! Programs on interfaces by links (tcx, Linux 6.6), and maps in a hash by number.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::arrays::{ElementAttr, MapAttr};
use super::{bpf, info, owned, raw};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_LINK_CREATE: libc::c_long = 28;
/// `BPF_LINK_TYPE_TCX`
const LINK_TYPE_TCX: u32 = 11;

/// The way of packets over an interface, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::datapath) enum Direction {
    /// They come in.
    Ingress,
    /// They go out.
    Egress,
}

impl Direction {
    /// `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`
    const fn attach_type(self) -> u32 {
        match self {
            Self::Ingress => 46,
            Self::Egress => 47,
        }
    }

    /// Nearest to the guest: before all others on the way in (`BPF_F_BEFORE`), after them on the way out
    /// (`BPF_F_AFTER`).
    const fn place(self) -> u32 {
        match self {
            Self::Ingress => 1 << 3,
            Self::Egress => 1 << 4,
        }
    }
}

/// Attaches a program to an interface by a link.
pub(in crate::datapath) fn link_interface(
    program: impl AsFd,
    interface: u32,
    direction: Direction,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
        relative_fd: u32,
        reserved: u32,
        expected_revision: u64,
    }
    let mut attr = Attr {
        prog_fd: raw(&program),
        target_ifindex: interface,
        attach_type: direction.attach_type(),
        flags: direction.place(),
        relative_fd: 0,
        reserved: 0,
        expected_revision: 0,
    };
    // SAFETY: the layout of BPF_LINK_CREATE with the tcx member of its union.
    unsafe { bpf(BPF_LINK_CREATE, &mut attr) }.map(owned)
}

/// What the kernel says of a link to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::datapath) struct InterfaceLink {
    /// Id of the program that runs now.
    pub(in crate::datapath) program: u32,
    /// The interface; 0 once it is gone, or when this is no such link.
    pub(in crate::datapath) interface: u32,
}

/// Asks what a link to an interface holds.
pub(in crate::datapath) fn interface_link(link: impl AsFd) -> io::Result<InterfaceLink> {
    // `struct bpf_link_info` with the tcx member of its union, padded to the size of the union.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Info {
        kind: u32,
        id: u32,
        prog_id: u32,
        reserved: u32,
        ifindex: u32,
        attach_type: u32,
        rest: [u32; 14],
    }
    // SAFETY: the layout above, all of it numbers.
    let info: Info = unsafe { info(link) }?;
    let interface = if info.kind == LINK_TYPE_TCX { info.ifindex } else { 0 };
    Ok(InterfaceLink { program: info.prog_id, interface })
}

/// Creates a hash of `entries` maps by number, each like the given one.
pub(in crate::datapath) fn create_hash_of_maps(
    name: &str,
    entries: u32,
    inner: &impl AsFd,
) -> io::Result<OwnedFd> {
    /// `BPF_MAP_TYPE_HASH_OF_MAPS`
    const HASH_OF_MAPS: u32 = 13;
    create(HASH_OF_MAPS, name, [4, 4, entries], raw(inner))
}

/// Creates a hash that forgets what was used least recently.
pub(in crate::datapath) fn create_lru_hash(
    name: &str,
    key_size: usize,
    value_size: usize,
    entries: u32,
) -> io::Result<OwnedFd> {
    /// `BPF_MAP_TYPE_LRU_HASH`
    const LRU_HASH: u32 = 9;
    let [key, value] = [key_size, value_size].map(u32::try_from);
    let (key, value) = (key.map_err(io::Error::other)?, value.map_err(io::Error::other)?);
    create(LRU_HASH, name, [key, value, entries], 0)
}

fn create(
    map_type: u32,
    name: &str,
    [key_size, value_size, max_entries]: [u32; 3],
    inner_map_fd: u32,
) -> io::Result<OwnedFd> {
    let mut map_name = [0; 16];
    // The last byte stays zero.
    for (to, from) in map_name[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let mut attr = MapAttr {
        map_type,
        key_size,
        value_size,
        max_entries,
        map_flags: 0,
        inner_map_fd,
        numa_node: 0,
        map_name,
    };
    // SAFETY: the layout of BPF_MAP_CREATE; the kernel needs the inner map only during the call.
    unsafe { bpf(BPF_MAP_CREATE, &mut attr) }.map(owned)
}

/// Puts a map into a hash of maps, in the place of what may be there.
///
/// # Safety
/// `hash` is a hash of maps by number: keys are 32 bits wide.
pub(in crate::datapath) unsafe fn put_map(
    hash: &impl AsFd,
    key: u32,
    map: &impl AsFd,
) -> io::Result<()> {
    let mut value = raw(map);
    // SAFETY: what is written there is the number of a descriptor, 32 bits wide.
    unsafe { element(BPF_MAP_UPDATE_ELEM, hash, &key, &mut value) }
}

/// Whether a hash of maps has one at this key.
///
/// # Safety
/// As for [`put_map`].
pub(in crate::datapath) unsafe fn has_map(hash: &impl AsFd, key: u32) -> io::Result<bool> {
    let mut id = 0_u32;
    // SAFETY: what is looked up there is the id of a map, 32 bits wide.
    match unsafe { element(BPF_MAP_LOOKUP_ELEM, hash, &key, &mut id) } {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes what is at a key; nothing is removed already.
///
/// # Safety
/// `map` has keys of 32 bits.
pub(in crate::datapath) unsafe fn remove(map: &impl AsFd, key: u32) -> io::Result<()> {
    // SAFETY: no value is read or written, and the caller vouches for the key.
    match unsafe { element(BPF_MAP_DELETE_ELEM, map, &key, &mut 0_u64) } {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        done => done,
    }
}

/// All keys of a map of at most `most`.
///
/// # Safety
/// `map` has keys of 32 bits.
pub(in crate::datapath) unsafe fn keys(map: &impl AsFd, most: u32) -> io::Result<Vec<u32>> {
    let mut keys: Vec<u32> = Vec::new();
    // One that goes while they are listed starts the list anew.
    for _ in 0..=most {
        let last = keys.last().copied();
        let mut next = 0_u32;
        let mut attr = ElementAttr {
            map_fd: raw(map),
            reserved: 0,
            key: last.as_ref().map_or(0, |key| std::ptr::from_ref(key) as u64),
            value: std::ptr::from_mut(&mut next) as u64,
            flags: 0,
        };
        // SAFETY: the layout of BPF_MAP_GET_NEXT_KEY; both keys live until the call returns, and the caller
        // vouches for their size.
        match unsafe { bpf(BPF_MAP_GET_NEXT_KEY, &mut attr) } {
            // SAFETY: initialised above; volatile because the kernel wrote behind the compiler's back.
            Ok(_) => keys.push(unsafe { std::ptr::read_volatile(&raw const next) }),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
            Err(error) => return Err(error),
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// One command on an element.
///
/// # Safety
/// Keys of the map are 32 bits wide, and its values have the size of `V` where the command touches them.
unsafe fn element<V>(
    command: libc::c_long,
    map: &impl AsFd,
    key: &u32,
    value: &mut V,
) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: raw(map),
        reserved: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_mut(value) as u64,
        flags: 0,
    };
    // BPF_MAP_DELETE_ELEM wants zero there.
    if command == BPF_MAP_DELETE_ELEM {
        attr.value = 0;
    }
    // SAFETY: the layout of the commands on elements; key and value live until the call returns.
    unsafe { bpf(command, &mut attr) }.map(|_| ())
}
