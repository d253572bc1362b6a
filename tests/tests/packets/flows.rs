//! What becomes of packets one after the other: who is drawn, drawn again, believed, and left alone.

use super::frames::{self, ACK, Around, Carried, SYN};
use super::kernel::{BACKENDS, GUEST, Kernel, OTHER_VIP, VIP, at};
use nllb_common::Counter;
use nllb_common::maps::{Guest, Policy, State};
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

/// Longer than anything is waited for before it is sent again.
const AGAIN_MS: u32 = 300;

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
    [0, 1].into_iter().for_each(|id| kernel.hear(id));
    let first = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), Some(first), "the same came twice");
    assert_eq!(kernel.evidence(id(first)).suspect_until_ns, 0);
    kernel.pass_ms(AGAIN_MS);
    let second = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    assert_eq!(second, other(first));
    assert!(kernel.evidence(id(first)).suspect_until_ns > 0);
    assert_eq!(kernel.count(Counter::SynSilence), 1);
    // Once it has answered, the guest has only lost that.
    assert_eq!(kernel.gets(&tcp(second, guest, SYN | ACK, 0, 8)), Some(vip));
    kernel.pass_ms(AGAIN_MS);
    assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), Some(second));
    assert_eq!(kernel.evidence(id(second)).suspect_until_ns, 0);
}

#[test]
fn a_third_first_segment_goes_to_what_the_guest_dials_and_all_that_follows() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let first = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    kernel.pass_ms(AGAIN_MS);
    assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), Some(other(first)));
    for _ in 0..2 {
        kernel.pass_ms(AGAIN_MS);
        assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), None);
    }
    assert_eq!(kernel.sends(&tcp(guest, vip, ACK, 8, 1)), None);
    assert_eq!(kernel.gets(&tcp(first, guest, SYN | ACK, 0, 8)), None, "too late");
    assert_eq!(kernel.sends(&tcp(guest, vip, ACK, 8, 1)), None);
    // The next connection from the same port is another.
    assert!(kernel.sends(&tcp(guest, vip, SYN, 9_000, 0)).is_some());
}

#[test]
fn silence_is_held_only_against_who_has_answered_here() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let first = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    kernel.hear(id(other(first)));
    kernel.pass_ms(AGAIN_MS);
    assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), Some(other(first)));
    assert_eq!(kernel.evidence(id(first)).suspect_until_ns, 0);
    assert_eq!(kernel.count(Counter::SynSilence), 0);
    // Its handshake is what is heard.
    assert_eq!(kernel.gets(&tcp(first, guest, SYN | ACK, 0, 8)), Some(vip));
    let guest = SocketAddr::new(guest.ip(), 50_000);
    kernel.judge(id(other(first)), State::Draining);
    assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), Some(first));
    kernel.judge(id(other(first)), State::Healthy);
    kernel.pass_ms(AGAIN_MS);
    assert_eq!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)), Some(other(first)));
    assert!(kernel.evidence(id(first)).suspect_until_ns > 0);
}

#[test]
fn what_the_guest_sends_to_a_backend_itself_is_answered_by_that() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let backend = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    kernel.gets(&tcp(backend, guest, SYN | ACK, 0, 8));
    assert_eq!(kernel.gets(&tcp(backend, guest, ACK, 1, 8)), Some(vip));
    assert_eq!(kernel.sends(&tcp(guest, backend, SYN, 900, 0)), None);
    assert_eq!(kernel.gets(&tcp(backend, guest, SYN | ACK, 0, 901)), None);
    let backend = kernel.sends(&udp(guest, vip)).expect("translated");
    assert_eq!(kernel.gets(&udp(backend, guest)), Some(vip));
    assert_eq!(kernel.sends(&udp(guest, backend)), None);
    assert_eq!(kernel.gets(&udp(backend, guest)), None);
}

#[test]
fn a_guest_that_is_a_backend_never_gets_what_it_sends() {
    let Some(mut kernel) = Kernel::load() else { return };
    let itself = at(BACKENDS[0][0]);
    for port in 1000..1040 {
        let guest = SocketAddr::new(itself.ip(), port);
        assert_eq!(kernel.sends(&tcp(guest, at(VIP[0]), SYN, 7, 0)), Some(other(itself)));
    }
    kernel.judge(id(other(itself)), State::Unhealthy);
    let guest = SocketAddr::new(itself.ip(), 2000);
    assert_ne!(kernel.sends(&tcp(guest, at(VIP[0]), SYN, 7, 0)), Some(itself));
}

#[test]
fn a_backend_that_has_left_keeps_its_connections_but_gets_no_more_questions() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let backend = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    kernel.gets(&tcp(backend, guest, SYN | ACK, 0, 8));
    let asked = (0..40).find_map(|port| {
        let guest = SocketAddr::new(guest.ip(), 50_000 + port);
        (kernel.sends(&udp(guest, vip)) == Some(backend)).then_some(guest)
    });
    let asked = asked.expect("drawn");
    kernel.gets(&udp(backend, asked));
    kernel.replace(id(backend));
    assert_eq!(kernel.sends(&tcp(guest, vip, ACK, 8, 1)), Some(backend));
    assert_eq!(kernel.sends(&udp(asked, vip)), Some(other(backend)));
}

#[test]
fn whom_a_guest_prefers_does_not_depend_on_what_it_calls_itself() {
    let Some(mut kernel) = Kernel::load() else { return };
    kernel.set_policy(Policy::Affinity);
    let (_, vip) = ends();
    let guests = (0..20).map(|host| SocketAddr::from(([10, 244, 0, host], 40_000)));
    let to: Vec<_> = guests.map(|guest| kernel.sends(&tcp(guest, vip, SYN, 7, 0))).collect();
    assert!(to.iter().all(|backend| *backend == to[0] && backend.is_some()), "{to:?}");
}

#[test]
fn who_answers_first_has_the_connection() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    let first = kernel.sends(&tcp(guest, vip, SYN, 7, 0)).expect("translated");
    kernel.pass_ms(AGAIN_MS);
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
    [0, 1].into_iter().for_each(|id| kernel.hear(id));
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
    [0, 1].into_iter().for_each(|id| kernel.hear(id));
    let first = kernel.sends(&udp(guest, vip)).expect("translated");
    assert_eq!(kernel.sends(&udp(guest, vip)), Some(first), "the second family's question");
    kernel.pass_ms(AGAIN_MS);
    assert_eq!(kernel.sends(&udp(guest, vip)), Some(other(first)));
    assert_eq!(kernel.count(Counter::DatagramSilence), 1);
    assert_eq!(kernel.evidence(id(first)).suspect_until_ns, 0, "the guest may let itself wait");
    assert_eq!(kernel.gets(&udp(other(first), guest)), Some(vip));
    assert_eq!(kernel.gets(&udp(first, guest)), Some(vip), "late, and good all the same");
    for _ in 0..3 {
        kernel.pass_ms(AGAIN_MS);
        assert_eq!(kernel.sends(&udp(guest, vip)), Some(other(first)), "not all is answered");
    }
    // Its backend dies.
    kernel.judge(id(other(first)), State::Unhealthy);
    assert_eq!(kernel.sends(&udp(guest, vip)), Some(first));
    // Without an agent nobody else would say so.
    kernel.judge(id(other(first)), State::Healthy);
    kernel.gets(&udp(first, guest));
    kernel.pass_ms(AGAIN_MS);
    assert_eq!(kernel.sends(&udp(guest, vip)), Some(first));
    kernel.lease(false);
    kernel.pass_ms(AGAIN_MS);
    assert_eq!(kernel.sends(&udp(guest, vip)), Some(other(first)));
}

#[test]
fn an_interface_that_hears_nothing_is_left_alone_until_it_does() {
    let Some(mut kernel) = Kernel::load() else { return };
    let (guest, vip) = ends();
    assert!(kernel.sends(&tcp(guest, vip, SYN, 7, 0)).is_some());
    kernel.pass_ms(AGAIN_MS);
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
