//! The control-plane VIP in the status document.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The VIP as this node serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vip {
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
    /// The pool whose backends serve it.
    pub pool: String,
    /// The interface where the program is attached; `None` while it is not.
    pub interface: Option<String>,
    /// How: `native` or `generic`.
    pub mode: Option<String>,
    /// How packets reach other members: `auto`, `l2` or `ipip`.
    pub forwarding: String,
    /// Who answers for the addresses: `lease`, `ecmp` or `none`.
    pub ownership: String,
    /// Whether this node answers for the addresses now.
    pub is_owner: bool,
    /// What `net.ipv4.conf.*.arp_announce` comes to on the interface.
    pub arp_announce: Option<u8>,
    /// The control-plane hosts that serve it.
    pub members: Vec<VipMember>,
    /// What keeps it from being served as configured, one line each.
    pub problems: Vec<String>,
    /// What became of packets, by label.
    pub counters: BTreeMap<String, u64>,
}

/// A control-plane host that serves the VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VipMember {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is this node.
    pub own: bool,
    /// How packets reach it: `link`, `tunnel`, or `unknown`; `None` for this node.
    pub way: Option<String>,
}
