//! What the scenarios have in common.

use std::net::SocketAddr;

use nllb_lab::{Client, Connect, ConnectLoop, Lab, Outcome, Traffic, TrafficReport};

/// Far beyond what a busy machine keeps anybody waiting: only a connection that nobody serves runs out of it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Starts a loop of connects to an address of the node's; gives its handle.
pub(crate) fn load(lab: &Lab, client: &Client, frontend: SocketAddr) -> u64 {
    let loops = vec![ConnectLoop { patience: PATIENCE, ..ConnectLoop::in_turn() }];
    let server_name = frontend.ip().to_string();
    let traffic = Traffic { frontend, server_name, loops, ..lab.traffic() };
    client.traffic(&traffic).expect("traffic")
}

/// Waits for so many more connects, none of which may fail; gives how many there were.
pub(crate) fn none_fails(client: &Client, traffic: u64, more: u64) -> u64 {
    let mut attempts = 0;
    let enough = || {
        let report = client.traffic_mark(traffic)?;
        assert_nothing_lost(&report);
        attempts += report.loops[0].attempts;
        Ok((attempts >= more).then_some(()))
    };
    nllb_lab::wait::wait_until("connects", enough).expect("connects");
    attempts
}

pub(crate) fn assert_nothing_lost(report: &TrafficReport) {
    let a_loop = &report.loops[0];
    assert_eq!((a_loop.failed, a_loop.skipped), (0, 0), "{report:?}");
    let lost = |held: &nllb_lab::client::protocol::Held| held.end.is_some() || held.unanswered > 0;
    assert!(!report.held.iter().any(lost), "{report:?}");
}

/// Dials and asks who serves; the certificate is verified as every client does.
pub(crate) fn whoami(lab: &Lab, client: &Client, address: SocketAddr) -> Outcome {
    let request = lab.http(&address.ip().to_string(), "/whoami");
    client.connect(&Connect::http(address, request)).expect("an outcome")
}

/// Whether a connect went to a server and not to who listens on the address.
pub(crate) fn is_direct(outcome: &Outcome, address: SocketAddr) -> bool {
    assert_eq!(outcome.status, Some(200), "{outcome:?}");
    outcome.peer != Some(address)
}
