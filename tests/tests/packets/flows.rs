//! What becomes of packets one after the other: who is drawn, drawn again, believed, and left alone.

use super::frames::{self, ACK, Around, Carried, SYN};
use super::kernel::{BACKENDS, GUEST, Kernel, OTHER_VIP, VIP, at};
use nllb_common::Counter;
use nllb_common::maps::{Guest, State};
use std::net::SocketAddr;

const RST: u8 = 4;
const FIN: u8 = 1;

fn tcp(from: SocketAddr, to: SocketAddr, flags: u8, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let carried = Carried::Tcp { flags, sequence, acknowledged };
    frames::frame(&Around::default(), from, to, carried, &[])
}

fn udp(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    frames::frame(&Around::default(), from, to, Carried::Udp { checksum: true }, b"question")
}

fn ends() -> (SocketAddr, SocketAddr) {
    (at(GUEST[0]), at(VIP[0]))
}

fn other(backend: SocketAddr) -> SocketAddr {
    *BACKENDS[0].map(at).iter().find(|it| **it != backend).expect("two")
}

fn id(backend: SocketAddr) -> u32 {
    u32::from(BACKENDS[0].map(at)[1] == backend)
}

/// An answer was seen on the interface before.
fn answered() -> Guest {
    Guest { answered: 1, ..Guest::NONE }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let stranger = at("203.0.113.9:443");
    assert_eq!(kernel.sends(&tcp(guest, stranger, SYN, 1, 0)), None);
    assert_eq!(kernel.sends(&udp(guest, stranger)), None);
    // A connection that began before us.
    assert_eq!(kernel.sends(&tcp(guest, vip, ACK, 1, 1)), None);
    assert_eq!(kernel.gets(&tcp(at(BACKENDS[0][0]), guest, ACK, 1, 1)), None);
    let mut arp = udp(guest, vip);
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(kernel.leaves(&arp).1, arp);
    assert!(kernel.flows().is_empty());
}

#[test]
fn a_first_segment_sent_again_goes_to_another_and_is_held_against_the_first() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    kernel.set_guest(answered());
    let first = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    assert_eq!(kernel.evidence(id(first)).suspect_until_ns, 0);
    let second = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    assert_eq!(second, other(first));
    assert!(kernel.evidence(id(first)).suspect_until_ns > 0);
    assert_eq!(kernel.count(Counter::SynSilence), 1);
    // Once it has answered, the guest has only lost that.
    assert_eq!(kernel.gets(&tcp(second, guest, SYN | ACK, 0, 8)), Some(vip));
    assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), Some(second));
    assert_eq!(kernel.evidence(id(second)).suspect_until_ns, 0);
}

#[test]
fn who_answers_first_has_the_connection() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let first = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    let second = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    assert_ne!(first, second);
    assert_eq!(kernel.gets(&tcp(first, guest, SYN | ACK, 0, 8)), Some(vip));
    assert_eq!(kernel.sends(&tcp(guest, vip, ACK, 8, 1)), Some(first));
    assert_eq!(kernel.gets(&tcp(second, guest, SYN | ACK, 0, 8)), None, "too late");
    assert_eq!(kernel.sends(&tcp(guest, vip, ACK, 8, 1)), Some(first));
}

#[test]
fn only_an_answer_to_what_was_sent_is_believed() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let backend = kernel.sends(&tcp(guest, vip, SYN, u32::MAX, 0)).expect("translated");
    for (flags, acknowledged) in [(SYN | ACK, 1), (RST | ACK, 1), (RST, 0), (ACK, 0)] {
        kernel.gets(&tcp(backend, guest, flags, 5, acknowledged));
        let evidence = kernel.evidence(id(backend));
        assert_eq!((evidence.suspect_until_ns, evidence.last_answer_ns), (0, 0), "{flags}");
    }
}

#[test]
fn a_handshake_counts_as_an_answer_and_a_refusal_against_its_backend() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let backend = kernel.sends(&tcp(guest, vip, SYN, u32::MAX, 0)).expect("translated");
    assert_eq!(kernel.gets(&tcp(backend, guest, SYN | ACK, 5, 0)), Some(vip));
    assert!(kernel.evidence(id(backend)).last_answer_ns > 0);
    assert_eq!(kernel.guest().answered, 1);
    // The next one, from another port, is refused.
    let guest = SocketAddr::new(guest.ip(), 50_000);
    let backend = kernel.sends(&tcp(guest, vip, SYN, 100, 0)).expect("translated");
    assert_eq!(kernel.gets(&tcp(backend, guest, RST | ACK, 0, 101)), Some(vip));
    assert!(kernel.evidence(id(backend)).suspect_until_ns > 0);
    assert_eq!(kernel.count(Counter::ConnectReset), 1);
}

#[test]
fn a_new_connection_from_an_old_port_is_drawn_anew() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    kernel.set_guest(answered());
    let backend = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    kernel.gets(&tcp(backend, guest, SYN | ACK, 0, 8));
    kernel.judge(id(backend), State::Draining);
    let next = kernel.sends(&tcp(guest, vip, SYN, 9_000, 0)).expect("translated");
    assert_eq!(next, other(backend));
    assert_eq!(kernel.count(Counter::SynSilence), 0);
    assert_eq!(kernel.gets(&tcp(next, guest, SYN | ACK, 0, 9_001)), Some(vip));
    assert_eq!(kernel.sends(&tcp(guest, vip, ACK, 9_001, 1)), Some(next));
}

#[test]
fn two_flows_from_one_port_never_share_the_way_back() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let third = at(OTHER_VIP[0]);
    let one = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    let two = kernel.sends(&tcp(guest, third, SYN, 70, 0)).expect("translated");
    assert_ne!(one, two);
    assert_eq!(kernel.gets(&tcp(one, guest, SYN | ACK, 0, 8)), Some(vip));
    assert_eq!(kernel.gets(&tcp(two, guest, SYN | ACK, 0, 71)), Some(third));
    // With one backend there is no room for a second one, until the first is closed.
    kernel.judge(id(two), State::Unhealthy);
    let guest = SocketAddr::new(guest.ip(), 50_000);
    assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), Some(one));
    kernel.gets(&tcp(one, guest, SYN | ACK, 0, 8));
    let second = kernel.sends(&tcp(guest, third, SYN, 70, 0));
    assert!(second.is_none() || second == Some(two), "{second:?}");
    kernel.sends(&tcp(guest, vip, FIN | ACK, 8, 1));
    kernel.gets(&tcp(one, guest, FIN | ACK, 1, 9));
    assert_eq!(kernel.sends(&tcp(guest, third, SYN, 700, 0)), Some(one));
}

#[test]
fn a_datagram_sent_again_goes_elsewhere_and_one_that_was_answered_does_not() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    kernel.set_guest(answered());
    let first = kernel.sends(&udp(guest, vip)).expect("translated");
    assert_eq!(kernel.sends(&udp(guest, vip)), Some(first), "the second family's question");
    let later = |kernel: &mut Kernel| {
        kernel.change(|flow| flow.asked_ms = flow.asked_ms.wrapping_sub(300));
    };
    later(&mut kernel);
    assert_eq!(kernel.sends(&udp(guest, vip)), Some(other(first)));
    assert_eq!(kernel.count(Counter::DatagramSilence), 1);
    assert_eq!(kernel.evidence(id(first)).suspect_until_ns, 0, "the guest may let itself wait");
    assert_eq!(kernel.gets(&udp(other(first), guest)), Some(vip));
    assert_eq!(kernel.gets(&udp(first, guest)), Some(vip), "late, and good all the same");
    later(&mut kernel);
    assert_eq!(kernel.sends(&udp(guest, vip)), Some(other(first)));
    // Its backend dies.
    kernel.judge(id(other(first)), State::Unhealthy);
    assert_eq!(kernel.sends(&udp(guest, vip)), Some(first));
}

#[test]
fn an_interface_that_hears_nothing_is_left_alone_until_it_does() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    assert!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)).is_some());
    assert!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)).is_some());
    let backends = [0, 1].map(|id| kernel.evidence(id).suspect_until_ns);
    assert_eq!(backends, [0, 0], "it may be the way");
    let asked = kernel.guest();
    assert!(asked.asked_ns > 0 && asked.translated == 2, "{asked:?}");
    kernel.set_guest(Guest { asked_ns: 1, ..asked });
    assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), None);
    assert_eq!(kernel.guest().one_way, 1);
    assert_eq!(kernel.count(Counter::GuestOneWay), 1);
    assert_eq!(kernel.sends(&tcp(guest, vip, ACK, 8, 1)), None, "what was noted is forgotten");
    assert_eq!(kernel.sends(&udp(guest, vip)), None);
    // Others serve it, and their answers pass here.
    assert_eq!(kernel.gets(&tcp(at("203.0.113.9:443"), guest, SYN | ACK, 0, 8)), None);
    assert_eq!(kernel.guest().one_way, 1);
    assert_eq!(kernel.gets(&tcp(vip, guest, SYN | ACK, 0, 8)), None);
    assert_eq!(kernel.guest().one_way, 0);
    assert!(kernel.sends(&tcp(guest, vip, SYN, 9, 0)).is_some());
}

#[test]
fn the_backend_of_an_established_connection_is_kept_whatever_is_suspected() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let backend = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    kernel.gets(&tcp(backend, guest, SYN | ACK, 0, 8));
    for state in [State::Degraded, State::Draining, State::Unknown] {
        kernel.judge(id(backend), state);
        assert_eq!(kernel.sends(&tcp(guest, vip, ACK, 8, 1)), Some(backend), "{state:?}");
    }
}
