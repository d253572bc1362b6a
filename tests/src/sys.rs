//! The system calls that no safe crate here offers.
#![expect(unsafe_code, reason = "raw system calls, each with its reason")]

pub(crate) mod bpf;
pub(crate) mod ethtool;
pub(crate) mod interface;
pub(crate) mod notify;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use tokio::io::unix::AsyncFd;

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
