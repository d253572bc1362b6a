//! Load that must not notice what happens to a node: a loop of connects, and connections that are held.

use std::net::SocketAddr;
use std::time::Duration;

use crate::lab::Lab;
use crate::wait::wait_until;
use crate::{Client, Connect, ConnectLoop, Outcome, Traffic, TrafficReport};

/// Far beyond what a busy machine keeps anybody waiting: only a connection that nobody serves runs out of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a loop of connects to an address of the node's; gives its handle. Panics if it cannot.
#[must_use]
pub fn load(lab: &Lab, client: &Client, frontend: SocketAddr) -> u64 {
    let loops = vec![ConnectLoop { patience: PATIENCE, ..ConnectLoop::in_turn() }];
    let server_name = frontend.ip().to_string();
    let traffic = Traffic { frontend, server_name, loops, ..lab.traffic() };
    client.traffic(&traffic).expect("traffic")
}

/// Waits for so many more connects; gives how many there were. Panics if one of them failed, or if anything that is
/// held has ended.
pub fn none_fails(client: &Client, traffic: u64, more: u64) -> u64 {
    let mut attempts = 0;
    let enough = || {
        let report = client.traffic_mark(traffic)?;
        assert_nothing_lost(&report);
        attempts += report.loops[0].attempts;
        Ok((attempts >= more).then_some(()))
    };
    wait_until("connects", enough).expect("connects");
    attempts
}

fn assert_nothing_lost(report: &TrafficReport) {
    let a_loop = &report.loops[0];
    assert_eq!((a_loop.failed, a_loop.skipped), (0, 0), "{report:?}");
    let lost = |held: &crate::client::protocol::Held| held.end.is_some() || held.unanswered > 0;
    assert!(!report.held.iter().any(lost), "{report:?}");
}

/// Dials and asks who serves; the certificate is verified as every client does. Panics if the client has gone.
#[must_use]
pub fn whoami(lab: &Lab, client: &Client, address: SocketAddr) -> Outcome {
    let request = lab.http(&address.ip().to_string(), "/whoami");
    client.connect(&Connect::http(address, request)).expect("an outcome")
}

/// Whether a connect went to a server and not to who listens on the address. Panics if it was not answered.
#[must_use]
pub fn is_direct(outcome: &Outcome, address: SocketAddr) -> bool {
    assert_eq!(outcome.status, Some(200), "{outcome:?}");
    outcome.peer != Some(address)
}
