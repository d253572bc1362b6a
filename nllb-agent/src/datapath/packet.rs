//! A socket that sends frames and can never receive one: takeovers of the VIP are told to the link with it.
//!
//! It is opened before the agent gives up the right to (`CAP_NET_RAW`), without a protocol, so nothing is delivered to
//! it; a filter that drops everything is locked onto it, so no later `bind(2)` changes that.

use std::io;
use std::os::fd::AsRawFd as _;

use socket2::{Domain, SockAddr, SockFilter, Socket, Type};

/// `BPF_RET | BPF_K` with 0: nothing of any packet.
const DROP: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// Sends frames.
#[derive(Debug)]
pub struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens and locks it.
    ///
    /// # Errors
    /// When this process may not (`CAP_NET_RAW`).
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.attach_filter(&DROP)?;
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open, and the value is an int of the length given, which the kernel copies.
        let locked = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LOCK_FILTER,
                (&raw const on).cast(),
                libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4),
            )
        };
        if locked != 0 {
            return Err(io::Error::last_os_error());
        }
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Sends a whole frame at the interface with this number.
    ///
    /// # Errors
    /// When the interface is gone or down, or its queue is full.
    pub fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the closure writes a whole sockaddr_ll, which fits the storage it is given, and its length.
        let ((), address) = unsafe {
            SockAddr::try_init(|storage, length| {
                let address = storage.cast::<libc::sockaddr_ll>();
                *address = std::mem::zeroed();
                (*address).sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or(17);
                (*address).sll_ifindex = interface.cast_signed();
                *length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(20);
                Ok(())
            })
        }?;
        self.0.send_to(frame, &address).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ever_received() {
        let Ok(socket) = PacketSocket::open() else {
            println!("skipped: no right to open packet sockets");
            return;
        };
        let refused = socket.0.detach_filter().expect_err("it is locked");
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        // On loopback, so that nothing leaves this host: two MAC addresses and a type of nobody's.
        let mut frame = [0; 60];
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        socket.send(1, &frame).expect("loopback takes it");
        let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
        let nothing = socket.0.recv(&mut buffer).expect_err("nothing comes");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }
}
