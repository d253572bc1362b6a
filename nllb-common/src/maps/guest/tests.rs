//! Keys lead there and back, a value is told from one of another key, and what is over makes room.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::*;
use crate::addr::split;

fn end(text: &str) -> (Addr, Port) {
    split(text.parse::<SocketAddr>().expect("an address"))
}

fn key(guest_port: u16) -> FlowKey {
    let guest = split(SocketAddr::from(([10, 244, 0, 7], guest_port)));
    FlowKey::new(FlowKind::Forward, guest, end("10.96.0.1:443"), Protocol::Tcp as u8)
}

fn flow(key: &FlowKey, backend: u32, asked_ms: u32) -> Flow {
    let (addr, port) = end("192.0.2.11:6443");
    let slot = Slot::new(addr, port, backend, 7);
    Flow::new(key, (addr, port), &slot, 3, (9, asked_ms))
}

#[test]
fn the_way_back_of_a_key_leads_to_it_again() {
    let forward = key(40_001);
    let backend = end("192.0.2.11:6443");
    let reverse = forward.turned(FlowKind::Reverse, backend);
    assert_eq!(reverse.peer(), backend);
    assert_ne!(reverse, forward);
    assert_eq!(reverse.turned(FlowKind::Forward, forward.peer()), forward);
}

#[test]
fn a_value_of_another_key_is_told() {
    let keys = (0..4_000).map(key);
    let guards: BTreeSet<_> = keys.map(|key| key.tag().guard()).collect();
    assert!(guards.len() > 3_990, "{}", guards.len());
    let value = flow(&key(1), 1, 0);
    assert!(value.is_of(&key(1)) && !value.is_of(&key(2)));
    let reverse = key(1).turned(FlowKind::Reverse, key(1).peer());
    assert!(!value.is_of(&reverse), "only the kind differs");
    let alike = FlowKey { peer: end("10.96.0.2:443").0, ..key(1) };
    assert!(!value.is_of(&alike), "the value says whom it is about");
    let mut moved = value;
    moved.put_under(&reverse, key(1).peer());
    assert!(moved.is_of(&reverse) && moved.backend == value.backend);
}

#[test]
fn keys_of_both_families_differ_in_whatever_they_are_about() {
    let ends =
        ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:2", "[::1]:1", "[fd00::1]:1", "[fd00:0:0:1::]:1"]
            .map(end);
    let kinds = [FlowKind::Forward, FlowKind::Reverse];
    let mut tags = BTreeSet::new();
    let mut keys = 0;
    for guest in ends {
        for peer in ends.into_iter().filter(|peer| peer.0.family() == guest.0.family()) {
            for kind in kinds {
                for protocol in Protocol::ALL {
                    let FlowTag { addrs, rest } =
                        *FlowKey::new(kind, guest, peer, protocol as u8).tag();
                    tags.insert((addrs, rest));
                    keys += 1;
                }
            }
        }
    }
    assert_eq!(tags.len(), keys);
    assert_ne!(FlowKey::heard(1).tag(), FlowKey::heard(2).tag());
}

#[test]
fn parts_of_a_packet_are_those_of_its_time() {
    let parts = flow(&key(1), 1, u32::MAX);
    let after = |ms: u32| parts.is_of_parts(parts.asked_ms.wrapping_add(ms));
    assert!(after(0) && after(PARTS_OVER_MS) && !after(PARTS_OVER_MS + 1));
}

#[test]
fn what_is_over_is_not_live() {
    let forward = flow(&key(1), 1, u32::MAX - 100);
    let after = |ms: u32| forward.asked_ms.wrapping_add(ms);
    let (tcp, udp) = (Protocol::Tcp as u8, Protocol::Udp as u8);
    let fresh = forward;
    let answered = Flow { state: flow_state::ANSWERED, ..forward };
    let ended = |state| Flow { state: flow_state::ANSWERED | state, ..forward };
    let closed = Flow { state: flow_state::FIN, ..forward };
    let reset = Flow { state: flow_state::RST, ..forward };
    for (ahead, back, protocol, ms, live) in [
        (forward, fresh, tcp, SYN_OVER_MS, true),
        (forward, fresh, tcp, SYN_OVER_MS + 1, false),
        (forward, answered, tcp, SYN_OVER_MS + 1, true),
        (closed, answered, tcp, 0, true),
        (forward, ended(flow_state::FIN), tcp, 0, true),
        (closed, ended(flow_state::FIN), tcp, 0, false),
        (reset, answered, tcp, 0, false),
        (forward, ended(flow_state::RST), tcp, 0, false),
        (forward, answered, udp, UDP_OVER_MS, true),
        (forward, answered, udp, UDP_OVER_MS + 1, false),
        (flow(&key(1), 2, 0), answered, tcp, 0, false),
    ] {
        assert_eq!(ahead.is_live(&back, protocol, after(ms)), live, "{ahead:?} {back:?} {ms}");
    }
}

#[test]
fn a_question_is_late_and_then_forgotten() {
    let asked = flow(&key(1), 1, u32::MAX);
    let after = |ms: u32| asked.is_late(asked.asked_ms.wrapping_add(ms));
    assert_eq!(after(AGAIN_MS - 1), (false, false));
    assert_eq!(after(AGAIN_MS), (true, false));
    assert_eq!(after(FORGOTTEN_MS), (true, false));
    assert_eq!(after(FORGOTTEN_MS + 1), (true, true));
}

#[test]
fn an_interface_is_deaf_when_nothing_ever_came_back() {
    let asked = Guest { asked_ns: 5, ..Guest::NONE };
    assert!(!Guest::NONE.is_deaf(u64::MAX));
    assert!(!asked.is_deaf(5 + DEAF_NS) && asked.is_deaf(6 + DEAF_NS));
    assert!(!Guest { answered: 1, ..asked }.is_deaf(u64::MAX));
}
