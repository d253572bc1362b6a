//! Every header shape is read, what is cut off is not, and after a rewrite etherparse finds every checksum right.

use std::net::SocketAddr;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::addr::{join, split};
use frames::{ACK, Around, Carried, EXTENSIONS, SYN, wrong_checksum};

mod errors;
pub(crate) mod frames;

const TCP: Carried = Carried::Tcp { flags: ACK, sequence: 7, acknowledged: 9 };
const UDP: Carried = Carried::Udp { checksum: true };
const BARE_UDP: Carried = Carried::Udp { checksum: false };
const PAYLOAD: &[u8] = b"an odd number of octets, so that one is alone";

const GUEST: [&str; 2] = ["10.244.0.7:40001", "[fd00:244::7]:40001"];
const VIP: [&str; 2] = ["10.96.0.1:443", "[fd00:96::1]:443"];
const BACKEND: [&str; 2] = ["192.0.2.11:6443", "[2001:db8::11]:6443"];

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn source(packet: &Packet) -> SocketAddr {
    join(packet.source, packet.source_port)
}

fn destination(packet: &Packet) -> SocketAddr {
    join(packet.destination, packet.destination_port)
}

/// Everything that may stand around what is carried.
fn arounds() -> Vec<Around> {
    let mut all = Vec::new();
    for tags in [vec![], vec![7], vec![7, 0xefff]] {
        for options in [0, 1, 10] {
            all.push(Around { tags: tags.clone(), options, extensions: vec![] });
        }
        for extensions in
            [vec![EXTENSIONS[0]], EXTENSIONS.to_vec(), vec![60, 60], vec![0, 60, 43, 60]]
        {
            all.push(Around { tags: tags.clone(), options: 0, extensions });
        }
    }
    all
}

fn rewritten(frame: &[u8], side: Side, to: SocketAddr) -> Option<Vec<u8>> {
    let packet = parse(frame, 0)?;
    let mut frame = frame.to_vec();
    let (addr, port) = split(to);
    rewrite(frame.as_mut_slice(), &packet, side, addr, port)?;
    Some(frame)
}

#[test]
fn every_shape_is_read_and_rewritten() {
    for around in arounds() {
        for family in 0..2 {
            let (from, to, backend) = (at(GUEST[family]), at(VIP[family]), at(BACKEND[family]));
            for carried in [TCP, UDP, BARE_UDP, Carried::syn(1)] {
                let frame = frames::frame(&around, from, to, carried, PAYLOAD);
                assert_eq!(wrong_checksum(&frame), None, "{around:?} {carried:?}");
                let packet = parse(frame.as_slice(), 0).expect("understood");
                assert_eq!((source(&packet), destination(&packet)), (from, to), "{around:?}");
                assert_eq!(packet.fragment, fragment::WHOLE);
                assert_eq!(packet.end as usize, frame.len());
                let flags = match carried {
                    Carried::Tcp { flags, .. } => flags.into(),
                    Carried::Udp { .. } => 0,
                };
                assert_eq!(packet.tcp_flags, flags);
                let plain = match family {
                    0 => around.options == 0,
                    _ => around.extensions.is_empty(),
                };
                assert_eq!(packet.is_plain(), plain, "{around:?}");
                for (side, ends) in
                    [(Side::Source, (backend, to)), (Side::Destination, (from, backend))]
                {
                    let frame = rewritten(&frame, side, backend).expect("rewritten");
                    assert_eq!(wrong_checksum(&frame), None, "{around:?} {carried:?} {side:?}");
                    let packet = parse(frame.as_slice(), 0).expect("understood");
                    assert_eq!((source(&packet), destination(&packet)), ends);
                }
            }
        }
    }
}

#[test]
fn what_is_cut_off_anywhere_in_its_headers_is_not_understood() {
    for around in arounds() {
        for family in 0..2 {
            for carried in [TCP, UDP] {
                let frame =
                    frames::frame(&around, at(GUEST[family]), at(VIP[family]), carried, PAYLOAD);
                let headers = frame.len() - PAYLOAD.len();
                for length in 0..frame.len() {
                    let understood = parse(&frame[..length], 0).is_some();
                    assert_eq!(understood, length >= headers, "{around:?} {length} octets");
                }
            }
        }
    }
}

#[test]
fn what_contradicts_itself_is_not_understood() {
    let around = Around::default();
    let v4 = frames::frame(&around, at(GUEST[0]), at(VIP[0]), TCP, &PAYLOAD[..30]);
    let v6 = frames::frame(&around, at(GUEST[1]), at(VIP[1]), TCP, &PAYLOAD[..30]);
    // Where, and what stands there then.
    let bad: [(&[u8], usize, &[u8]); 9] = [
        (&v4, 12, &[8, 6]),
        (&v4, 14, &[0x65]),
        (&v4, 14, &[0x44]),
        (&v4, 16, &[0, 19]),
        (&v4, 16, &[0, 39]),
        (&v4, 46, &[0x40]),
        (&v6, 14, &[0x40]),
        (&v6, 18, &[0, 19]),
        (&v6, 66, &[0xf0]),
    ];
    for (frame, at, octets) in bad {
        let mut frame = frame.to_vec();
        frame[at..at + octets.len()].copy_from_slice(octets);
        assert_eq!(parse(frame.as_slice(), 0), None, "{octets:x?} at {at}");
    }
    assert!(parse(v4.as_slice(), 0).is_some() && parse(v6.as_slice(), 0).is_some());
}

#[test]
fn addresses_of_the_other_family_are_not_taken_for_it() {
    let mapped = "[::ffff:10.96.0.1]:443";
    let frame = frames::frame(&Around::default(), at(GUEST[1]), at(mapped), TCP, PAYLOAD);
    assert_eq!(parse(frame.as_slice(), 0), None);
    let frame = frames::frame(&Around::default(), at(mapped), at(GUEST[1]), TCP, PAYLOAD);
    assert_eq!(parse(frame.as_slice(), 0), None);
}

#[test]
fn a_packet_with_places_to_visit_is_left_alone() {
    let around = Around { extensions: vec![43], ..Around::default() };
    let mut frame = frames::frame(&around, at(GUEST[1]), at(VIP[1]), TCP, PAYLOAD);
    assert!(parse(frame.as_slice(), 0).is_some());
    frame[14 + 40 + 3] = 1;
    let packet = parse(frame.as_slice(), 0).expect("a packet");
    assert!(!packet.is(IpProto::Tcp) && destination(&packet).port() == 0);
}

#[test]
fn what_has_too_many_extensions_or_unknown_ones_has_no_ports() {
    for extensions in [vec![60; MAX_EXTENSIONS + 1], vec![135], vec![0, 51]] {
        let around = Around { extensions: extensions.clone(), ..Around::default() };
        let frame = frames::frame(&around, at(GUEST[1]), at(VIP[1]), TCP, PAYLOAD);
        let packet = parse(frame.as_slice(), 0).expect("a packet");
        assert!(!packet.is(IpProto::Tcp), "{extensions:?}");
        assert_eq!(destination(&packet).port(), 0);
    }
    let around = Around { extensions: vec![60; MAX_EXTENSIONS], ..Around::default() };
    let frame = frames::frame(&around, at(GUEST[1]), at(VIP[1]), TCP, PAYLOAD);
    assert!(parse(frame.as_slice(), 0).expect("a packet").is(IpProto::Tcp));
}

#[test]
fn three_tags_are_one_too_many() {
    let frame = |tags: &[u16]| {
        let around = Around { tags: tags.to_vec(), ..Around::default() };
        frames::frame(&around, at(GUEST[0]), at(VIP[0]), TCP, PAYLOAD)
    };
    assert!(parse(frame(&[1, 2]).as_slice(), 0).is_some());
    assert_eq!(parse(frame(&[1, 2, 3]).as_slice(), 0), None);
}

#[test]
fn parts_of_a_packet_are_told_and_fit_together_again_after_a_rewrite() {
    for around in [Around::default(), Around { options: 2, extensions: vec![0], tags: vec![9] }] {
        for family in 0..2 {
            let (from, to, backend) = (at(GUEST[family]), at(VIP[family]), at(BACKEND[family]));
            for carried in [TCP, UDP] {
                let parts = frames::fragments(&around, from, to, carried, PAYLOAD);
                let [first, later] = parts.each_ref().map(|part| parse(part.as_slice(), 0));
                let (first, later) = (first.expect("a part"), later.expect("a part"));
                assert_eq!((first.fragment, later.fragment), (fragment::FIRST, fragment::LATER));
                assert_eq!(first.id, later.id);
                assert_eq!((destination(&first), destination(&later).port()), (to, 0));
                let parts = parts
                    .map(|part| rewritten(&part, Side::Destination, backend).expect("rewritten"));
                let whole = frames::frame(&around, from, backend, carried, PAYLOAD);
                let content = |part: &Vec<u8>, place: u32| part[place as usize..].to_vec();
                let transport = parse(whole.as_slice(), 0).expect("a packet").transport;
                let joined =
                    [content(&parts[0], first.transport), content(&parts[1], later.transport)]
                        .concat();
                assert_eq!(joined, content(&whole, transport), "{around:?} {carried:?}");
            }
        }
    }
}

#[test]
fn a_packet_that_does_not_say_how_long_it_is_is_read_to_its_end() {
    // As the kernel has those that it is yet to cut.
    let mut frame = frames::frame(&Around::default(), at(GUEST[0]), at(VIP[0]), TCP, PAYLOAD);
    frame[16..18].copy_from_slice(&[0, 0]);
    let packet = parse(frame.as_slice(), 0).expect("understood");
    assert_eq!((packet.end, destination(&packet)), (u32::MAX, at(VIP[0])));
}

proptest! {
    #[test]
    fn a_checksum_that_was_wrong_stays_wrong_by_as_much(
        family in 0usize..2, tcp: bool, damage in 1u16..0xffff,
    ) {
        let around = Around::default();
        let carried = if tcp { TCP } else { UDP };
        let place = [34, 54][family] + if tcp { 16 } else { 6 };
        let (from, to, backend) = (at(GUEST[family]), at(VIP[family]), at(BACKEND[family]));
        let mut frame = frames::frame(&around, from, to, carried, PAYLOAD);
        let sum = |frame: &[u8]| u16::from_be_bytes([frame[place], frame[place + 1]]);
        let add = |a: u16, b: u16| checksum::fold(u64::from(a) + u64::from(b));
        let broken = add(sum(&frame), damage);
        prop_assume!(broken != 0 && broken != 0xffff);
        frame[place..place + 2].copy_from_slice(&broken.to_be_bytes());
        prop_assert!(wrong_checksum(&frame).is_some());
        let after = rewritten(&frame, Side::Destination, backend).expect("rewritten");
        prop_assert!(wrong_checksum(&after).is_some());
        let right = frames::frame(&around, from, backend, carried, PAYLOAD);
        // 0 and 0xffff are the same number.
        prop_assert_eq!(sum(&after) % 0xffff, add(sum(&right), damage) % 0xffff);
    }

    #[test]
    fn a_rewrite_is_what_the_frame_would_have_been(
        v6: bool, udp: bool, bare: bool, tags in prop::collection::vec(0u16..4096, 0..3),
        options in 0u8..11, extensions: [bool; 4],
        ends: [u128; 3], ports: [u16; 3], payload in prop::collection::vec(any::<u8>(), 0..80),
        source: bool,
    ) {
        // In the only order that there may be.
        let extensions = [0, 60, 43, 60].into_iter().zip(extensions);
        let extensions = extensions.filter_map(|(kind, there)| there.then_some(kind)).collect();
        let around = Around { tags, options, extensions };
        let end = |index: usize| {
            let addr = if v6 {
                // Not one of IPv4's.
                std::net::IpAddr::from((ends[index] | 1 << 127).to_be_bytes())
            } else {
                std::net::IpAddr::from(ends[index].to_be_bytes().first_chunk::<4>().copied().expect("sixteen"))
            };
            SocketAddr::new(addr, ports[index])
        };
        let (from, to, other) = (end(0), end(1), end(2));
        let carried = if udp { Carried::Udp { checksum: !bare } } else { Carried::syn(3) };
        let before = frames::frame(&around, from, to, carried, &payload);
        prop_assert_eq!(wrong_checksum(&before), None);
        let (side, ends) = if source { (Side::Source, (other, to)) } else { (Side::Destination, (from, other)) };
        let after = rewritten(&before, side, other).expect("rewritten");
        prop_assert_eq!(after, frames::frame(&around, ends.0, ends.1, carried, &payload));
    }

    #[test]
    fn octets_at_random_are_read_within_their_bounds(
        octets in prop::collection::vec(any::<u8>(), 0..120), kind in 0usize..4, protocol: u8,
    ) {
        let mut frame = octets;
        let begin: &[u8] = [&[][..], &[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[0x81, 0]][kind];
        for (place, octet) in [(12, begin), (if kind == 2 { 20 } else { 23 }, &[protocol])] {
            if let Some(part) = frame.get_mut(place..place + octet.len()) {
                part.copy_from_slice(octet);
            }
        }
        if let Some(packet) = parse(frame.as_slice(), 0) {
            prop_assert!(packet.ip < packet.transport && packet.transport <= packet.end);
            let (addr, port) = split(at(BACKEND[usize::from(packet.version == 6)]));
            let mut after = frame.clone();
            prop_assert_eq!(rewrite(after.as_mut_slice(), &packet, Side::Source, addr, port), Some(()));
            prop_assert_eq!(after.len(), frame.len());
            let packet = parse(after.as_slice(), 0).expect("still understood");
            prop_assert_eq!(packet.source, addr);
        }
    }
}

#[test]
fn flags_are_read() {
    let carried = Carried::Tcp { flags: SYN | ACK, sequence: 0, acknowledged: 0 };
    let frame = frames::frame(&Around::default(), at(GUEST[0]), at(VIP[0]), carried, &[]);
    let packet = parse(frame.as_slice(), 0).expect("understood");
    assert!(packet.has_flags(tcp_flags::SYN | tcp_flags::ACK, tcp_flags::SYN | tcp_flags::ACK));
    assert!(!packet.has_flags(tcp_flags::SYN | tcp_flags::ACK, tcp_flags::SYN));
}

#[test]
fn a_packet_becomes_the_end_of_its_connection() {
    for tags in [vec![], vec![5]] {
        for family in 0..2 {
            let around = Around { tags: tags.clone(), ..Around::default() };
            let (from, to) = (at(GUEST[family]), at(VIP[family]));
            let mut frame = frames::frame(&around, from, to, TCP, PAYLOAD);
            let packet = parse(frame.as_slice(), 0).expect("understood");
            assert!(packet.can_be_reset());
            frame.truncate(reset_end(&packet) as usize);
            reset(frame.as_mut_slice(), &packet).expect("all is there");
            let ends = Carried::Tcp { flags: 4, sequence: 9, acknowledged: 0 };
            assert_eq!(wrong_checksum(&frame), None);
            let packet = parse(frame.as_slice(), 0).expect("understood");
            assert_eq!((source(&packet), destination(&packet)), (to, from));
            assert!(!packet.can_be_reset());
            // Window and identification are of no meaning in it.
            let wanted = frames::frame(&around, to, from, ends, &[]);
            let place = packet.transport as usize;
            assert_eq!(frame.len(), wanted.len());
            assert_eq!(frame[place..place + 14], wanted[place..place + 14]);
            assert_eq!(frame[..6], wanted[6..12]);
        }
    }
}

#[test]
fn what_awaits_nothing_or_is_an_end_itself_is_not_answered_by_an_end() {
    let plain = Around::default();
    let around = Around { options: 1, extensions: vec![60], tags: vec![] };
    for family in 0..2 {
        let (from, to) = (at(GUEST[family]), at(VIP[family]));
        let can = |around: &Around, carried| {
            let frame = frames::frame(around, from, to, carried, PAYLOAD);
            parse(frame.as_slice(), 0).expect("understood").can_be_reset()
        };
        let with = |flags| Carried::Tcp { flags, sequence: 1, acknowledged: 2 };
        assert!(can(&plain, with(ACK)) && can(&plain, with(ACK | 8)) && can(&plain, with(ACK | 1)));
        assert!(!can(&plain, UDP) && !can(&plain, with(SYN)) && !can(&plain, with(SYN | ACK)));
        assert!(!can(&plain, with(ACK | 4)) && !can(&around, with(ACK)));
    }
}
