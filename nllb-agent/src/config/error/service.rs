//! What can be wrong with a Service, and with the place where its clients are.

use std::net::IpAddr;

/// What is wrong with a Service.
#[derive(Debug, thiserror::Error)]
pub enum ServiceProblem {
    /// Not a zone's name.
    #[error(
        "\"{found}\" is no zone: write it as the node's label topology.kubernetes.io/zone has it"
    )]
    Zone {
        /// As written.
        found: String,
    },
    /// Not a Service's name.
    #[error("\"{found}\" is no Service: write it like kube-system/kube-dns, or give it addresses")]
    Name {
        /// As written.
        found: String,
    },
    /// What frontends are for.
    #[error("frontends are for the Service of the API server: name another one here")]
    OfApi,
    /// Not a port of a Service.
    #[error(
        "\"{found}\" is no port: write a number like 53, 53/udp or 443/tcp, or its name where the cluster is asked"
    )]
    Port {
        /// As written.
        found: String,
    },
    /// An endpoint's own port where there are several.
    #[error(
        "there are several ports, and this endpoint has one: leave it out, or make an entry for each port"
    )]
    PortOfMany,
    /// Not an address that clients can dial.
    #[error(
        "\"{found}\" is no VIP: write it like 10.96.0.10, without a port; loopback is for frontends"
    )]
    Vip {
        /// As written.
        found: String,
    },
    /// Connects would loop.
    #[error(
        "{ip} is among the addresses, so connects would loop: name a Pod's or host's own address"
    )]
    EndpointIsVip {
        /// The address.
        ip: IpAddr,
    },
    /// TLS without anybody to trust.
    #[error("missing: name the CA of the endpoints' certificates, or set insecureSkipVerify: true")]
    NoAuthority,
}
