//! Errors: told from other messages, and translated so that who sent the packet finds it, with every checksum right.

use super::*;
use std::net::IpAddr;

/// Kinds of each family, and whether they have a packet in them.
const KINDS: [&[(u8, bool)]; 2] = [
    &[(0, false), (3, true), (4, false), (5, false), (8, false), (11, true), (12, true)],
    &[
        (1, true),
        (2, true),
        (3, true),
        (4, true),
        (5, false),
        (128, false),
        (135, false),
        (137, false),
    ],
];
const ROUTER: [&str; 2] = ["198.51.100.1", "2001:db8:ffff::1"];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// An error about what a guest sent to a backend, and what the guest sent by its own account.
fn told(
    around: &Around,
    family: usize,
    kind: u8,
    carried: Carried,
    length: usize,
    by: IpAddr,
) -> Vec<u8> {
    let (guest, backend) = (at(GUEST[family]), at(BACKEND[family]));
    let sent = frames::frame(around, guest, backend, carried, PAYLOAD);
    frames::error(around, (by, guest.ip()), kind, frames::network(&sent), length)
}

/// As the guest is to see it.
fn translated(frame: &[u8], family: usize) -> Option<Vec<u8>> {
    let error = parse(frame, 0)?;
    let quoted = quote(frame, &error, 0)?;
    let around = (error.source == quoted.destination).then_some(Side::Source);
    let mut frame = frame.to_vec();
    let (addr, port) = split(at(VIP[family]));
    let edit = frame.as_mut_slice();
    translate_error(edit, &error, &quoted, (Side::Destination, addr, port), around)?;
    Some(frame)
}

#[test]
fn kinds_with_a_packet_in_them_are_told_from_others() {
    for (family, kinds) in KINDS.into_iter().enumerate() {
        for (kind, has) in kinds {
            let frame = told(&Around::default(), family, *kind, TCP, 1000, ip(ROUTER[family]));
            let error = parse(frame.as_slice(), 0).expect("understood");
            let quoted = quote(frame.as_slice(), &error, 0);
            assert_eq!(quoted.is_some(), *has, "kind {kind} of family {family}");
            if let Some(quoted) = quoted {
                assert_eq!(source(&quoted), at(GUEST[family]));
                assert_eq!(destination(&quoted), at(BACKEND[family]));
            }
        }
    }
}

#[test]
fn an_error_says_what_it_would_have_said_of_the_packet_as_it_was_sent() {
    for around in arounds() {
        for family in 0..2 {
            let kind = KINDS[family].iter().find(|(_, has)| *has).expect("one").0;
            let headers = frames::network(&frames::frame(
                &around,
                at(GUEST[family]),
                at(VIP[family]),
                TCP,
                &[],
            ))
            .len();
            let (vip, backend) = (at(VIP[family]), at(BACKEND[family]));
            for (carried, by) in [
                (TCP, ip(ROUTER[family])),
                (UDP, ip(ROUTER[family])),
                (BARE_UDP, ip(ROUTER[family])),
                (TCP, backend.ip()),
                (UDP, backend.ip()),
            ] {
                // From eight octets of the transport header on, to all of it and beyond.
                for length in (headers - 12)..(headers + 20) {
                    let frame = told(&around, family, kind, carried, length, by);
                    assert_eq!(wrong_checksum(&frame), None);
                    let after = translated(&frame, family).expect("translated");
                    let context = std::format!("{around:?} {carried:?} {length} {by}");
                    assert_eq!(wrong_checksum(&after), None, "{context}");
                    let error = parse(after.as_slice(), 0).expect("understood");
                    let quoted = quote(after.as_slice(), &error, 0).expect("an error");
                    assert_eq!(source(&quoted), at(GUEST[family]), "{context}");
                    assert_eq!(destination(&quoted), vip, "{context}");
                    let seems = if by == backend.ip() { vip.ip() } else { by };
                    assert_eq!(source(&error).ip(), seems, "{context}");
                }
            }
        }
    }
}

#[test]
fn an_error_about_nothing_with_ports_is_left_alone() {
    let around = Around::default();
    for family in 0..2 {
        let (guest, backend) = (at(GUEST[family]), at(BACKEND[family]));
        let kind = [3, 1][family];
        let ends = (ip(ROUTER[family]), guest.ip());
        let about = |packet: &[u8], length| {
            let frame = frames::error(&around, ends, kind, packet, length);
            let error = parse(frame.as_slice(), 0)?;
            quote(frame.as_slice(), &error, 0)
        };
        let parts = frames::fragments(&around, guest, backend, UDP, PAYLOAD);
        let [first, later] = parts.each_ref().map(|part| frames::network(part));
        assert!(about(first, 1000).is_some());
        assert_eq!(about(later, 1000), None);
        let header = [20, 40][family];
        for length in 0..header + 4 {
            assert_eq!(about(first, length.min(first.len())), None, "{length} octets");
        }
        let nested = frames::error(&around, (guest.ip(), backend.ip()), kind, first, 1000);
        assert_eq!(about(frames::network(&nested), 1000), None);
    }
}
