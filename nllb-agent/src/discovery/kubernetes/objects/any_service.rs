//! Any Service and its EndpointSlices: every port over TCP and UDP, and of each endpoint where it is and
//! how it stands.

use super::*;
use nllb_common::maps::Protocol;
use nllb_core::services::{ServiceAddress, ServiceEndpoint};
use std::sync::Arc;

/// The longest name of a port, and more zones than a cluster has.
const LONGEST_PORT_NAME: usize = 63;
const MOST_ZONES: usize = 32;
/// What a Service without an address of its own has in the place of one.
const HEADLESS: &str = "None";

/// A port that can be a frontend's.
struct Usable {
    name: Arc<str>,
    number: u16,
    protocol: Protocol,
}

/// The ports among these that can be. What is neither TCP nor UDP is passed over without a word: it was
/// never meant for us.
fn ports<T: Clone + Ord + Send>(
    ports: Option<&[Port]>,
    whose: &str,
    into: &mut Reading<T>,
) -> Vec<Usable> {
    let mut usable = Vec::new();
    for port in ports.unwrap_or_default() {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(_) => continue,
        };
        let name = port.name.as_deref().unwrap_or_default();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.len() > LONGEST_PORT_NAME || !name.chars().all(fits) {
            into.leave_out(|| format!("{whose}: {} is no port's name", printable(name)));
            continue;
        }
        match port.number() {
            Ok(Some(number)) => usable.push(Usable { name: name.into(), number, protocol }),
            Ok(None) => {}
            Err(port) => into.leave_out(|| format!("{whose}: port {port} is none")),
        }
    }
    usable
}

/// Some of the endpoints of a Service.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery::kubernetes) struct AnySlice {
    metadata: Metadata,
    address_type: String,
    endpoints: Option<Vec<Placed>>,
    ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    addresses: Vec<String>,
    conditions: Option<AllConditions>,
    node_name: Option<String>,
    zone: Option<String>,
    hints: Option<Hints>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct AllConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    for_zones: Option<Vec<ForZone>>,
}

#[derive(Clone, Debug, Deserialize)]
struct ForZone {
    name: String,
}

impl Object for AnySlice {
    type Item = ServiceEndpoint;
    type Sought = ();
    const PLURAL: &'static str = "endpointslices";
    const GROUP: &'static str = "/apis/discovery.k8s.io/v1";
    const MARK: Mark = Mark::Label(SERVICE_NAME);

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn read(&self, (): &(), into: &mut Reading<ServiceEndpoint>) {
        let Self { metadata, address_type, endpoints, ports } = self;
        let name = printable(&metadata.name);
        let ports = self::ports(ports.as_deref(), &name, into);
        for Placed { addresses, conditions, node_name, zone, hints } in endpoints.iter().flatten() {
            let AllConditions { ready, serving, terminating } = conditions.unwrap_or_default();
            let zones = hints.iter().flat_map(|hints| hints.for_zones.iter().flatten());
            let zones = zones.take(MOST_ZONES).filter_map(|zone| place(&zone.name));
            let zones: Vec<Arc<str>> = zones.collect();
            // The API calls all addresses of an endpoint the same, and clients are to use the first.
            for address in addresses.iter().take(1) {
                let ip = match host(address, address_type) {
                    Ok(ip) => ip,
                    Err(why) => {
                        into.leave_out(|| format!("{name}: {} is {why}", printable(address)));
                        continue;
                    }
                };
                for Usable { name: port, number, protocol } in &ports {
                    let endpoint = ServiceEndpoint {
                        addr: SocketAddr::new(ip, *number),
                        port: Arc::clone(port),
                        protocol: *protocol,
                        // Where nothing is said it is to be taken for well.
                        ready: ready.unwrap_or(true),
                        serving: serving.unwrap_or(true),
                        terminating: terminating.unwrap_or(false),
                        node: node_name.as_deref().and_then(place),
                        zone: zone.as_deref().and_then(place),
                        for_zones: zones.clone(),
                    };
                    into.add(endpoint, || name.clone());
                }
            }
        }
    }
}

/// The name of a node or a zone, which are only compared.
fn place(name: &str) -> Option<Arc<str>> {
    (!name.is_empty() && name.len() <= LONGEST_NAME).then(|| name.into())
}

/// Any Service.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::discovery::kubernetes) struct AnyService {
    metadata: Metadata,
    spec: Option<Spec>,
}

impl Object for AnyService {
    type Item = ServiceAddress;
    type Sought = ();
    const PLURAL: &'static str = "services";
    const GROUP: &'static str = "/api/v1";
    const MARK: Mark = Mark::Field("metadata.name");

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn read(&self, (): &(), into: &mut Reading<ServiceAddress>) {
        let Self { metadata, spec } = self;
        let Some(Spec { cluster_ip, cluster_ips, ports }) = spec else { return };
        let name = printable(&metadata.name);
        let ports = self::ports(ports.as_deref(), &name, into);
        let addresses = cluster_ips.as_deref().filter(|list| !list.is_empty());
        let addresses = addresses.or(cluster_ip.as_ref().map(std::slice::from_ref));
        for address in addresses.unwrap_or_default() {
            match host(address, "") {
                Ok(ip) => {
                    for Usable { name: port, number, protocol } in &ports {
                        let (vip, port) = (SocketAddr::new(ip, *number), Arc::clone(port));
                        into.add(ServiceAddress { vip, port, protocol: *protocol }, || {
                            name.clone()
                        });
                    }
                }
                Err(_) if address == HEADLESS => {
                    into.leave_out(|| format!("{name}: it is headless, so nobody dials it"));
                }
                Err(why) => {
                    into.leave_out(|| format!("{name}: {} is {why}", printable(address)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
