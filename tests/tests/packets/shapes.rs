//! Every shape of a packet, whole, cut off, in parts, damaged, and in errors.

use super::frames::{self, ACK, Around, Carried, SYN, wrong_checksum};
use super::kernel::{BACKENDS, GUEST, Kernel, ON, VIP, at};
use nllb_common::packet::{parse, reset_end};
use std::net::SocketAddr;

const PAYLOAD: &[u8] = b"an odd number of octets, so that one is alone";

/// Everything that may stand around what is carried.
fn arounds() -> Vec<Around> {
    let mut all = Vec::new();
    for tags in [vec![], vec![7], vec![7, 4000]] {
        for options in [0, 1, 10] {
            all.push(Around { tags: tags.clone(), options, extensions: vec![] });
        }
        for extensions in [vec![0], vec![0, 60, 43], vec![0, 60, 43, 60]] {
            all.push(Around { tags: tags.clone(), options: 0, extensions });
        }
    }
    all
}

fn with_port(addr: &str, port: u16) -> SocketAddr {
    SocketAddr::new(at(addr).ip(), port)
}

#[test]
fn every_shape_goes_to_a_backend_and_its_answer_comes_from_what_was_dialled() {
    let Some(mut kernel) = Kernel::load() else { return };
    let mut port = 1024;
    for around in arounds() {
        for family in 0..2 {
            for first in
                [Carried::syn(7), Carried::Udp { checksum: true }, Carried::Udp { checksum: false }]
            {
                port += 1;
                let context = format!("{around:?} {first:?}");
                let (guest, vip) = (with_port(GUEST[family], port), at(VIP[family]));
                let frame = frames::frame(&around, guest, vip, first, PAYLOAD);
                let backend = kernel.sends(&frame).expect(&context);
                assert!(BACKENDS[family].map(at).contains(&backend), "{context}: {backend}");
                let (next, answer) = match first {
                    Carried::Tcp { .. } => (
                        Carried::Tcp { flags: ACK, sequence: 8, acknowledged: 1 },
                        Carried::Tcp { flags: SYN | ACK, sequence: 0, acknowledged: 8 },
                    ),
                    udp @ Carried::Udp { .. } => (udp, udp),
                };
                let frame = frames::frame(&around, backend, guest, answer, PAYLOAD);
                assert_eq!(kernel.gets(&frame), Some(vip), "{context}");
                let frame = frames::frame(&around, guest, vip, next, PAYLOAD);
                assert_eq!(kernel.sends(&frame), Some(backend), "{context}");
            }
        }
    }
}

#[test]
fn what_is_cut_off_passes_as_it_is() {
    let Some(mut kernel) = Kernel::load() else { return };
    for around in arounds() {
        for family in 0..2 {
            for carried in [Carried::syn(7), Carried::Udp { checksum: true }] {
                let frame =
                    frames::frame(&around, at(GUEST[family]), at(VIP[family]), carried, PAYLOAD);
                for length in 14..frame.len() - PAYLOAD.len() {
                    for name in ["nllb_from_guest", "nllb_to_guest"] {
                        // The kernel makes no packet of the shortest.
                        let Some((verdict, out)) = kernel.run(name, &frame[..length]) else {
                            assert!(length < 14 + 40, "{length} octets");
                            continue;
                        };
                        assert_eq!((verdict, out.as_slice()), (ON, &frame[..length]), "{around:?}");
                    }
                }
            }
        }
    }
    assert!(kernel.flows().is_empty());
}

#[test]
fn a_checksum_that_is_wrong_is_wrong_afterwards() {
    let Some(mut kernel) = Kernel::load() else { return };
    let around = Around::default();
    for family in 0..2 {
        for (carried, place) in [(Carried::syn(7), 16), (Carried::Udp { checksum: true }, 6)] {
            let (guest, vip) = (at(GUEST[family]), at(VIP[family]));
            let mut frame = frames::frame(&around, guest, vip, carried, PAYLOAD);
            let place = [34, 54][family] + place;
            frame[place] ^= 0x15;
            let (_, out) = kernel.leaves(&frame);
            assert_ne!(out, frame);
            assert!(wrong_checksum(&out).is_some());
        }
    }
}

#[test]
fn parts_of_a_packet_go_the_same_way() {
    let Some(mut kernel) = Kernel::load() else { return };
    let carried = Carried::Udp { checksum: true };
    for around in [Around::default(), Around { options: 2, extensions: vec![0], tags: vec![9] }] {
        for family in 0..2 {
            let (guest, vip) = (at(GUEST[family]), at(VIP[family]));
            let parts = frames::fragments(&around, guest, vip, carried, PAYLOAD);
            kernel.change(|flow| flow.guard = 0);
            let (_, alone) = kernel.leaves(&parts[1]);
            assert_eq!(alone, parts[1], "without the first it is left alone");
            let sent = parts.each_ref().map(|part| kernel.leaves(part).1);
            let packets = sent.each_ref().map(|part| parse(part.as_slice(), 0).expect("read"));
            let (addr, port) = (packets[0].destination, packets[0].destination_port);
            assert_eq!(packets[1].destination, addr);
            let backend = nllb_common::addr::join(addr, port);
            assert!(BACKENDS[family].map(at).contains(&backend));
            joined(&sent, &frames::frame(&around, guest, backend, carried, PAYLOAD));
            // The answer likewise.
            let parts = frames::fragments(&around, backend, guest, carried, PAYLOAD);
            let got = parts.each_ref().map(|part| kernel.reaches(part).1);
            joined(&got, &frames::frame(&around, vip, guest, carried, PAYLOAD));
            // After that time they would be of another packet.
            kernel.pass_ms(31_000);
            assert_eq!(kernel.reaches(&parts[1]).1, parts[1]);
        }
    }
}

/// Both parts have what the whole carries.
fn joined(parts: &[Vec<u8>; 2], whole: &[u8]) {
    let content = |frame: &[u8]| {
        let packet = parse(frame, 0).expect("understood");
        frame[packet.transport as usize..].to_vec()
    };
    assert_eq!([content(&parts[0]), content(&parts[1])].concat(), content(whole));
}

#[test]
fn errors_about_packets_that_were_translated_are_translated() {
    let Some(mut kernel) = Kernel::load() else { return };
    let routers = ["198.51.100.1", "2001:db8:ffff::1"].map(|ip| ip.parse().expect("an address"));
    let mut port = 2000;
    for around in arounds() {
        for family in 0..2 {
            for (carried, length) in [
                (Carried::syn(7), 1000),
                (Carried::syn(7), usize::MAX),
                (Carried::Udp { checksum: true }, 1000),
                (Carried::Udp { checksum: false }, 1000),
            ] {
                port += 1;
                let (guest, vip) = (with_port(GUEST[family], port), at(VIP[family]));
                let sent = frames::frame(&around, guest, vip, carried, PAYLOAD);
                let (_, sent) = kernel.leaves(&sent);
                let packet = parse(sent.as_slice(), 0).expect("understood");
                let backend = nllb_common::addr::join(packet.destination, packet.destination_port);
                // Eight octets of the transport header are the least that there may be.
                let least =
                    packet.transport as usize + 8 - (sent.len() - frames::network(&sent).len());
                let length = if length == usize::MAX { least } else { length };
                let kind = [3, 1][family];
                for by in [routers[family], backend.ip()] {
                    let about = frames::network(&sent);
                    let error = frames::error(&around, (by, guest.ip()), kind, about, length);
                    let seems = if by == backend.ip() { vip.ip() } else { by };
                    let from = kernel.gets(&error).expect("translated");
                    assert_eq!(from.ip(), seems, "{around:?} {carried:?}");
                }
                // The guest has no use for an answer.
                let answer = Carried::Udp { checksum: true };
                if carried == answer {
                    let got = frames::frame(&around, vip, guest, answer, PAYLOAD);
                    let about = frames::network(&got);
                    let error = frames::error(&around, (guest.ip(), vip.ip()), kind, about, length);
                    assert_eq!(kernel.sends(&error).map(|to| to.ip()), Some(backend.ip()));
                }
            }
        }
    }
}

#[test]
fn a_packet_of_a_connection_to_a_dead_backend_is_answered_by_its_end() {
    use nllb_common::maps::State;
    for tags in [vec![], vec![5]] {
        let around = Around { tags, ..Around::default() };
        for family in 0..2u32 {
            let Some(mut kernel) = Kernel::load() else { return };
            let index = family as usize;
            let (guest, vip) = (at(GUEST[index]), at(VIP[index]));
            let first = frames::frame(&around, guest, vip, Carried::syn(7), &[]);
            let backend = kernel.sends(&first).expect("translated");
            let ids = [family * 2, family * 2 + 1];
            let place = BACKENDS[index].map(at).iter().position(|it| *it == backend).expect("one");
            let data = Carried::Tcp { flags: ACK | 8, sequence: 8, acknowledged: 0x0102_0304 };
            let data = frames::frame(&around, guest, vip, data, PAYLOAD);
            // Nobody else may get connections, or nobody says so.
            for id in ids {
                kernel.judge(id, State::Unhealthy);
            }
            assert_eq!(kernel.sends(&data), Some(backend));
            kernel.judge(ids[1 - place], State::Healthy);
            kernel.lease(false);
            assert_eq!(kernel.sends(&data), Some(backend));
            kernel.lease(true);
            let (verdict, out) = kernel.leaves(&data);
            assert_eq!(verdict, super::kernel::REDIRECTED);
            assert_eq!(wrong_checksum(&out), None);
            let packet = parse(out.as_slice(), 0).expect("understood");
            assert_eq!(out.len(), reset_end(&packet) as usize);
            let end = Carried::Tcp { flags: 4, sequence: 0x0102_0304, acknowledged: 0 };
            let wanted = frames::frame(&around, vip, guest, end, &[]);
            let transport = packet.transport as usize;
            assert_eq!(out[transport..transport + 14], wanted[transport..transport + 14]);
            assert_eq!(out[..12], [&data[6..12], &data[..6]].concat());
            // Its end is not answered by an end.
            let end = Carried::Tcp { flags: 4 | ACK, sequence: 8, acknowledged: 9 };
            let end = frames::frame(&around, guest, vip, end, &[]);
            assert_eq!(kernel.sends(&end), Some(backend));
        }
    }
}
