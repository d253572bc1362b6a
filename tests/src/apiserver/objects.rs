//! What is served as EndpointSlices, Services and pods, and what it was before.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How many versions back a watch may begin; an older one is gone.
const REMEMBERED: usize = 100;

/// All objects at one moment, as JSON so that a test may make them as strange as it likes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Objects {
    /// The version of the whole, as etcd's revision.
    pub version: u64,
    /// The EndpointSlices of the namespace `default`.
    pub slices: Vec<Value>,
    /// The Services of the namespace `default`.
    pub services: Vec<Value>,
    /// The pods of all namespaces.
    pub pods: Vec<Value>,
    /// The zones of nodes, by the node's name.
    pub zones: BTreeMap<String, String>,
}

/// An endpoint of the Service `kubernetes`.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// Its condition.
    pub ready: bool,
    /// Its condition.
    pub terminating: bool,
}

impl Endpoint {
    /// One that is ready.
    #[must_use]
    pub fn ready(address: SocketAddr) -> Self {
        Self { address, ready: true, terminating: false }
    }
}

impl Objects {
    /// The Service `kubernetes` with these VIPs, and a slice for each family and port of its endpoints.
    #[must_use]
    pub fn kubernetes(endpoints: &[Endpoint], vips: &[IpAddr]) -> Self {
        let mut slices: BTreeMap<(bool, u16), Vec<Value>> = BTreeMap::new();
        for Endpoint { address, ready, terminating } in endpoints {
            let endpoint = json!({
                "addresses": [address.ip()],
                "conditions": {"ready": ready, "serving": ready, "terminating": terminating},
            });
            slices.entry((address.is_ipv6(), address.port())).or_default().push(endpoint);
        }
        let slices = slices.into_iter().map(|((v6, port), endpoints)| {
            let family = if v6 { "IPv6" } else { "IPv4" };
            let name = format!("kubernetes-{}-{port}", family.to_lowercase());
            slice(&name, family, port, &endpoints)
        });
        let (slices, services) = (slices.collect(), vec![service(vips)]);
        Self { version: 1, slices, services, ..Self::default() }
    }
}

/// A Service of the cluster besides the API server's.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What clients dial.
    pub vip: IpAddr,
    /// Name, number and protocol of each port; endpoints listen at the same number.
    pub ports: &'a [(&'a str, u16, &'a str)],
}

/// An endpoint of such a Service.
#[derive(Clone, Debug)]
pub struct Replica<'a> {
    /// Where it is.
    pub address: IpAddr,
    /// Its node and its zone.
    pub place: (&'a str, &'a str),
    /// Its conditions: ready, serving, terminating.
    pub conditions: [bool; 3],
}

impl Objects {
    /// The same with this Service.
    #[must_use]
    pub fn with(mut self, offer: &Offer<'_>, replicas: &[Replica<'_>]) -> Self {
        let Offer { namespace, name, vip, ports } = offer;
        let ports = ports.iter().map(
            |(name, port, protocol)| json!({"name": name, "port": port, "protocol": protocol}),
        );
        let ports: Vec<Value> = ports.collect();
        let endpoints = replicas.iter().map(|replica| {
            let Replica { address, place: (node, zone), conditions } = replica;
            let [ready, serving, terminating] = conditions;
            json!({
                "addresses": [address],
                "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
                "nodeName": node,
                "zone": zone,
            })
        });
        let endpoints: Vec<Value> = endpoints.collect();
        self.slices.push(json!({
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": format!("{name}-x7k2p"),
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": if vip.is_ipv6() { "IPv6" } else { "IPv4" },
            "endpoints": endpoints,
            "ports": ports,
        }));
        self.services.push(json!({
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"type": "ClusterIP", "clusterIP": vip, "clusterIPs": [vip], "ports": ports},
        }));
        self
    }
}

/// A pod that runs, `namespace/name`, on a node and with these addresses.
#[must_use]
pub fn pod(name: &str, node: &str, addresses: &[IpAddr], annotations: &[(&str, &str)]) -> Value {
    let (namespace, name) = name.split_once('/').expect("a namespace and a name");
    let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
    let all: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "main"}]},
        "status": {"phase": "Running", "podIP": addresses.first(), "podIPs": all},
    })
}

/// One EndpointSlice of the Service `kubernetes`.
fn slice(name: &str, family: &str, port: u16, endpoints: &[Value]) -> Value {
    json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}

fn service(vips: &[IpAddr]) -> Value {
    json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": vips.first(),
            "clusterIPs": vips,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    })
}

/// The objects now, and before.
pub(super) struct History(VecDeque<Objects>);

impl History {
    pub(super) fn new(objects: Objects) -> Self {
        Self(VecDeque::from([objects]))
    }

    pub(super) fn add(&mut self, objects: Objects) {
        self.0.push_back(objects);
        while self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// The objects now.
    pub(super) fn newest(&self) -> &Objects {
        self.0.back().expect("there is always one")
    }

    /// The objects at this version and everything since, oldest first; `None` when that is gone.
    pub(super) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Objects>> {
        let at = self.0.iter().rposition(|objects| objects.version <= version)?;
        Some(self.0.iter().skip(at))
    }
}
