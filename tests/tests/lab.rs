//! The lab itself: what a node and its pods see.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use nllb_lab::apiserver::Startup;
use nllb_lab::lab::shared_names;
use nllb_lab::{Ask, Client, Connect, Lab, Place, Stage, Storm, Udp};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_lab_is_up_soon() {
    let started = Instant::now();
    let Some(lab) = Lab::builder().nodes(2).pods(1).build_or_skip() else {
        return;
    };
    // A quarter of a second on an idle machine.
    println!("a lab is up after {:?}", started.elapsed());
    assert!(started.elapsed() < 20 * SECOND, "{:?}", started.elapsed());
    assert_eq!((lab.control_planes().len(), lab.nodes().len()), (3, 2));
}

#[test]
fn every_node_reaches_every_server_by_both_families() {
    let Some(lab) = Lab::builder().nodes(2).build_or_skip() else {
        return;
    };
    for node in 0..2 {
        let client = lab.client(node).expect("a client");
        for plane in lab.control_planes() {
            for address in [plane.tls(), plane.tls_v6()] {
                let outcome = client.connect(&Connect::name_of(address)).expect("an outcome");
                assert_eq!(outcome.server.as_deref(), Some(plane.name()), "{outcome:?}");
                assert_eq!(outcome.peer, Some(address));
            }
            for address in [plane.plain(), plane.plain_v6()] {
                let greeting = Connect { ask: Ask::Greeting, ..Connect::to(address) };
                let outcome = client.connect(&greeting).expect("an outcome");
                assert_eq!(outcome.server.as_deref(), Some(plane.name()), "{outcome:?}");
            }
        }
    }
}

#[test]
fn a_pod_reaches_the_servers_with_its_own_address() {
    let Some(lab) = Lab::builder().control_planes(1).pods(2).build_or_skip() else {
        return;
    };
    let plane = lab.control_plane(0);
    for (index, pod) in lab.node(0).pods().iter().enumerate() {
        let client = lab.pod_client(0, index).expect("a client");
        let http = |host: String| lab.http(&host, "/whoami");
        let by_v4 = Connect::http(plane.tls(), http(plane.v4().to_string()));
        let body = client.connect(&by_v4).expect("an outcome").body.expect("a body");
        assert!(body.contains(&format!("\"{}:", pod.v4())), "{body}");
        let by_v6 = Connect::http(plane.tls_v6(), http(plane.v6().to_string()));
        let body = client.connect(&by_v6).expect("an outcome").body.expect("a body");
        assert!(body.contains(&format!("\"[{}]:", pod.v6())), "{body}");
    }
}

#[test]
fn certificates_carry_the_names_they_are_given() {
    let names = |index| {
        if index == 0 { vec!["only-me".to_owned()] } else { shared_names() }
    };
    let lab = Lab::builder().control_planes(2).names(names).build_or_skip();
    let Some(lab) = lab else { return };
    let client = lab.client(0).expect("a client");
    for (plane, name, ok) in [(0, "only-me", true), (0, "10.96.0.1", false), (1, "10.96.0.1", true)]
    {
        let address = lab.control_plane(plane).tls();
        let outcome = client.connect(&Connect::http(address, lab.http(name, "/whoami")));
        assert_eq!(outcome.expect("an outcome").ok, ok, "cp{plane} as {name}");
    }
}

#[test]
fn every_server_is_tuned_by_all_that_is_asked() {
    let lab = Lab::builder()
        .control_planes(2)
        .tune(|index, settings| settings.modes.readyz = (index == 1).then_some(500))
        .startup(Startup { forbidden: Duration::from_secs(60), ..Startup::default() })
        .build_or_skip();
    let Some(lab) = lab else { return };
    let client = lab.client(0).expect("a client");
    for (plane, status) in lab.control_planes().iter().zip([403, 500]) {
        let readyz = Connect::http(plane.tls(), lab.http("kubernetes", "/readyz"));
        let outcome = client.connect(&readyz).expect("an outcome");
        assert_eq!(outcome.status, Some(status), "{outcome:?}");
    }
}

#[test]
fn sockets_of_every_kind_connect() {
    let Some(lab) = Lab::builder().control_planes(1).build_or_skip() else {
        return;
    };
    let client = lab.client(0).expect("a client");
    let plane = lab.control_plane(0);
    let (v4, v6) = (Connect::name_of(plane.tls()), Connect::name_of(plane.tls_v6()));
    let from: SocketAddr = (lab.node(0).v4(), 0).into();
    let kinds = [
        ("mapped", Connect { mapped: true, ..v4.clone() }),
        ("non-blocking", Connect { nonblocking: true, timeout: Some(5 * SECOND), ..v4.clone() }),
        ("bound", Connect { bind: Some(from), ..v4.clone() }),
        ("bound to its device", Connect { device: Some("eth0".to_owned()), ..v4.clone() }),
        ("multipath", Connect { mptcp: true, ..v4.clone() }),
        ("IPv6 only", Connect { only_v6: true, ..v6 }),
        // The first asks for a cookie, the second sends it.
        ("fast open", Connect { fast_open: true, ..v4.clone() }),
        ("fast open again", Connect { fast_open: true, ..v4.clone() }),
        ("reset on close", Connect { reset_on_close: true, ..v4.clone() }),
    ];
    for (kind, connect) in kinds {
        let outcome = client.connect(&connect).expect("an outcome");
        assert_eq!(outcome.server.as_deref(), Some("cp0"), "{kind}: {outcome:?}");
    }
    let loopback: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let outcome = client.connect(&Connect { bind: Some(loopback), ..v4 }).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("EINVAL"), "bound to loopback: {outcome:?}");
    let vip = (nllb_lab::lab::VIP_V4, 443).into();
    let outcome = client.connect(&Connect::to(vip)).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("ENETUNREACH"), "nobody has the VIP: {outcome:?}");
}

#[test]
fn a_socket_is_connected_anew_after_its_association_is_dissolved() {
    let Some(lab) = Lab::builder().control_planes(2).build_or_skip() else {
        return;
    };
    let client = lab.client(0).expect("a client");
    let [first, second] = [0, 1].map(|index| lab.control_plane(index).tls());
    let kept = Connect { keep: true, ..Connect::to(first) };
    let handle = client.connect(&kept).expect("an outcome").handle.expect("a handle");
    let again = Connect { keep: true, ..Connect::name_of(second) };
    let outcome = client.reconnect(handle, true, &again).expect("an outcome");
    assert_eq!((outcome.server.as_deref(), outcome.peer), (Some("cp1"), Some(second)));
    let handle = outcome.handle.expect("a handle");
    assert_eq!(client.inspect(handle).expect("an inspection").peer, Some(second));
    let outcome = client.reconnect(handle, false, &again).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("EISCONN"), "without dissolving: {outcome:?}");
}

#[test]
fn a_storm_counts_what_becomes_of_its_connects() {
    let Some(lab) = Lab::builder().control_planes(1).build_or_skip() else {
        return;
    };
    let client = lab.client(0).expect("a client");
    let plane = lab.control_plane(0);
    let connect = Connect::name_of(plane.tls());
    let storm = Storm { threads: 4, connects: Some(1000), connect: connect.clone() };
    let report = client.storm(&storm).expect("a report");
    assert_eq!((report.attempts, report.ok, report.servers["cp0"]), (1000, 1000, 1000));
    assert!(0 < report.p50_us && report.p50_us <= report.p99_us && report.p99_us <= report.max_us);

    let id = client.storm_start(&Storm { connects: None, ..storm }).expect("a storm");
    let so_far = || client.storm_report(id).expect("a report");
    while so_far().ok < 100 {}
    plane.crash().expect("crashed");
    while so_far().failed() < 100 {}
    let report = client.storm_stop(id).expect("a report");
    assert!(report.errors.contains_key("ECONNREFUSED"), "{report:?}");
    assert_eq!(report.attempts, report.ok + report.errors.values().sum::<u64>());
}

#[test]
fn listeners_and_datagrams_work_inside_a_node() {
    let Some(lab) = Lab::builder().control_planes(1).pods(1).build_or_skip() else {
        return;
    };
    let (node, pod) = (lab.client(0).expect("a client"), lab.pod_client(0, 0).expect("a client"));
    let any: SocketAddr = (lab.node(0).v4(), 0).into();
    let (tcp, address) = node.listen_tcp(any, "tcp here").expect("a listener");
    let greeting = Connect { ask: Ask::Greeting, ..Connect::to(address) };
    let outcome = pod.connect(&greeting).expect("an outcome");
    assert_eq!(outcome.server.as_deref(), Some("tcp here"));
    node.close(tcp).expect("closed");
    let outcome = pod.connect(&greeting).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"));

    let (udp, address) = node.listen_udp(any, "udp here").expect("a listener");
    for connected in [false, true] {
        let outcome =
            pod.udp(&Udp { address, connected, timeout: 5 * SECOND }).expect("an outcome");
        assert_eq!(outcome.reply.as_deref(), Some("udp here"), "{outcome:?}");
        assert_eq!(outcome.from, Some(address));
    }
    node.close(udp).expect("closed");
    let silence = Udp { address, connected: true, timeout: 5 * SECOND };
    let outcome = pod.udp(&silence).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"), "{outcome:?}");
}

#[test]
fn clients_live_in_their_cgroup_and_may_be_unprivileged() {
    let Some(lab) = Lab::builder().control_planes(1).pods(1).build_or_skip() else {
        return;
    };
    let node = lab.node(0);
    for (place, suffix) in [(node.place(), "node0"), (node.pods()[0].place(), "node0/pod0")] {
        let client = Client::start(&Place { uid: Some(65_534), ..place }).expect("a client");
        let outcome = client.connect(&Connect::name_of(lab.control_plane(0).tls()));
        assert!(outcome.expect("an outcome").ok);
        let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", client.id())).expect("cgroups");
        let own = format!("0::/{}/{suffix}", lab.name());
        assert!(cgroups.lines().any(|line| line.ends_with(&own)), "{own} in {cgroups}");
        let low: SocketAddr = (Ipv4Addr::UNSPECIFIED, 80).into();
        let bound = Connect { bind: Some(low), ..Connect::to(lab.control_plane(0).tls()) };
        let outcome = client.connect(&bound).expect("an outcome");
        let refused = (Some(Stage::Socket), Some("EACCES"));
        assert_eq!((outcome.stage, outcome.error.as_deref()), refused, "port 80 is root's");
    }
}
