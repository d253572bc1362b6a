//! What the API server tells, read with suspicion: EndpointSlices are hosts, a Service is VIPs, a pod is addresses.
//!
//! Own types and not those of `k8s-openapi`: of two large objects this takes a dozen keys, and the
//! smaller a value is, the less memory a hostile list of a given length can ask for. What cannot be the
//! address of an API server is left out and counted, so that one bad entry never costs the good ones.

use crate::text::printable;
use nllb_core::Sighting;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// The longest name that Kubernetes allows.
const LONGEST_NAME: usize = 253;
/// A line of log names no more than these.
const EXAMPLES: usize = 3;
/// The name of the port of the Service `kubernetes`.
const PORT_NAME: &str = "https";

/// A kind of object that is watched.
pub(super) trait Object: Clone + DeserializeOwned + Send {
    /// What is taken from it.
    type Item: Clone + Ord + Send;
    /// The word for it in paths and messages.
    const PLURAL: &'static str;
    /// Where the API group is.
    const GROUP: &'static str;
    /// What tells those that are meant: a label or a field that has the name.
    const MARK: Mark;
    /// What there is room for.
    const ROOM: Room = Room::OF_A_SERVICE;
    /// What is looked for in it besides.
    type Sought: Clone + Default + Send;

    /// Its name and version.
    fn metadata(&self) -> &Metadata;
    /// What it tells.
    fn read(&self, sought: &Self::Sought, into: &mut Reading<Self::Item>);
}

/// How much of one kind is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Objects.
    pub(super) objects: usize,
    /// What they tell, together.
    pub(super) items: usize,
    /// The longest answer and the longest event, in bytes.
    pub(super) answer: usize,
}

impl Room {
    /// Far more than one Service has: 32 slices of the default size hold 3,200 endpoints, of which a pool takes far
    /// fewer.
    const OF_A_SERVICE: Self = Self { objects: 32, items: 1000, answer: LONGEST_ANSWER };
}

/// The longest answer and the longest event: room for thousands of endpoints.
pub(super) const LONGEST_ANSWER: usize = 1 << 20;

/// What tells the objects that are meant.
pub(super) enum Mark {
    Label(&'static str),
    Field(&'static str),
}

/// What tells an EndpointSlice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What objects tell, without what makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading<T> {
    pub(super) items: Vec<T>,
    /// How many items it may have.
    room: usize,
    left_out: u32,
    examples: Vec<String>,
}

impl<T> Reading<T> {
    const fn new(room: Room) -> Self {
        Self { items: Vec::new(), room: room.items, left_out: 0, examples: Vec::new() }
    }

    fn add(&mut self, item: T, what: impl FnOnce() -> String) {
        if self.items.len() < self.room {
            self.items.push(item);
        } else {
            self.leave_out(|| format!("{}: one too many", what()));
        }
    }

    fn leave_out(&mut self, example: impl FnOnce() -> String) {
        self.left_out = self.left_out.saturating_add(1);
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }

    /// How many entries were left out, and which in one line that is empty when it was none.
    pub(super) fn complaint(&self) -> (u32, String) {
        let Self { items: _, room: _, left_out, examples } = self;
        let shown = u32::try_from(examples.len()).unwrap_or(u32::MAX);
        let mut line = examples.join(", ");
        if *left_out > shown {
            // Writing to a string cannot fail.
            let _ = write!(line, " and {} more", left_out - shown);
        }
        (*left_out, line)
    }
}

/// The objects of one kind that there are now.
#[derive(Debug)]
pub(super) struct Store<O: Object> {
    sought: O::Sought,
    /// By namespace and name.
    by_name: BTreeMap<(String, String), Reading<O::Item>>,
    /// Objects for which there was no room.
    over: Reading<O::Item>,
}

impl<O: Object> Default for Store<O> {
    fn default() -> Self {
        Self::new(O::Sought::default())
    }
}

impl<O: Object> Store<O> {
    pub(super) const fn new(sought: O::Sought) -> Self {
        Self { sought, by_name: BTreeMap::new(), over: Reading::new(O::ROOM) }
    }

    /// The objects of a list, in the place of all that were there.
    pub(super) fn replace(&mut self, objects: &[O]) {
        self.by_name.clear();
        self.over = Reading::new(O::ROOM);
        for object in objects {
            self.apply(object);
        }
    }

    /// An object that is new or has changed.
    pub(super) fn apply(&mut self, object: &O) {
        let key = object.metadata().key();
        let known = self.by_name.contains_key(&key);
        let (namespace, name) = &key;
        let too_long = name.len().max(namespace.len()) > LONGEST_NAME;
        if too_long || (!known && self.by_name.len() >= O::ROOM.objects) {
            self.over.leave_out(|| format!("{}: one too many", printable(name)));
            return;
        }
        let mut reading = Reading::new(O::ROOM);
        object.read(&self.sought, &mut reading);
        self.by_name.insert(key, reading);
    }

    /// An object that is gone.
    pub(super) fn remove(&mut self, object: &O) {
        self.by_name.remove(&object.metadata().key());
    }

    /// What all of them tell, each thing once.
    pub(super) fn reading(&self) -> Reading<O::Item> {
        let mut whole = Reading::new(O::ROOM);
        let readings = self.by_name.values().chain([&self.over]);
        let mut items: Vec<_> =
            readings.clone().flat_map(|one| one.items.iter().cloned()).collect();
        items.sort_unstable();
        items.dedup();
        for one in readings {
            whole.left_out = whole.left_out.saturating_add(one.left_out);
            let room = EXAMPLES - whole.examples.len();
            whole.examples.extend(one.examples.iter().take(room).cloned());
        }
        for item in items {
            whole.add(item, || O::PLURAL.to_owned());
        }
        whole
    }
}

/// Whose object it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default)]
    annotations: pod::Marks,
    /// When it is to be gone.
    deletion_timestamp: Option<String>,
}

impl Metadata {
    /// What tells it from all others of its kind.
    fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}

/// Some of the endpoints of a Service.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointSlice {
    metadata: Metadata,
    address_type: String,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoint {
    addresses: Vec<String>,
    conditions: Option<Conditions>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
struct Port {
    name: Option<String>,
    port: Option<i64>,
    protocol: Option<String>,
}

impl Port {
    fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }

    /// The number, when there is one; or the one that no port has.
    fn number(&self) -> Result<Option<u16>, i64> {
        let checked = |port: i64| match u16::try_from(port) {
            Ok(0) | Err(_) => Err(port),
            Ok(port) => Ok(port),
        };
        self.port.map(checked).transpose()
    }
}

impl Object for EndpointSlice {
    type Item = Sighting;
    type Sought = ();
    const PLURAL: &'static str = "endpointslices";
    const GROUP: &'static str = "/apis/discovery.k8s.io/v1";
    const MARK: Mark = Mark::Label(SERVICE_NAME);

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn read(&self, (): &(), into: &mut Reading<Sighting>) {
        let Self { metadata, address_type, endpoints, ports } = self;
        let name = || printable(&metadata.name);
        let ports: Vec<&Port> = ports.iter().flatten().filter(|port| port.is_tcp()).collect();
        let named = ports.iter().find(|port| port.name.as_deref() == Some(PORT_NAME));
        // A slice without ports tells who there is all the same.
        let port = match named.or_else(|| ports.first()).map_or(Ok(None), |port| port.number()) {
            Ok(port) => port,
            Err(port) => return into.leave_out(|| format!("{}: port {port} is none", name())),
        };
        for Endpoint { addresses, conditions } in endpoints.iter().flatten() {
            let Conditions { ready, terminating } = conditions.unwrap_or_default();
            for address in addresses {
                match host(address, address_type) {
                    Ok(ip) => {
                        let terminating = terminating.unwrap_or(false);
                        into.add(Sighting { ip, port, ready, terminating }, name);
                    }
                    Err(why) => {
                        into.leave_out(|| format!("{}: {} is {why}", name(), printable(address)));
                    }
                }
            }
        }
    }
}

/// A Service.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Service {
    metadata: Metadata,
    spec: Option<Spec>,
}

#[derive(Clone, Debug, Deserialize)]
struct Spec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    ports: Option<Vec<Port>>,
}

impl Object for Service {
    type Item = SocketAddr;
    type Sought = ();
    const PLURAL: &'static str = "services";
    const GROUP: &'static str = "/api/v1";
    const MARK: Mark = Mark::Field("metadata.name");

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn read(&self, (): &(), into: &mut Reading<SocketAddr>) {
        let Self { metadata, spec } = self;
        let Some(Spec { cluster_ip, cluster_ips, ports }) = spec else { return };
        let name = || printable(&metadata.name);
        let mut numbers = Vec::new();
        for port in ports.iter().flatten().filter(|port| port.is_tcp()) {
            match port.number() {
                Ok(number) => numbers.extend(number),
                Err(port) => into.leave_out(|| format!("{}: port {port} is none", name())),
            }
        }
        // The list is the newer key and holds the other one too.
        let addresses = cluster_ips.as_deref().filter(|list| !list.is_empty());
        let addresses = addresses.or(cluster_ip.as_ref().map(std::slice::from_ref));
        for address in addresses.unwrap_or_default() {
            match host(address, "") {
                Ok(ip) => {
                    numbers.iter().for_each(|port| into.add(SocketAddr::new(ip, *port), name));
                }
                Err(why) => {
                    into.leave_out(|| format!("{}: {} is {why}", name(), printable(address)));
                }
            }
        }
    }
}

/// An address that a host or a VIP can have, of this family (`IPv4`, `IPv6`, or any when empty).
fn host(text: &str, family: &str) -> Result<IpAddr, &'static str> {
    let ip: IpAddr = text.parse().map_err(|_| "no IP address")?;
    // An IPv4 address in the clothes of IPv6 is of the wrong family either way.
    match (family, ip, ip.to_canonical()) {
        ("", _, canonical) | ("IPv4", IpAddr::V4(_), canonical) => usable(canonical),
        ("IPv6", _, canonical @ IpAddr::V6(_)) => usable(canonical),
        ("IPv4", IpAddr::V6(_), _) => Err("not IPv4"),
        ("IPv6", _, IpAddr::V4(_)) => Err("not IPv6"),
        (_, _, _) => Err("of an unknown address type"),
    }
}

fn usable(ip: IpAddr) -> Result<IpAddr, &'static str> {
    let (link_local, broadcast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.is_broadcast() || ip.octets()[0] == 0),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), false),
    };
    let why = if ip.is_unspecified() {
        "no address"
    } else if ip.is_loopback() {
        "loopback"
    } else if ip.is_multicast() {
        "multicast"
    } else if link_local {
        "link-local"
    } else if broadcast {
        "broadcast"
    } else {
        return Ok(ip);
    };
    Err(why)
}

pub(super) mod any_service;
pub(super) mod pod;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod promises;
#[cfg(test)]
mod tests;
