//! Packets of the test's own, sent from a node.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::PacketBuilder;
use nllb_lab::apiserver::TLS_PORT;
use nllb_lab::netns;
use socket2::{Domain, Protocol, Socket, Type};

use crate::scene::{Scene, VIP_V4};

/// What there is much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Beginnings of connections.
    Syn,
    /// Parts of connections that nobody has.
    Ack,
}

/// Sends so many packets to the VIP, each from another client that does not exist; gives how many were sent.
pub(crate) fn flood(scene: &Scene, flood: Flood, count: u32) -> u32 {
    let send = || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)));
        let raw = raw.expect("a raw socket");
        let to = SocketAddrV4::new(VIP_V4, 0).into();
        let packets = (0..count).map(|number| packet(flood, number));
        let sent = packets.filter(|packet| raw.send_to(packet, &to).is_ok());
        u32::try_from(sent.count()).expect("not so many")
    };
    netns::run_in(scene.lab.node(1).netns(), send).expect("the node is there")
}

fn packet(flood: Flood, number: u32) -> Vec<u8> {
    // Nobody's addresses: answers to them end at a router that is not there.
    let [_, a, b, c] = number.wrapping_mul(2_654_435_761).to_be_bytes();
    let from = Ipv4Addr::new(198, 18 + (a & 1), b, c).octets();
    let port = 1024 + u16::try_from(number % 60_000).expect("below");
    let builder = PacketBuilder::ipv4(from, VIP_V4.octets(), 64).tcp(port, TLS_PORT, number, 1024);
    let builder = match flood {
        Flood::Syn => builder.syn(),
        Flood::Ack => builder.ack(number ^ 0x5555),
    };
    let mut packet = Vec::new();
    builder.write(&mut packet, &[]).expect("written");
    packet
}
