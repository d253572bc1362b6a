//! What becomes of what a Service offers.

use std::time::Instant;

use nllb_common::maps::Protocol::{Tcp, Udp};
use nllb_common::maps::{MAX_POOL_BACKENDS, Protocol};

use super::*;
use crate::settings::Standing;

const DNS: &str = "kube-system/kube-dns";

fn here() -> Here {
    Here { node: "worker-1".into(), zone: None }
}

fn plan() -> ServicePlan {
    ServicePlan {
        name: DNS.into(),
        ports: Vec::new(),
        topology: Topology::None,
        on_empty: OnEmpty::PassThrough,
        health: HealthSettings::default(),
        given: None,
    }
}

/// A ready endpoint of a port on a node, in the zone that begins the node's name.
fn endpoint(ip: [u8; 4], port: (&str, u16, Protocol), node: &str) -> ServiceEndpoint {
    ServiceEndpoint {
        node: Some(node.into()),
        zone: node.split('-').next().map(Arc::from),
        ..ServiceEndpoint::ready((ip, port.1).into(), port.0.into(), port.2)
    }
}

fn address(port: (&str, u16, Protocol)) -> ServiceAddress {
    ServiceAddress { vip: ([10, 96, 0, 10], port.1).into(), port: port.0.into(), protocol: port.2 }
}

const PORTS: [(&str, u16, Protocol); 3] =
    [("dns", 53, Udp), ("dns-tcp", 53, Tcp), ("metrics", 9153, Tcp)];

/// CoreDNS as kubeadm installs it, on these hosts of 10.244.0.0/24 and nodes.
fn listing(hosts: &[(u8, &str)]) -> ServiceListing {
    let of_host = |(host, node): &(u8, &str)| {
        let (ip, node) = ([10, 244, 0, *host], *node);
        PORTS.map(|port| endpoint(ip, port, node))
    };
    ServiceListing {
        addresses: PORTS.map(address).to_vec(),
        endpoints: hosts.iter().flat_map(of_host).collect(),
    }
}

fn heard(plan: ServicePlan, listing: ServiceListing) -> Services {
    let mut services = Services::new(vec![plan], here());
    services.handle_listing(DNS, listing, Instant::now());
    services
}

/// The pools in words: name, endpoints with what is known of each, and frontends.
fn told(offered: &Offered) -> Vec<String> {
    let one = |(addr, standing): (&SocketAddr, &Standing)| {
        let Standing { band, leaving } = standing;
        let band = if *band == 0 { String::new() } else { format!(" band {band}") };
        format!("{addr}{band}{}", if *leaving { " leaving" } else { "" })
    };
    let pool = |pool: &ServicePool| {
        let endpoints: Vec<_> = pool.settings.standings.iter().map(one).collect();
        let fronts: Vec<_> = pool
            .frontends
            .iter()
            .map(|front| {
                let addresses: Vec<_> = front.addresses.iter().map(ToString::to_string).collect();
                format!("{} = {}", front.name, addresses.join(" "))
            })
            .collect();
        format!("{}: {} <- {}", pool.settings.name, endpoints.join(", "), fronts.join(", "))
    };
    offered.pools.iter().map(pool).collect()
}

fn offered(services: &Services) -> Offered {
    services.offered(&Settings::default())
}

#[test]
fn what_is_served_over_both_protocols_by_the_same_is_one_pool() {
    let services = heard(plan(), listing(&[(2, "a-1"), (3, "b-1")]));
    let all = offered(&services);
    assert_eq!(
        told(&all),
        [
            "kube-system/kube-dns:53: 10.244.0.2:53, 10.244.0.3:53 <- \
             kube-system/kube-dns:dns-tcp/tcp = 10.96.0.10:53, \
             kube-system/kube-dns:dns/udp = 10.96.0.10:53",
            "kube-system/kube-dns:9153: 10.244.0.2:9153, 10.244.0.3:9153 <- \
             kube-system/kube-dns:metrics/tcp = 10.96.0.10:9153",
        ]
    );
    assert!(all.left_out.is_empty());
    assert_eq!(all.pools[0].protocols, [Tcp, Udp].into());
}

#[test]
fn other_endpoints_over_tcp_than_over_udp_are_pools_of_their_own() {
    let mut listing = listing(&[(2, "a-1")]);
    listing.endpoints.retain(|one| one.port != "dns".into());
    listing.endpoints.push(endpoint([10, 244, 0, 9], ("dns", 5353, Udp), "a-1"));
    let plan = ServicePlan { ports: vec![PortChoice::Number(53, None)], ..plan() };
    assert_eq!(
        told(&offered(&heard(plan, listing))),
        [
            "kube-system/kube-dns:53/tcp: 10.244.0.2:53 <- kube-system/kube-dns:dns-tcp/tcp = 10.96.0.10:53",
            "kube-system/kube-dns:53/udp: 10.244.0.9:5353 <- kube-system/kube-dns:dns/udp = 10.96.0.10:53",
        ]
    );
}

#[test]
fn ports_are_chosen_by_name_or_number_and_one_that_is_not_there_is_told() {
    let names = |ports: &[PortChoice]| {
        let plan = ServicePlan { ports: ports.to_vec(), ..plan() };
        let offered = offered(&heard(plan, listing(&[(2, "a-1")])));
        let frontends = offered.pools.iter().flat_map(|pool| &pool.frontends);
        (frontends.map(|front| front.name.clone()).collect::<Vec<_>>(), offered.left_out)
    };
    let name = |name: &str| PortChoice::Name(name.to_owned());
    assert_eq!(names(&[name("dns")]).0, ["kube-system/kube-dns:dns/udp"]);
    let udp = PortChoice::Number(53, Some(Udp));
    assert_eq!(names(&[udp]).0, ["kube-system/kube-dns:dns/udp"]);
    let (frontends, left_out) = names(&[PortChoice::Number(53, None), name("dot")]);
    assert_eq!(frontends.len(), 2);
    assert_eq!(left_out, ["kube-system/kube-dns: the Service has no port dot"]);
}

#[test]
fn nearer_ones_come_first_and_what_the_cluster_wants_comes_before_where_they_are() {
    let hosts = [(1, "a-1"), (2, "a-2"), (3, "b-1"), (4, "b-2")];
    let of = |topology, zone: Option<&str>, for_zones: &[&str]| {
        let ports = vec![PortChoice::Name("metrics".to_owned())];
        let mut listing = listing(&hosts);
        let wanted = |name: &&str| Arc::from(*name);
        listing.endpoints.iter_mut().for_each(|one| {
            one.for_zones = for_zones.iter().map(wanted).collect();
        });
        let here = Here { node: "b-2".into(), zone: zone.map(Arc::from) };
        let mut services = Services::new(vec![ServicePlan { topology, ports, ..plan() }], here);
        services.handle_listing(DNS, listing, Instant::now());
        let standings = offered(&services).pools.remove(0).settings.standings;
        standings.values().map(|one| one.band).collect::<Vec<_>>()
    };
    // The zone is that of the endpoint on this node.
    assert_eq!(of(Topology::PreferNode, None, &[]), [2, 2, 1, 0]);
    assert_eq!(of(Topology::PreferZone, None, &[]), [1, 1, 0, 0]);
    assert_eq!(of(Topology::None, None, &[]), [0, 0, 0, 0]);
    assert_eq!(of(Topology::PreferZone, Some("a"), &[]), [0, 0, 1, 1]);
    assert_eq!(of(Topology::PreferZone, Some("a"), &["b", "c"]), [1, 1, 1, 1]);
    assert_eq!(of(Topology::PreferNode, Some("a"), &["a"]), [1, 1, 1, 0]);
}

#[test]
fn what_ends_drains_and_what_is_not_ready_is_for_when_nobody_else_is_there() {
    let conditions = |given: &[(bool, bool, bool)]| {
        let hosts: Vec<(u8, &str)> = (1..).map(|host| (host, "a-1")).take(given.len()).collect();
        let mut listing = listing(&hosts);
        for (one, (ready, serving, terminating)) in
            listing.endpoints.chunks_mut(PORTS.len()).zip(given)
        {
            for endpoint in one {
                (endpoint.ready, endpoint.serving, endpoint.terminating) =
                    (*ready, *serving, *terminating);
            }
        }
        let plan = ServicePlan { ports: vec![PortChoice::Name("metrics".to_owned())], ..plan() };
        let standings = offered(&heard(plan, listing)).pools.remove(0).settings.standings;
        let one = |(addr, one): (&SocketAddr, &Standing)| match addr.ip() {
            IpAddr::V4(ip) => (ip.octets()[3], one.leaving),
            IpAddr::V6(_) => panic!("no such endpoint"),
        };
        standings.iter().map(one).collect::<Vec<_>>()
    };
    let (ready, ending, gone, starting) =
        ((true, true, false), (false, true, true), (false, false, true), (false, false, false));
    assert_eq!(conditions(&[ready, ending, gone, starting]), [(1, false), (2, true)]);
    assert_eq!(conditions(&[ending, gone, starting]), [(1, true)]);
    assert_eq!(conditions(&[gone, starting]), [(1, false), (2, false)]);
    assert!(conditions(&[]).is_empty());
}

#[test]
fn of_too_many_the_nearest_stay_and_each_node_goes_to_others() {
    let hosts: Vec<(u8, &str)> =
        (1..=20).map(|host| (host, if host == 20 { "a-1" } else { "b-1" })).collect();
    let of = |node: &str, hosts: &[(u8, &str)]| {
        let ports = vec![PortChoice::Name("dns".to_owned())];
        let plan = ServicePlan { topology: Topology::PreferNode, ports, ..plan() };
        let mut services = Services::new(vec![plan], Here { node: node.into(), zone: None });
        services.handle_listing(DNS, listing(hosts), Instant::now());
        let offered = offered(&services);
        let endpoints: BTreeSet<_> = offered.pools[0].settings.endpoints.iter().copied().collect();
        (endpoints, offered.left_out)
    };
    let (one, left_out) = of("a-1", &hosts);
    assert_eq!(one.len(), MAX_POOL_BACKENDS);
    assert!(one.contains(&([10, 244, 0, 20], 53).into()), "its own");
    assert_eq!(
        left_out,
        [
            "kube-system/kube-dns:53: 4 of 20 endpoints are left out: a pool holds 16, the nearest first and of those each node others"
        ]
    );
    assert_eq!(of("a-1", &hosts).0, one, "the same each time");
    let chosen: Vec<_> = (2..12).map(|node| of(&format!("c-{node}"), &hosts).0).collect();
    let all: BTreeSet<_> = chosen.iter().flatten().collect();
    assert_eq!(all.len(), 20, "nobody is left out by all nodes");
    // One that goes is replaced by one, and everybody else stays.
    let gone = *one.iter().find(|addr| addr.ip() != IpAddr::from([10, 244, 0, 20])).expect("some");
    let others: Vec<_> = hosts
        .iter()
        .copied()
        .filter(|(host, _)| gone.ip() != IpAddr::from([10, 244, 0, *host]))
        .collect();
    let after = of("a-1", &others).0;
    assert_eq!(after.intersection(&one).count(), MAX_POOL_BACKENDS - 1);
}

#[test]
fn what_has_no_room_is_left_out_and_told_and_takes_nothing_from_others() {
    let mut services = heard(plan(), listing(&[(2, "a-1")]));
    let api = FrontendSettings {
        name: "kubernetes".to_owned(),
        addresses: vec![([10, 96, 0, 10], 9153).into()],
        pool: "apiserver".to_owned(),
        ..FrontendSettings::default()
    };
    let pool = PoolSettings { name: "apiserver".to_owned(), ..PoolSettings::default() };
    let settings = Settings { pools: vec![pool], frontends: vec![api], ..Settings::default() };
    let offered = services.offered(&settings);
    let names: Vec<_> = offered.pools.iter().map(|pool| pool.settings.name.as_str()).collect();
    assert_eq!(names, ["kube-system/kube-dns:53"]);
    assert_eq!(
        offered.left_out,
        [
            "kube-system/kube-dns:9153 is left out: frontends kubernetes and kube-system/kube-dns:metrics/tcp both have the address 10.96.0.10:9153"
        ]
    );
    // One that clients dial.
    let mut looping = listing(&[(2, "a-1")]);
    looping.endpoints.push(endpoint([10, 96, 0, 10], PORTS[0], "a-1"));
    looping.endpoints.push(endpoint([10, 96, 0, 10], PORTS[1], "a-1"));
    services.handle_listing(DNS, looping, Instant::now());
    let offered = services.offered(&Settings::default());
    assert_eq!(offered.pools[0].settings.endpoints, [([10, 244, 0, 2], 53).into()]);
    assert_eq!(
        offered.left_out,
        ["kube-system/kube-dns:53: 10.96.0.10:53 is left out: it is a frontend's address"]
    );
}

#[test]
fn a_service_that_is_gone_offers_nothing_and_one_that_is_not_heard_what_it_did() {
    let now = Instant::now();
    let mut services = heard(plan(), listing(&[(2, "a-1")]));
    services.handle_failure(DNS, "refused".to_owned(), now);
    assert!(services.is_failing(DNS));
    assert_eq!(offered(&services).pools.len(), 2);
    services.handle_listing(DNS, ServiceListing::default(), now);
    assert!(!services.is_failing(DNS));
    let gone = "kube-system/kube-dns is left out: the cluster has no such Service, or none that can be dialled";
    let told = Offered { left_out: vec![gone.to_owned()], ..Offered::default() };
    assert_eq!(offered(&services), told);
    // One without endpoints keeps its addresses.
    services.handle_listing(DNS, listing(&[]), now);
    assert_eq!(offered(&services).pools.len(), 2);
    services.set_plans(Vec::new(), here());
    assert_eq!(offered(&services), Offered::default());
    assert!(services.handle_listing(DNS, listing(&[(2, "a-1")]), now).is_empty());
}

#[test]
fn a_host_of_which_something_else_is_said_is_worth_a_look() {
    let now = Instant::now();
    let mut services = heard(plan(), listing(&[(2, "a-1"), (3, "b-1")]));
    assert!(services.handle_listing(DNS, listing(&[(2, "a-1"), (3, "b-1")]), now).is_empty());
    let mut other = listing(&[(2, "a-1"), (3, "b-1")]);
    other.endpoints[0].ready = false;
    let hints = services.handle_listing(DNS, other, now);
    assert_eq!(hints, [IpAddr::from([10, 244, 0, 2])].into());
}

#[test]
fn a_zone_is_the_configured_one_or_the_nodes_own_or_that_of_a_neighbour() {
    let now = Instant::now();
    let plan = ServicePlan { topology: Topology::PreferZone, ..plan() };
    let listing = listing(&[(2, "a-1"), (3, "b-1")]);
    let nearest = |services: &Services| {
        let standings = offered(services).pools[0].settings.standings.clone();
        standings.values().map(|standing| standing.band).collect::<Vec<_>>()
    };
    let on = |node: &str, zone: Option<&str>| Here { node: node.into(), zone: zone.map(Arc::from) };
    let mut services = Services::new(vec![plan.clone()], on("a-1", None));
    assert!(services.want_zone());
    services.handle_listing(DNS, listing, now);
    assert_eq!(nearest(&services), [0, 1], "its neighbour's");
    services.handle_zone(Some("b".into()), now);
    assert_eq!(nearest(&services), [1, 0], "its own");
    services.handle_no_zone("403".to_owned(), now);
    assert_eq!((nearest(&services), services.is_zone_failing()), (vec![1, 0], true));
    let node = services.view().into_iter().find(|one| one.id.kind == SourceKind::Node);
    assert!(node.is_some_and(|node| node.failure.is_some()));
    services.handle_zone(None, now);
    assert_eq!((nearest(&services), services.is_zone_failing()), (vec![0, 1], false));
    services.handle_zone(Some("b".into()), now);
    services.set_plans(vec![plan.clone()], on("a-1", Some("a")));
    assert_eq!((nearest(&services), services.want_zone()), (vec![0, 1], false), "configured");
    // Another node is in another zone.
    services.set_plans(vec![plan.clone()], on("c-1", None));
    assert_eq!(nearest(&services), [1, 1]);
    services.set_plans(vec![ServicePlan { topology: Topology::None, ..plan }], on("c-1", None));
    assert!(
        !services.want_zone() && services.view().iter().all(|one| one.id.kind != SourceKind::Node)
    );
}
