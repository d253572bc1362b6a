//! The few `bpf(2)` commands that aya 0.14 does not offer: arrays of maps ([`arrays`]), programs on
//! interfaces and maps in a hash ([`interface`]), LINK_UPDATE (replace a program
//! without a gap), the cgroup of a link, and the programs effective on a cgroup.
//!
//! Each attribute struct is the kernel's own layout (`uapi/linux/bpf.h`), zero beyond what we set,
//! so older kernels, which know shorter ones, accept it.

pub(super) mod arrays;
pub(super) mod interface;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_F_QUERY_EFFECTIVE: u32 = 1;

/// Where a program attaches (`enum bpf_attach_type`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttachType {
    /// `BPF_CGROUP_SOCK_OPS`
    SockOps = 3,
    /// `BPF_CGROUP_INET4_CONNECT`
    Connect4 = 10,
    /// `BPF_CGROUP_INET6_CONNECT`
    Connect6 = 11,
    /// `BPF_CGROUP_UDP4_SENDMSG`
    Sendmsg4 = 14,
    /// `BPF_CGROUP_UDP6_SENDMSG`
    Sendmsg6 = 15,
    /// `BPF_CGROUP_UDP4_RECVMSG`
    Recvmsg4 = 19,
    /// `BPF_CGROUP_UDP6_RECVMSG`
    Recvmsg6 = 20,
    /// `BPF_CGROUP_INET4_GETPEERNAME`
    Getpeername4 = 29,
    /// `BPF_CGROUP_INET6_GETPEERNAME`
    Getpeername6 = 30,
}

/// Calls `bpf(2)`.
///
/// # Safety
/// `A` is the layout that the kernel expects for `command`, and pointers in it are valid.
unsafe fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: the caller vouches for the attribute; the kernel reads and writes only its size.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes ownership of a file descriptor that a command has just returned.
fn owned(fd: libc::c_long) -> OwnedFd {
    let fd = i32::try_from(fd).expect("file descriptors are small");
    // SAFETY: the kernel has just opened it for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The number of a descriptor. By reference: an owned one would be closed before it is used.
fn raw(fd: &impl AsFd) -> u32 {
    u32::try_from(fd.as_fd().as_raw_fd()).expect("open file descriptors are not negative")
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Attaches a program to a cgroup by a link. Cgroup links always allow several programs.
pub(super) fn link_create(
    program: impl AsFd,
    cgroup: impl AsFd,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        prog_fd: raw(&program),
        target_fd: raw(&cgroup),
        attach_type: attach_type as u32,
        flags: 0,
    };
    // SAFETY: the layout of BPF_LINK_CREATE.
    unsafe { bpf(BPF_LINK_CREATE, &mut attr) }.map(owned)
}

/// How a program runs on an interface (`XDP_FLAGS_*_MODE` of `uapi/linux/if_link.h`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XdpFlag {
    /// Behind the driver.
    Generic = 2,
    /// In the driver.
    Native = 4,
}

/// Attaches a program to an interface by a link.
pub(super) fn xdp_link_create(
    program: impl AsFd,
    interface: u32,
    mode: XdpFlag,
) -> io::Result<OwnedFd> {
    /// `BPF_XDP`
    const XDP: u32 = 37;
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        prog_fd: raw(&program),
        target_ifindex: interface,
        attach_type: XDP,
        flags: mode as u32,
    };
    // SAFETY: the layout of BPF_LINK_CREATE.
    unsafe { bpf(BPF_LINK_CREATE, &mut attr) }.map(owned)
}

/// Replaces the program of a link in one step: every connect sees the old one or the new one.
pub(super) fn link_update(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }
    let mut attr =
        Attr { link_fd: raw(&link), new_prog_fd: raw(&program), flags: 0, old_prog_fd: 0 };
    // SAFETY: the layout of BPF_LINK_UPDATE.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(|_| ())
}

/// Ends a link at once; without this it ends some time after its last reference has gone.
pub(super) fn link_detach(link: impl AsFd) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
    }
    let mut attr = Attr { link_fd: raw(&link) };
    // SAFETY: the layout of BPF_LINK_DETACH.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(|_| ())
}

#[repr(C)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Pins an object so that it outlives this process.
pub(super) fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = ObjAttr { pathname: path.as_ptr() as u64, bpf_fd: raw(&object), file_flags: 0 };
    // SAFETY: the layout of BPF_OBJ_PIN; `path` lives until the call returns.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(|_| ())
}

/// Opens a pinned object.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = ObjAttr { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the layout of BPF_OBJ_GET; `path` lives until the call returns.
    unsafe { bpf(BPF_OBJ_GET, &mut attr) }.map(owned)
}

/// What the kernel says of a cgroup link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// Id of the program that runs now.
    pub(super) program: u32,
    /// Id of the cgroup, which is also its inode number; 0 once the cgroup is gone.
    pub(super) cgroup: u64,
}

/// Asks what a link holds.
pub(super) fn link_info(link: impl AsFd) -> io::Result<LinkInfo> {
    // `struct bpf_link_info` with the cgroup member of its union, padded to the size of the union.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Info {
        kind: u32,
        id: u32,
        prog_id: u32,
        reserved: u32,
        cgroup_id: u64,
        attach_type: u32,
        rest: [u32; 13],
    }
    // SAFETY: the layout above, all of it numbers.
    let info: Info = unsafe { info(link) }?;
    Ok(LinkInfo { program: info.prog_id, cgroup: info.cgroup_id })
}

/// Id of the program of an interface's link, and the interface's number: 0 once it is gone.
pub(super) fn xdp_link_info(link: impl AsFd) -> io::Result<(u32, u32)> {
    // `struct bpf_link_info` with the member of its union for interfaces, padded to the size of the union.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Info {
        kind: u32,
        id: u32,
        prog_id: u32,
        reserved: u32,
        interface: u32,
        rest: [u32; 15],
    }
    // SAFETY: the layout above, all of it numbers.
    let info: Info = unsafe { info(link) }?;
    Ok((info.prog_id, info.interface))
}

/// Id of a loaded program.
pub(super) fn program_id(program: impl AsFd) -> io::Result<u32> {
    // How `struct bpf_prog_info` begins.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Info {
        kind: u32,
        id: u32,
    }
    // SAFETY: the layout above, all of it numbers.
    let info: Info = unsafe { info(program) }?;
    Ok(info.id)
}

/// What the kernel tells of an object.
///
/// # Safety
/// `I` is how what the kernel tells of such an object begins, and is sound whatever its octets are.
unsafe fn info<I: Copy + Default>(object: impl AsFd) -> io::Result<I> {
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = I::default();
    let mut attr = Attr {
        bpf_fd: raw(&object),
        info_len: u32::try_from(size_of::<I>()).expect("a small struct"),
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the layout of BPF_OBJ_GET_INFO_BY_FD; `info` is writable, as long as `info_len` says,
    // and lives until the call returns.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    // SAFETY: initialised above; volatile because the kernel wrote behind the compiler's back.
    Ok(unsafe { std::ptr::read_volatile(&raw const info) })
}

/// Programs on a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attached {
    /// Their ids, in the order in which they run.
    pub(super) programs: Vec<u32>,
    /// Flags of the attachment; 0 means that it excludes every other.
    pub(super) flags: u32,
}

/// Lists the programs attached to a cgroup, or, with `effective`, all that run for its sockets.
pub(super) fn query(
    cgroup: impl AsFd,
    attach_type: AttachType,
    effective: bool,
) -> io::Result<Attached> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        reserved: u32,
    }
    // The kernel allows 64 programs per cgroup and type; ancestors add theirs to the effective ones.
    let mut ids = vec![0u32; 1024];
    let mut attr = Attr {
        target_fd: raw(&cgroup),
        attach_type: attach_type as u32,
        query_flags: if effective { BPF_F_QUERY_EFFECTIVE } else { 0 },
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(ids.len()).expect("a small array"),
        reserved: 0,
    };
    // SAFETY: the layout of BPF_PROG_QUERY; `ids` is writable for `prog_cnt` words.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(Attached { programs: ids, flags: attr.attach_flags })
}

/// Cookie of the network namespace that a socket belongs to (`SO_NETNS_COOKIE`, Linux 5.14).
pub(super) fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, which has as many, and any are a
    // number.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if answer == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
