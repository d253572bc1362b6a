//! What a new owner of the VIP tells the link: frames that make every neighbour send to its MAC address.
//!
//! For IPv4 an ARP request and an ARP reply of the VIP for itself, since some systems go by the one and some
//! by the other; for IPv6 an unsolicited neighbour advertisement with the override flag. They are
//! sent again some times, as RFC 5227 and RFC 4861 do: a frame may be lost, and a switch port that has just
//! come up passes nothing for seconds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// When, after a takeover. What asked in between gets an answer anyway.
pub const AGAIN: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
];

const BROADCAST: [u8; 6] = [0xff; 6];
/// Of ff02::1.
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// Shorter frames are padded, or some drivers refuse them.
const LEAST_FRAME: usize = 60;
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Not of a router, not asked for, and it overrides what is cached.
const OVERRIDE: u8 = 0x20;

/// The frames that say that `vip` is at `mac`.
#[must_use]
pub fn frames(vip: IpAddr, mac: [u8; 6]) -> Vec<Vec<u8>> {
    match vip {
        IpAddr::V4(vip) => vec![arp(1, vip, mac), arp(2, vip, mac)],
        IpAddr::V6(vip) => vec![advertisement(vip, mac)],
    }
}

fn arp(operation: u8, vip: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let target = if operation == 1 { [0; 6] } else { mac };
    let mut frame = [&BROADCAST[..], &mac, &ARP].concat();
    // Ethernet and IPv4, addresses of 6 and 4 bytes.
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend([&mac[..], &vip.octets(), &target, &vip.octets()].concat());
    frame.resize(LEAST_FRAME, 0);
    frame
}

fn advertisement(vip: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(vip.octets());
    // The target's link-layer address, in units of 8 bytes.
    message.extend([2, 1]);
    message.extend(mac);
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let pseudo = [
        &vip.octets()[..],
        &ALL_NODES_ADDRESS.octets(),
        &u32::from(length).to_be_bytes(),
        &[0, 0, 0, ICMPV6],
    ];
    let sum = checksum(&[&pseudo.concat()[..], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [&ALL_NODES[..], &mac, &IPV6].concat();
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    // With another hop limit it would be one from beyond the link.
    frame.extend([ICMPV6, 255]);
    frame.extend(vip.octets());
    frame.extend(ALL_NODES_ADDRESS.octets());
    frame.extend(message);
    frame
}

/// The Internet checksum of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];

    #[test]
    fn both_forms_of_gratuitous_arp_are_broadcast() {
        let frames = frames("10.0.0.100".parse().expect("an address"), MAC);
        assert_eq!(frames.len(), 2);
        for (frame, operation) in frames.iter().zip([1, 2]) {
            assert_eq!(frame.len(), 60);
            assert_eq!((&frame[..6], &frame[6..12]), (&BROADCAST[..], &MAC[..]));
            assert_eq!(frame[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
            assert_eq!((&frame[22..28], &frame[28..32]), (&MAC[..], &[10, 0, 0, 100][..]));
            assert_eq!(frame[38..42], [10, 0, 0, 100]);
        }
    }

    #[test]
    fn an_unsolicited_advertisement_overrides_and_its_checksum_is_right() {
        let vip: Ipv6Addr = "fd00::100".parse().expect("an address");
        let frames = frames(vip.into(), MAC);
        let [frame] = &frames[..] else { panic!("one frame") };
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!((frame[20], frame[21]), (58, 255));
        assert_eq!(frame[22..38], vip.octets());
        assert_eq!((frame[54], frame[58]), (136, 0x20));
        assert_eq!(frame[62..78], vip.octets());
        assert_eq!(frame[78..], [2, 1, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
        let length = u32::try_from(frame.len() - 54).expect("short");
        let pseudo = [&frame[22..54], &length.to_be_bytes(), &[0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo[..], &frame[54..]].concat()), 0);
    }
}
