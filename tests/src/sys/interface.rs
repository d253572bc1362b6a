//! Programs on interfaces, and pins.

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::bpf::{BPF_LINK_CREATE, bpf, load, raw};

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;

/// Attaches a program to an interface by a link, before all others there (`BPF_F_BEFORE`) or after them
/// (`BPF_F_AFTER`).
pub(crate) fn link_interface(
    interface: u32,
    program: BorrowedFd<'_>,
    attach_type: u32,
    first: bool,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let flags = if first { 1 << 3 } else { 1 << 4 };
    let mut attr = Attr { prog_fd: raw(program), target_ifindex: interface, attach_type, flags };
    // SAFETY: the layout of BPF_LINK_CREATE; the descriptor is open for the call.
    let link = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?;
    // SAFETY: the kernel has just opened it for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Pins an object.
pub(crate) fn pin(object: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = Attr { pathname: path.as_ptr() as u64, bpf_fd: raw(object), file_flags: 0 };
    // SAFETY: the layout of BPF_OBJ_PIN; `path` lives until the call returns.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Loads a program for what passes an interface.
pub(crate) fn load_classifier(name: &str, instructions: &[u64]) -> io::Result<OwnedFd> {
    load((BPF_PROG_TYPE_SCHED_CLS, 0), name, instructions, None, &mut [])
}
