//! What can be wrong with the control-plane VIP.

use super::Problem;
use std::net::{IpAddr, SocketAddr};

/// What is wrong with the VIP.
#[derive(Debug, thiserror::Error)]
pub enum VipProblem {
    /// Not an address that clients can dial.
    #[error("\"{found}\" is no VIP: write one host's address like 10.0.0.100, without a port")]
    Address {
        /// As written.
        found: String,
    },
    /// Two addresses of one family.
    #[error("{first} and {second} are of one family: leave one IPv4 and one IPv6 address at most")]
    Family {
        /// The one.
        first: IpAddr,
        /// The other.
        second: IpAddr,
    },
    /// A member's own address.
    #[error(
        "{address} is an endpoint of pool \"{pool}\", so it belongs to one host: name an address that nobody has"
    )]
    Backend {
        /// The endpoint.
        address: SocketAddr,
        /// The pool.
        pool: String,
    },
    /// What clients on this node dial leads elsewhere.
    #[error(
        "frontend \"{frontend}\" ({kind}) with pool \"{other}\" has {address} as well: give that frontend kind vip and pool \"{pool}\", or another address"
    )]
    Frontend {
        /// Whose it is.
        frontend: String,
        /// The frontend's kind, as it is written.
        kind: &'static str,
        /// The frontend's pool.
        other: String,
        /// The address.
        address: SocketAddr,
        /// The pool of the VIP.
        pool: String,
    },
    /// An address of a family that no member has.
    #[error(
        "no endpoint of pool \"{pool}\" has an address of the family of {address}: remove it, or add endpoints of that family"
    )]
    Unreachable {
        /// The VIP's address.
        address: IpAddr,
        /// The pool.
        pool: String,
    },
    /// A backend at another port.
    #[error(
        "{address} of pool \"{pool}\" is not at port {port}, and answers go past this node, which so cannot change ports: let the VIP and every endpoint have one port"
    )]
    Port {
        /// The VIP's port.
        port: u16,
        /// The backend.
        address: SocketAddr,
        /// The pool.
        pool: String,
    },
    /// Not the name of an interface.
    #[error("\"{found}\" is no name of an interface: write it as ip link shows it, like eth0")]
    Interface {
        /// As written.
        found: String,
    },
    /// Not the name of an object.
    #[error("\"{found}\" is no name of a Lease: use letters a-z, digits, dashes and dots")]
    Lease {
        /// As written.
        found: String,
    },
    /// A fraction of a second.
    #[error("{found} is not whole seconds, and a Lease knows no others: write it like {example}")]
    Seconds {
        /// As written.
        found: String,
        /// One that is.
        example: String,
    },
}

impl From<VipProblem> for Problem {
    /// In a box, since it would make every other one larger.
    fn from(problem: VipProblem) -> Self {
        Self::Vip(Box::new(problem))
    }
}
