//! Programs, maps and links of the kernel, by `bpf(2)`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// Commands and constants of bpf(2), from `include/uapi/linux/bpf.h`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_BTF_LOAD: libc::c_long = 18;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
pub(super) const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
pub(crate) const BPF_CGROUP_INET4_CONNECT: u32 = 10;
pub(crate) const BPF_CGROUP_UDP4_SENDMSG: u32 = 14;
/// `BPF_LOG_STATS`: only what verification took.
const BPF_LOG_STATS: u32 = 4;

/// Attaches a program to a cgroup's hook for IPv4 connects as those older than links do: it stays until it is
/// detached or the cgroup is gone. Without flags it admits no other.
pub(crate) fn attach_connect4(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    flags: u32,
) -> io::Result<()> {
    attachment(BPF_PROG_ATTACH, cgroup, program, flags)
}

/// Takes such a program away.
pub(crate) fn detach_connect4(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    attachment(BPF_PROG_DETACH, cgroup, program, 0)
}

fn attachment(
    command: libc::c_long,
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    attach_flags: u32,
) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_bpf_fd: u32,
        attach_type: u32,
        attach_flags: u32,
    }
    let mut attr = Attr {
        target_fd: raw(cgroup),
        attach_bpf_fd: raw(program),
        attach_type: BPF_CGROUP_INET4_CONNECT,
        attach_flags,
    };
    // SAFETY: the layout of BPF_PROG_ATTACH and BPF_PROG_DETACH; both descriptors are open for the call.
    unsafe { bpf(command, &mut attr) }.map(drop)
}

/// Attaches a program to a hook of a cgroup by a link, which admits others.
pub(crate) fn link_cgroup(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr { prog_fd: raw(program), target_fd: raw(cgroup), attach_type, flags: 0 };
    // SAFETY: the layout of BPF_LINK_CREATE; both descriptors are open for the call.
    let link = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?;
    // SAFETY: the kernel has just opened it for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Detaches a pinned link from its cgroup or interface; the pin stays.
pub(crate) fn detach_link(pin: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = Attr { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the layout of BPF_OBJ_GET; `path` lives until the call returns.
    let link = unsafe { bpf(BPF_OBJ_GET, &mut attr) }?;
    // SAFETY: the kernel has just opened it for us and nobody else knows it.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    let mut number = raw(link.as_fd());
    // SAFETY: BPF_LINK_DETACH takes one descriptor, which is open for the call.
    unsafe { bpf(BPF_LINK_DETACH, &mut number) }.map(drop)
}

/// Writes one map into one entry of an array of maps after the other, in a single call.
pub(crate) fn swap_in_turn(
    outer: BorrowedFd<'_>,
    index: u32,
    inner: &[BorrowedFd<'_>],
) -> io::Result<()> {
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
    let keys = vec![index; inner.len()];
    let values: Vec<u32> = inner.iter().map(|inner| raw(*inner)).collect();
    let mut attr = Attr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map_fd: raw(outer),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the layout of BPF_MAP_UPDATE_BATCH; keys and values are arrays of `count` words, the
    // sizes that an array of maps has, and live until after the call; the kernel only reads them.
    unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attr) }.map(drop)
}

/// Loads a program for one of the hooks of calls that name an address.
pub(crate) fn load_sock_addr(
    attach_type: u32,
    name: &str,
    instructions: &[u64],
) -> io::Result<OwnedFd> {
    load((BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach_type), name, instructions, None, &mut [])
}

/// What a program's functions are: types that were loaded, and which function has which.
pub(crate) struct Functions {
    /// From [`load_types`].
    pub types: OwnedFd,
    /// Records (`struct bpf_func_info`), one after the other.
    pub records: Vec<u8>,
    /// How long one is, in bytes.
    pub record_bytes: usize,
}

/// Loads types (BTF).
pub(crate) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        btf: u64,
        log_buf: u64,
        size: u32,
        log_size: u32,
        log_level: u32,
        padding: u32,
    }
    let mut attr = Attr {
        btf: types.as_ptr() as u64,
        log_buf: 0,
        size: u32::try_from(types.len()).map_err(io::Error::other)?,
        log_size: 0,
        log_level: 0,
        padding: 0,
    };
    // SAFETY: the layout of BPF_BTF_LOAD; the types live until after the call.
    let fd = unsafe { bpf(BPF_BTF_LOAD, &mut attr) }?;
    // SAFETY: the kernel has just opened it for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a program of this type for this place only to hear what verifying it took.
pub(crate) fn verify(
    kind: (u32, u32),
    instructions: &[u64],
    functions: Option<&Functions>,
) -> io::Result<String> {
    // Two lines, and their end.
    let mut log = [0; 4096];
    load(kind, "verified", instructions, functions, &mut log)?;
    let length = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    Ok(String::from_utf8_lossy(&log[..length]).into_owned())
}

pub(super) fn load(
    (prog_type, expected_attach_type): (u32, u32),
    name: &str,
    instructions: &[u64],
    functions: Option<&Functions>,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
        prog_btf_fd: u32,
        func_info_rec_size: u32,
        func_info: u64,
        func_info_cnt: u32,
        line_info_rec_size: u32,
    }
    let mut prog_name = [0; 16];
    for (to, from) in prog_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let wanted = !log.is_empty();
    let (mut prog_btf_fd, mut func_info_rec_size, mut func_info, mut func_info_cnt) = (0, 0, 0, 0);
    if let Some(Functions { types, records, record_bytes }) = functions {
        let number = |number: usize| u32::try_from(number).map_err(io::Error::other);
        prog_btf_fd = types.as_raw_fd().cast_unsigned();
        func_info_rec_size = number(*record_bytes)?;
        func_info = records.as_ptr() as u64;
        func_info_cnt = number(records.len() / record_bytes)?;
    }
    let mut attr = Attr {
        prog_type,
        insn_cnt: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: if wanted { BPF_LOG_STATS } else { 0 },
        log_size: u32::try_from(log.len()).map_err(io::Error::other)?,
        // The kernel refuses an address of no use.
        log_buf: if wanted { log.as_mut_ptr() as u64 } else { 0 },
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type,
        prog_btf_fd,
        func_info_rec_size,
        func_info,
        func_info_cnt,
        line_info_rec_size: 0,
    };
    // SAFETY: the layout of BPF_PROG_LOAD; instructions, functions and licence live until after the call, and the
    // log, of which the kernel writes at most the size that it is given.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attr) }?;
    // SAFETY: the kernel has just opened it for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Calls `bpf(2)`.
///
/// # Safety
/// `A` is the layout that the kernel expects for `command`, and pointers in it are valid.
pub(super) unsafe fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<i32> {
    let attr = std::ptr::from_mut(attr);
    // SAFETY: the caller vouches for the attribute; the kernel reads and writes only its size.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<A>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(answer).map_err(io::Error::other)
}

pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}
