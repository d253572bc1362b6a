//! The system calls that no safe crate here offers.
#![expect(unsafe_code, reason = "raw system calls, each with its reason")]

pub(crate) mod interface;
pub(crate) mod notify;

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::io::unix::AsyncFd;

// Commands and constants of bpf(2), from `include/uapi/linux/bpf.h`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_BTF_LOAD: libc::c_long = 18;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
pub(crate) const BPF_CGROUP_INET4_CONNECT: u32 = 10;
pub(crate) const BPF_CGROUP_UDP4_SENDMSG: u32 = 14;
/// `BPF_LOG_STATS`: only what verification took.
const BPF_LOG_STATS: u32 = 4;

/// Dissolves a socket's association: `connect(AF_UNSPEC)`.
///
/// The kernel programs are not called for it, which is why the lab has to be able to do it.
pub(crate) fn connect_unspec(socket: BorrowedFd<'_>) -> io::Result<()> {
    let family = libc::sa_family_t::try_from(libc::AF_UNSPEC).map_err(io::Error::other)?;
    let address = libc::sockaddr { sa_family: family, sa_data: [0; 14] };
    let length =
        libc::socklen_t::try_from(size_of::<libc::sockaddr>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the call (BorrowedFd), and the pointer and the length
    // describe `address`, which lives until after the call; the kernel only reads it.
    let answer = unsafe { libc::connect(socket.as_raw_fd(), &raw const address, length) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets an event loop watch a descriptor.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is open, since it is owned, and stays the same as long as it lives;
    // the `AsyncFd` owns it.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}

/// Opens the TAP device `name` in the calling thread's network namespace, creating it.
///
/// It disappears with the last descriptor.
pub(crate) fn open_tap(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::other(format!("device name {name} is too long")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is, for the time of the call.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if answer == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}

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

fn load(
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
unsafe fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<i32> {
    let attr = std::ptr::from_mut(attr);
    // SAFETY: the caller vouches for the attribute; the kernel reads and writes only its size.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<A>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(answer).map_err(io::Error::other)
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// A page of memory that nobody fills: who reads it, waits until the filler is dropped (`userfaultfd`).
/// None where the kernel has no such thing, or not for us.
pub(crate) fn unfilled() -> io::Result<Option<(&'static [u8], File)>> {
    const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
    const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
    const UFFD_API: u64 = 0xaa;
    const MISSING: u64 = 1;
    const PAGE: usize = 4096;
    // SAFETY: takes flags only.
    let filler = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    let filler = match i32::try_from(filler) {
        // SAFETY: the kernel has just opened it for us and nobody else knows it.
        Ok(filler @ 0..) => unsafe { File::from_raw_fd(filler) },
        _ => return Ok(None),
    };
    let (access, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, wherever there is room.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let ask = |command, mut argument: [u64; 4]| {
        // SAFETY: the layouts of both commands, of three and four words; the kernel writes no more.
        let answer = unsafe { libc::ioctl(filler.as_raw_fd(), command, argument.as_mut_ptr()) };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    ask(UFFDIO_API, [UFFD_API, 0, 0, 0])?;
    ask(UFFDIO_REGISTER, [page as u64, PAGE as u64, MISSING, 0])?;
    // SAFETY: mapped above, never unmapped, never written; zeroes once the filler is gone.
    Ok(Some((unsafe { std::slice::from_raw_parts(page.cast(), PAGE) }, filler)))
}

/// Lets the calling thread, and those it starts, read no cookies of network namespaces from sockets: as
/// on a kernel before 5.14. It does not come back.
pub(crate) fn refuse_netns_cookies() -> io::Result<()> {
    // Classic BPF on `seccomp_data`: the call's number at 0, the second and third argument at 24 and 32.
    const LOAD: u16 = 0x20;
    const SKIP_UNLESS: u16 = 0x15;
    const ANSWER: u16 = 0x06;
    let number = u32::try_from(libc::SYS_getsockopt).map_err(io::Error::other)?;
    let [level, option] = [libc::SOL_SOCKET, libc::SO_NETNS_COOKIE].map(i32::cast_unsigned);
    let refusal = libc::SECCOMP_RET_ERRNO | libc::ENOPROTOOPT.cast_unsigned();
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut filter = [
        step(LOAD, 0, 0),
        step(SKIP_UNLESS, 5, number),
        step(LOAD, 0, 24),
        step(SKIP_UNLESS, 3, level),
        step(LOAD, 0, 32),
        step(SKIP_UNLESS, 1, option),
        step(ANSWER, 0, refusal),
        step(ANSWER, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter live until after the call, which copies them.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes capabilities from the calling thread, and with it from those it starts. They do not come back.
pub(crate) fn drop_capabilities(capabilities: &[u32]) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // `_LINUX_CAPABILITY_VERSION_3`, with two words of each set; 0 is the calling thread.
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut sets = [Data::default(); 2];
    let (header, data) = (&raw mut header, sets.as_mut_ptr());
    // SAFETY: header and data have the layout of this version and live until after the call.
    if unsafe { libc::syscall(libc::SYS_capget, header, data) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for capability in capabilities {
        let set = &mut sets[usize::from(*capability >= 32)];
        let keep = !(1 << (capability % 32));
        set.effective &= keep;
        set.permitted &= keep;
        set.inheritable &= keep;
    }
    // SAFETY: as above; the kernel only reads.
    if unsafe { libc::syscall(libc::SYS_capset, header, sets.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes a descriptor that another process has sent and the kernel has just opened for us.
pub(crate) fn own(descriptor: i32) -> OwnedFd {
    // SAFETY: the caller got it from a message, so it is open, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
