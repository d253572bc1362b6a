//! What Services offered. Who was ready is not kept: an agent that starts probes, and is told soon.

use super::somebodys;
use crate::state::Reason;
use nllb_common::maps::Protocol;
use nllb_core::services::{ServiceAddress, ServiceEndpoint, ServiceListing};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawService {
    name: String,
    addresses: Vec<RawPort>,
    endpoints: Vec<RawPort>,
}

/// An address at which a port of the Service is dialled, or served.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    address: SocketAddr,
    port: String,
    protocol: String,
}

impl RawPort {
    fn new(address: SocketAddr, port: &str, protocol: Protocol) -> Self {
        Self { address, port: port.to_owned(), protocol: protocol.label().to_owned() }
    }

    fn checked(self) -> Result<(SocketAddr, Arc<str>, Protocol), Reason> {
        let Self { address, port, protocol } = self;
        let known = Protocol::ALL.into_iter().find(|known| known.label() == protocol);
        let unknown = || Reason::Damaged(format!("no protocol is {protocol:?}"));
        Ok((somebodys(address)?, port.into(), known.ok_or_else(unknown)?))
    }
}

impl RawService {
    pub(super) fn listing(self) -> Result<(Arc<str>, ServiceListing), Reason> {
        let Self { name, addresses, endpoints } = self;
        let address = |raw: RawPort| {
            let (vip, port, protocol) = raw.checked()?;
            Ok(ServiceAddress { vip, port, protocol })
        };
        let endpoint = |raw: RawPort| {
            let (addr, port, protocol) = raw.checked()?;
            Ok(ServiceEndpoint::ready(addr, port, protocol))
        };
        let listing = ServiceListing {
            addresses: addresses.into_iter().map(address).collect::<Result<_, Reason>>()?,
            endpoints: endpoints.into_iter().map(endpoint).collect::<Result<_, Reason>>()?,
        };
        Ok((name.into(), listing))
    }
}

impl From<&(Arc<str>, ServiceListing)> for RawService {
    fn from((name, listing): &(Arc<str>, ServiceListing)) -> Self {
        let ServiceListing { addresses, endpoints } = listing;
        let address = |one: &ServiceAddress| RawPort::new(one.vip, &one.port, one.protocol);
        let endpoint = |one: &ServiceEndpoint| RawPort::new(one.addr, &one.port, one.protocol);
        Self {
            name: name.to_string(),
            addresses: addresses.iter().map(address).collect(),
            endpoints: endpoints.iter().map(endpoint).collect(),
        }
    }
}
