//! The two system calls that no safe crate here offers.
#![expect(unsafe_code, reason = "raw system calls, each with its reason")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Dissolves a socket's association: `connect(AF_UNSPEC)`.
///
/// The kernel programs are not called for it, which is why the lab has to be able to do it.
pub(crate) fn connect_unspec(socket: BorrowedFd<'_>) -> io::Result<()> {
    let family = libc::sa_family_t::try_from(libc::AF_UNSPEC).map_err(io::Error::other)?;
    let address = libc::sockaddr {
        sa_family: family,
        sa_data: [0; 14],
    };
    let length =
        libc::socklen_t::try_from(size_of::<libc::sockaddr>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the call (BorrowedFd), and the pointer and the length
    // describe `address`, which lives until after the call; the kernel only reads it.
    let answer = unsafe { libc::connect(socket.as_raw_fd(), &raw const address, length) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Opens the TAP device `name` in the calling thread's network namespace, creating it.
///
/// It disappears with the last descriptor.
pub(crate) fn open_tap(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
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
    if answer == 0 {
        Ok(file)
    } else {
        Err(io::Error::last_os_error())
    }
}
