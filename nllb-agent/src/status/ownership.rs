//! Who answers for the control-plane VIP, as this node stands to it.

use serde::{Deserialize, Serialize};

/// Who answers for the control-plane VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VipOwnership {
    /// `lease`, `ecmp` or `none`.
    pub by: String,
    /// Whether this node may own the VIP, or should be routed to.
    pub fit: bool,
    /// Why not.
    pub unfit: Option<String>,
    /// The Lease that decides; `None` when none does.
    pub lease: Option<VipLease>,
}

/// The Lease that decides who owns the VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VipLease {
    /// Namespace and name.
    pub name: String,
    /// How long it holds unless it is renewed.
    pub duration_ms: u64,
    /// The address of the member that holds it, as last seen; `None` for nobody, or when that is not known.
    pub holder: Option<String>,
    /// For how long this node has owned the VIP; `None` when it does not.
    pub owned_ms: Option<u64>,
    /// For how long it still does unless it renews.
    pub remaining_ms: Option<u64>,
    /// Whether takeovers are announced on the link.
    pub announces: bool,
    /// How often this node took it.
    pub taken: u64,
    /// How often it lost it.
    pub lost: u64,
    /// How often it gave it away.
    pub released: u64,
    /// Writes of the Lease that went through.
    pub renewals: u64,
    /// Requests that came to nothing.
    pub failures: u64,
    /// Why the last one did; `None` when it did not.
    pub problem: Option<String>,
}
