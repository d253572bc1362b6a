//! A backend that is taken out: by an operator, and for a drill.

mod by_hand;
mod drill;

use std::net::SocketAddr;

use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Ask, Client, Configuration, Connect, Lab};

/// Connects through the VIP, keeps the connection and says where it went.
pub(crate) fn connect(client: &Client) -> (u64, SocketAddr) {
    let vip = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
    let outcome = client.connect(&vip).expect("an outcome");
    assert!(outcome.ok, "{outcome:?}");
    (outcome.handle.expect("a handle"), outcome.peer.expect("a peer"))
}

/// A connection to this server through the VIP.
pub(crate) fn open_to(client: &Client, server: SocketAddr) -> u64 {
    client.open_to(server).expect("opened")
}

pub(crate) fn lab_with_agent() -> Option<(Lab, Agent)> {
    let lab = Lab::builder().build_or_skip()?;
    let configuration = Configuration::of(&lab).quick();
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    Some((lab, agent))
}
