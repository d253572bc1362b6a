//! An array of maps without type information, what is in it, and the maps that are put into it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Pod;

use super::{bpf, info, owned, raw};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

/// Creates an array of `entries` maps, each like what [`create_array`] gives for a value of this size.
pub(in crate::datapath) fn create_array_of_arrays(
    name: &str,
    entries: u32,
    value_size: usize,
) -> io::Result<OwnedFd> {
    /// `BPF_MAP_TYPE_ARRAY_OF_MAPS`
    const ARRAY_OF_MAPS: u32 = 12;
    let inner = create_empty_array(value_size)?;
    let mut map_name = [0; 16];
    // The last byte stays zero.
    for (to, from) in map_name[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let mut attr = MapAttr {
        map_type: ARRAY_OF_MAPS,
        key_size: 4,
        value_size: 4,
        max_entries: entries,
        map_flags: 0,
        inner_map_fd: raw(&inner),
        numa_node: 0,
        map_name,
    };
    // SAFETY: the layout of BPF_MAP_CREATE; the kernel needs `inner` only during the call.
    unsafe { bpf(BPF_MAP_CREATE, &mut attr) }.map(owned)
}

/// Creates an array that holds this one value.
pub(in crate::datapath) fn create_array<T: Pod>(value: &T) -> io::Result<OwnedFd> {
    let array = create_empty_array(size_of::<T>())?;
    // SAFETY: the value has the size that the array was created with.
    unsafe { update(&array, 0, value) }?;
    Ok(array)
}

fn create_empty_array(value_size: usize) -> io::Result<OwnedFd> {
    /// `BPF_MAP_TYPE_ARRAY`
    const ARRAY: u32 = 2;
    let mut attr = MapAttr {
        map_type: ARRAY,
        key_size: 4,
        value_size: u32::try_from(value_size).map_err(io::Error::other)?,
        max_entries: 1,
        map_flags: 0,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: [0; 16],
    };
    // SAFETY: the layout of BPF_MAP_CREATE.
    unsafe { bpf(BPF_MAP_CREATE, &mut attr) }.map(owned)
}

/// Writes an entry of an array.
///
/// # Safety
/// `T` has the size of the array's values.
unsafe fn update<T: Pod>(map: &impl AsFd, key: u32, value: &T) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: raw(map),
        reserved: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: std::ptr::from_ref(value) as u64,
        flags: 0,
    };
    // SAFETY: the layout of BPF_MAP_UPDATE_ELEM; key and value live until the call returns and have
    // the sizes that the caller vouches for.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(|_| ())
}

/// The id of the map in this place of an array of maps; none when the place is empty.
///
/// # Safety
/// `array` is an array of maps: what can be looked up in it is 32 bits wide.
pub(in crate::datapath) unsafe fn id_in(array: &impl AsFd, key: u32) -> io::Result<Option<u32>> {
    let mut id = 0_u32;
    let mut attr = ElementAttr {
        map_fd: raw(array),
        reserved: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: std::ptr::from_mut(&mut id) as u64,
        flags: 0,
    };
    // SAFETY: the layout of BPF_MAP_LOOKUP_ELEM; key and value live until the call returns, and the caller
    // vouches for their sizes.
    match unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) } {
        // SAFETY: initialised above; volatile because the kernel wrote behind the compiler's back.
        Ok(_) => Ok(Some(unsafe { std::ptr::read_volatile(&raw const id) })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the commands on single elements are told.
#[repr(C)]
pub(super) struct ElementAttr {
    pub(super) map_fd: u32,
    pub(super) reserved: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

/// Puts maps into an array of maps, in one call where the kernel can (each call waits for every program
/// that may still see the old ones, some 12 ms).
pub(in crate::datapath) fn put_maps(array: &impl AsFd, maps: &[(u32, OwnedFd)]) -> io::Result<()> {
    /// What the kernel says where a map type has no batch operations; no errno of user space.
    const ENOTSUPP: i32 = 524;
    let keys: Vec<u32> = maps.iter().map(|(key, _)| *key).collect();
    let values: Vec<u32> = maps.iter().map(|(_, map)| raw(map)).collect();
    match update_batch(array, &keys, &values) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | ENOTSUPP)) => {
            for (key, value) in keys.into_iter().zip(values) {
                // SAFETY: the values of an array of maps are descriptors, 32 bits wide.
                unsafe { update(array, key, &value) }?;
            }
            Ok(())
        }
        done => done,
    }
}

/// Writes several entries of an array whose values are descriptors, in one call.
fn update_batch(map: &impl AsFd, keys: &[u32], values: &[u32]) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map_fd: u32,
        elem_flags: u64,
        flags: u64,
    }
    let count = keys.len().min(values.len());
    let mut attr = Attr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(count).map_err(io::Error::other)?,
        map_fd: raw(map),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the layout of BPF_MAP_UPDATE_BATCH; keys and values are arrays of at least `count`
    // words, which is the size both have in an array of maps, and live until the call returns.
    unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attr) }.map(|_| ())
}

/// Asks for the id of a map.
pub(in crate::datapath) fn map_id(map: impl AsFd) -> io::Result<u32> {
    // `struct bpf_map_info` begins so; the kernel tells as much as there is room for.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Info {
        kind: u32,
        id: u32,
    }
    // SAFETY: the layout above, all of it numbers.
    let info: Info = unsafe { info(map) }?;
    Ok(info.id)
}

/// What BPF_MAP_CREATE is told.
#[repr(C)]
pub(super) struct MapAttr {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map_fd: u32,
    pub(super) numa_node: u32,
    pub(super) map_name: [u8; 16],
}
