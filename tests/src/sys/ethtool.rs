//! What an interface does with packets by itself, as `ethtool -K` sets it.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// `SIOCETHTOOL`
const ETHTOOL: u32 = 0x8946;

/// Switches something on or off at an interface of this network namespace. `command` is one of `ETHTOOL_S…`
/// (`uapi/linux/ethtool.h`) with a number as value.
pub(crate) fn switch(name: &str, command: u32, on: bool) -> io::Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    let mut value = [command, u32::from(on)];
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::other(format!("device name {name} is too long")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads one ifreq, and behind it for these commands two words, which `value` is; both live for the
    // time of the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), ETHTOOL.into(), &raw mut request) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
