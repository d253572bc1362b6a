//! Frames: what is read of one agrees with etherparse, a rewrite changes what it should and no more, its opposite
//! gives the frame as it was, and a checksum that was right is right afterwards. The same for errors of ICMP.

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use nllb_common::packet::{Packet, Side, fragment, parse, quote, rewrite, translate_error};
use nllb_common::{Addr, Family, Port, addr};
use std::net::{IpAddr, SocketAddr};

pub(crate) fn run(frame: &[u8]) {
    let Some(packet) = parse(frame, 0) else { return };
    assert!(packet.ip < packet.transport && packet.transport <= packet.end);
    agrees(frame, &packet);
    let there = other(&packet);
    for side in [Side::Source, Side::Destination] {
        let back = packet.side(side);
        let mut after = frame.to_vec();
        rewrite(after.as_mut_slice(), &packet, side, there.0, there.1).expect("within the frame");
        let now = parse(after.as_slice(), 0).expect("still a packet");
        assert_eq!(now.side(side).0, there.0);
        // Others are never rewritten: of theirs we do not know what they are of.
        if packet.checksum().is_some() && right(frame) == Some(true) {
            assert_eq!(right(&after), Some(true), "checksums, {side:?}");
        }
        rewrite(after.as_mut_slice(), &now, side, back.0, back.1).expect("within the frame");
        same(frame, &after);
    }
    let Some(quoted) = quote(frame, &packet, 0) else { return };
    let there = other(&quoted);
    let back = quoted.side(Side::Source);
    let around = Some(Side::Destination).filter(|_| packet.destination == quoted.source);
    let mut after = frame.to_vec();
    let to = (Side::Source, there.0, there.1);
    translate_error(after.as_mut_slice(), &packet, &quoted, to, around).expect("within the frame");
    let now = parse(after.as_slice(), 0).expect("still a packet");
    let about = quote(after.as_slice(), &now, 0).expect("still an error");
    assert_eq!(about.side(Side::Source), there);
    let to = (Side::Source, back.0, back.1);
    translate_error(after.as_mut_slice(), &now, &about, to, around).expect("within the frame");
    same(frame, &after);
}

/// Another end of the same family.
fn other(packet: &Packet) -> (Addr, Port) {
    let other = match packet.source.family() {
        Family::V4 => SocketAddr::from(([192, 0, 2, 77], 6443)),
        Family::V6 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77], 6443)),
    };
    addr::split(other)
}

/// Of a checksum, 0 and 0xffff are the same number; so each pair of octets may differ as these do.
fn same(before: &[u8], after: &[u8]) {
    let differ = |index: &usize| before[*index] != after[*index];
    let differing: Vec<_> = (0..before.len()).filter(differ).collect();
    for index in &differing {
        let octets = [before[*index], after[*index]];
        assert!(octets == [0, 0xff] || octets == [0xff, 0], "octet {index}");
    }
    assert!(differing.len() <= 8, "{differing:?}");
}

/// Where etherparse reads a packet it reads the same one. It reads some that we leave alone.
fn agrees(frame: &[u8], packet: &Packet) {
    let Ok(headers) = PacketHeaders::from_ethernet_slice(frame) else { return };
    let ends = match headers.net {
        Some(NetHeaders::Ipv4(ip, _)) => [IpAddr::from(ip.source), IpAddr::from(ip.destination)],
        Some(NetHeaders::Ipv6(ip, _)) => [IpAddr::from(ip.source), IpAddr::from(ip.destination)],
        _ => panic!("no packet"),
    };
    assert_eq!(ends, [packet.source, packet.destination].map(IpAddr::from));
    let ports = match headers.transport {
        Some(TransportHeader::Tcp(tcp)) => [tcp.source_port, tcp.destination_port],
        Some(TransportHeader::Udp(udp)) => [udp.source_port, udp.destination_port],
        _ => return,
    };
    if packet.fragment == fragment::WHOLE && [6, 17].contains(&packet.protocol) {
        assert_eq!(ports, [packet.source_port.number(), packet.destination_port.number()]);
    }
}

/// Whether the checksums of a whole packet of TCP or UDP are right.
fn right(frame: &[u8]) -> Option<bool> {
    let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
    let payload = headers.payload.slice();
    let (net, transport) = (headers.net?, headers.transport?);
    let right = match (&net, &transport) {
        (NetHeaders::Ipv4(ip, _), TransportHeader::Tcp(tcp)) => {
            ip.calc_header_checksum() == ip.header_checksum
                && tcp.calc_checksum_ipv4(ip, payload).ok()? == tcp.checksum
        }
        (NetHeaders::Ipv4(ip, _), TransportHeader::Udp(udp)) if udp.checksum != 0 => {
            ip.calc_header_checksum() == ip.header_checksum
                && udp.calc_checksum_ipv4(ip, payload).ok()? == udp.checksum
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Tcp(tcp)) => {
            tcp.calc_checksum_ipv6(ip, payload).ok()? == tcp.checksum
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) if udp.checksum != 0 => {
            udp.calc_checksum_ipv6(ip, payload).ok()? == udp.checksum
        }
        _ => return None,
    };
    Some(right)
}
