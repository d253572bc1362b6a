//! Small listeners, and datagrams.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use super::connect::name;
use super::protocol::{Udp, UdpOutcome};

/// How soon a datagram fixture notices that it shall end.
const UDP_TICK: Duration = Duration::from_millis(20);

/// A listener on a thread of its own; dropping it ends it.
pub(super) struct Fixture {
    stop: Arc<AtomicBool>,
    listener: Option<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl Fixture {
    pub(super) fn tcp(address: SocketAddr, name: String) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(address)?;
        let bound = listener.local_addr()?;
        let accepting = listener.try_clone()?;
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, _)) = accepting.accept() {
                // A peer that has gone meanwhile wanted no greeting.
                let _ = stream.write_all(format!("{name}\n").as_bytes());
            }
        });
        let stop = Arc::default();
        Ok((Self { stop, listener: Some(listener), thread: Some(thread) }, bound))
    }

    pub(super) fn udp(address: SocketAddr, name: String) -> io::Result<(Self, SocketAddr)> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(UDP_TICK))?;
        let bound = socket.local_addr()?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    // As above.
                    let _ = socket.send_to(name.as_bytes(), from);
                }
            }
        });
        Ok((Self { stop, listener: None, thread: Some(thread) }, bound))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(listener) = &self.listener {
            // Wakes accept(), which then fails. It cannot fail on an open listener.
            let _ = SockRef::from(listener).shutdown(std::net::Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread.
            let _ = thread.join();
        }
    }
}

/// Sends a datagram and waits for the answer.
pub(super) fn send(udp: &Udp) -> UdpOutcome {
    let exchange = || {
        let any: SocketAddr = if udp.address.is_ipv6() {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(udp.timeout))?;
        if udp.connected {
            socket.connect(udp.address)?;
            socket.send(b"?")?;
        } else {
            socket.send_to(b"?", udp.address)?;
        }
        let mut buffer = [0; 2048];
        let (count, from) = socket.recv_from(&mut buffer)?;
        Ok((String::from_utf8_lossy(&buffer[..count]).into_owned(), from))
    };
    match exchange() {
        Ok((reply, from)) => UdpOutcome { reply: Some(reply), from: Some(from), error: None },
        Err(error) => UdpOutcome { error: Some(name(&error)), ..UdpOutcome::default() },
    }
}
