//! Datagram sockets that are kept, as resolvers have them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::SockRef;

use super::connect::{address, name};
use super::protocol::{DatagramOp, DatagramSocket, UdpOutcome};

/// Opens a socket.
pub(super) fn open(spec: &DatagramSocket) -> io::Result<UdpSocket> {
    let DatagramSocket { v6, bind } = *spec;
    let any: SocketAddr = match v6 {
        true => (Ipv6Addr::UNSPECIFIED, 0).into(),
        false => (Ipv4Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(bind.unwrap_or(any))
}

/// Does something with it.
pub(super) fn perform(socket: &UdpSocket, op: &DatagramOp) -> UdpOutcome {
    let outcome = match op {
        DatagramOp::Connect { to } => socket.connect(to).map(|()| UdpOutcome::default()),
        DatagramOp::Send { to } => {
            let sent = match to {
                Some(to) => socket.send_to(b"?", to),
                None => socket.send(b"?"),
            };
            sent.map(|_| UdpOutcome::default())
        }
        DatagramOp::Receive { timeout } => receive(socket, *timeout),
        DatagramOp::Peer => Ok(UdpOutcome {
            from: address(SockRef::from(socket).peer_addr()),
            ..Default::default()
        }),
        DatagramOp::Flood { to, sockets } => flood(*to, *sockets),
    };
    outcome.unwrap_or_else(|error| UdpOutcome { error: Some(name(&error)), ..Default::default() })
}

fn flood(to: SocketAddr, sockets: u32) -> io::Result<UdpOutcome> {
    for _ in 0..sockets {
        open(&DatagramSocket { v6: to.is_ipv6(), bind: None })?.connect(to)?;
    }
    Ok(UdpOutcome::default())
}

fn receive(socket: &UdpSocket, timeout: Duration) -> io::Result<UdpOutcome> {
    socket.set_read_timeout(Some(timeout))?;
    let mut buffer = [0; 2048];
    let (count, from) = socket.recv_from(&mut buffer)?;
    let reply = String::from_utf8_lossy(&buffer[..count]).into_owned();
    Ok(UdpOutcome { reply: Some(reply), from: Some(from), error: None })
}
