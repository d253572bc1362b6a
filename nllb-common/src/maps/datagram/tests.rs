//! Answers find back, second tries are told from others, and room is made for the new.

use std::net::SocketAddr;
use std::string::{String, ToString as _};

use super::*;
use crate::addr::{join, split};

const VIP: &str = "10.96.0.10:53";
const OTHER: &str = "[fd00:10:96::a]:53";

fn slot(host: u8) -> Slot {
    let (addr, port) = split(SocketAddr::from(([10, 0, 0, host], 53)));
    Slot::new(addr, port, host.into(), 7)
}

fn at(text: &str) -> (Addr, Port) {
    split(text.parse().expect("an address"))
}

fn ask(exchanges: &mut Exchanges, host: u8, dialled: &str, asked_ms: u32) {
    let (addr, port) = at(dialled);
    exchanges.note(&slot(host), addr, port, asked_ms, 0);
}

/// Where an answer of a host seems to come from.
fn answered(exchanges: &mut Exchanges, host: u8) -> Option<String> {
    let Slot { addr, port, .. } = slot(host);
    let entry = exchanges.with_backend(addr, port)?;
    entry.asked_ms = 0;
    Some(join(entry.dialled_addr, entry.dialled_port).to_string())
}

/// The host that is tried again, and the one that is to be avoided.
fn past(exchanges: &Exchanges, dialled: &str, now_ms: u32) -> (Option<u32>, Option<u32>) {
    let (addr, port) = at(dialled);
    let Past { again, backend, epoch, avoid } = exchanges.past(addr, port, now_ms, 0);
    assert!(again == 0 || epoch == 7);
    ((again != 0).then_some(backend), (avoid != NO_BACKEND).then_some(avoid))
}

#[test]
fn an_answer_comes_from_where_the_last_question_to_its_backend_was_sent() {
    let mut exchanges = Exchanges::NONE;
    assert_eq!(answered(&mut exchanges, 1), None);
    ask(&mut exchanges, 1, VIP, 1);
    ask(&mut exchanges, 2, OTHER, 1);
    assert_eq!(answered(&mut exchanges, 1).as_deref(), Some(VIP));
    assert_eq!(answered(&mut exchanges, 2).as_deref(), Some(OTHER));
    assert_eq!(answered(&mut exchanges, 3), None);
    ask(&mut exchanges, 1, OTHER, 2);
    assert_eq!(answered(&mut exchanges, 1).as_deref(), Some(OTHER));
}

#[test]
fn the_oldest_makes_room_and_a_backend_takes_one_place() {
    let mut exchanges = Exchanges::NONE;
    let hosts = 1..=u8::try_from(MAX_EXCHANGES).expect("few");
    for round in 0..3 {
        for host in hosts.clone() {
            ask(&mut exchanges, host, VIP, round + 1);
        }
    }
    assert!(hosts.clone().all(|host| answered(&mut exchanges, host).is_some()));
    ask(&mut exchanges, 100, VIP, 9);
    assert_eq!(answered(&mut exchanges, 1), None);
    assert!(hosts.skip(1).chain([100]).all(|host| answered(&mut exchanges, host).is_some()));
}

#[test]
fn a_second_try_is_one_that_waited_and_not_too_long() {
    let mut exchanges = Exchanges::NONE;
    let asked = u32::MAX - 50;
    ask(&mut exchanges, 1, VIP, asked);
    let after = |exchanges: &Exchanges, ms: u32| past(exchanges, VIP, asked.wrapping_add(ms)).0;
    assert_eq!(after(&exchanges, 0), None, "the question for the other family");
    assert_eq!(after(&exchanges, AGAIN_MS - 1), None);
    assert_eq!(after(&exchanges, AGAIN_MS), Some(1));
    assert_eq!(after(&exchanges, FORGOTTEN_MS), Some(1));
    assert_eq!(after(&exchanges, FORGOTTEN_MS + 1), None);
    assert_eq!(after(&exchanges, u32::MAX / 2 + 7), None);
    ask(&mut exchanges, 2, VIP, asked.wrapping_add(1_000));
    assert_eq!(after(&exchanges, 2_000), Some(2), "the last one that was asked");
    answered(&mut exchanges, 2);
    assert_eq!(after(&exchanges, 2_000), Some(1));
    answered(&mut exchanges, 1);
    assert_eq!(after(&exchanges, 2_000), None);
}

#[test]
fn who_is_asked_at_another_address_is_avoided_while_an_answer_may_come() {
    let mut exchanges = Exchanges::NONE;
    ask(&mut exchanges, 1, VIP, 1_000);
    assert_eq!(past(&exchanges, OTHER, 1_000), (None, Some(1)));
    assert_eq!(past(&exchanges, VIP, 1_000), (None, None));
    ask(&mut exchanges, 2, OTHER, 1_010);
    assert_eq!(past(&exchanges, VIP, 1_020), (None, Some(2)));
    assert_eq!(past(&exchanges, VIP, 2_000), (Some(1), Some(1)), "a second try comes first");
    answered(&mut exchanges, 1);
    assert_eq!(past(&exchanges, OTHER, 1_020), (None, None));
    ask(&mut exchanges, 16, VIP, 1_030);
    assert_eq!(past(&exchanges, OTHER, 1_031), (None, Some(16)));
}

#[test]
fn a_backend_that_is_dialled_by_itself_answers_by_itself() {
    let mut exchanges = Exchanges::NONE;
    ask(&mut exchanges, 1, VIP, 1_000);
    ask(&mut exchanges, 2, VIP, 1_000);
    let Slot { addr, port, .. } = slot(1);
    exchanges.with_backend(addr, port).expect("asked").forget();
    assert_eq!(answered(&mut exchanges, 1), None);
    assert_eq!(past(&exchanges, VIP, 2_000).0, Some(2), "nobody waits for it");
    ask(&mut exchanges, 1, VIP, 3_000);
    assert_eq!(answered(&mut exchanges, 1).as_deref(), Some(VIP));
}

#[test]
fn the_peer_of_a_socket_is_known_by_what_was_dialled() {
    let mut exchanges = Exchanges::NONE;
    ask(&mut exchanges, 1, VIP, 0);
    ask(&mut exchanges, 2, OTHER, 0);
    let peer = |backend: (u32, u32), dialled: &str| {
        let (addr, port) = at(dialled);
        exchanges.with_peer(backend, addr, port).map(|it| join(it.backend_addr, it.backend_port))
    };
    assert_eq!(peer((1, 7), VIP), Some(([10, 0, 0, 1], 53).into()));
    assert_eq!(peer((2, 7), OTHER), Some(([10, 0, 0, 2], 53).into()));
    for (backend, dialled) in [((1, 7), OTHER), ((1, 8), VIP), ((3, 7), VIP)] {
        assert_eq!(peer(backend, dialled), None);
    }
}
