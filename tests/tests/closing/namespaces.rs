//! Where sockets end: in network namespaces that are hard to find, and as far as rights reach.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::net::if_::if_nametoindex;
use nllb_agent::datapath::closing::{
    CloseError, CloseSockets, Closed, Closer, Closing, NamespaceError, Order,
};
use nllb_lab::lab::{ControlPlane, Pod, VIP_V4};
use nllb_lab::process::{Process, program};
use nllb_lab::wait::wait_until;
use nllb_lab::{Client, Connect, Lab, capability, netns};

use crate::{Node, assert_ended, lives, open, run, vip};

/// What an agent needs to run at all.
const LEAST: [u32; 3] = [capability::NET_ADMIN, capability::PERFMON, capability::BPF];

#[test]
fn a_socket_whose_process_has_ended_ends_in_the_hands_of_another() {
    let Some(node) = node_with_pods(1) else { return };
    let pod = &node.lab.node(0).pods()[0];
    let mut holder = hand_over(pod);
    let closed = node.close(node.order(node.lab.control_plane(0).tls()));
    assert_eq!((closed.sockets, closed.namespaces), (1, 1), "{closed:?}");
    assert!(closed.errors.is_empty() && closed.searched, "{closed:?}");
    let mut said = String::new();
    let output = holder.take_stdout().expect("its output");
    BufReader::new(output).read_line(&mut said).expect("a line");
    assert_eq!(said, "ended\n");
}

#[test]
fn a_namespace_without_any_process_is_found_by_its_name() {
    let Some(node) = node_with_pods(2) else { return };
    let client = node.lab.client(0).expect("a client");
    let sockets: Vec<_> = (0..2).map(|pod| open_in(&node, &client, pod)).collect();
    let closed = node.close(node.order(node.lab.control_plane(0).tls()));
    assert_eq!((closed.sockets, closed.namespaces), (2, 2), "{closed:?}");
    assert!(closed.errors.is_empty() && closed.searched, "{closed:?}");
    for handle in sockets {
        assert_ended(&client, handle);
    }
}

#[test]
fn a_namespace_that_nothing_leads_to_is_named_and_the_others_are_served() {
    let Some(node) = node_with_pods(2) else { return };
    let client = node.lab.client(0).expect("a client");
    let sockets: Vec<_> = (0..2).map(|pod| open_in(&node, &client, pod)).collect();
    let name = node.lab.node(0).pods()[0].netns();
    netns::ip(None, &[format!("netns del {name}")]).expect("deleted");
    let closed = node.close(node.order(node.lab.control_plane(0).tls()));
    assert_eq!((closed.sockets, closed.namespaces), (1, 1), "{closed:?}");
    assert!(matches!(unreached(&closed)[..], [NamespaceError::NotFound { .. }]), "{closed:?}");
    assert!(lives(&client, sockets[0]), "out of reach");
    assert_ended(&client, sockets[1]);
}

#[test]
fn what_was_found_in_advance_is_not_searched_for_and_is_not_kept_alive() {
    let Some(node) = node_with_pods(2) else { return };
    let client = node.lab.client(0).expect("a client");
    let sockets: Vec<_> = (0..2).map(|pod| open_in(&node, &client, pod)).collect();
    let order = node.order(node.lab.control_plane(0).tls());
    let nobody = Order { backend: order.backend + 1, ..order };
    node.with_closer(|closer| {
        let reach = run(closer.refresh());
        assert_eq!((reach.namespaces, reach.errors.len()), (2, 0), "{reach:?}");
        let closed = run(closer.close(order));
        assert_eq!((closed.sockets, closed.namespaces), (2, 2), "{closed:?}");
        assert!(!closed.searched, "{closed:?}");
        // The closer knows the ways by now, and was in the first last.
        let last = open_in(&node, &client, 0);
        assert_eq!(run(closer.refresh()).namespaces, 1);
        assert_eq!(run(closer.close(nobody)).errors.len(), 0);
        for handle in &sockets {
            client.close(*handle).expect("closed");
        }
        client.close(last).expect("closed");
        // The last sockets have gone: so must the namespaces.
        for (number, pod) in node.lab.node(0).pods().iter().enumerate() {
            netns::ip(None, &[format!("netns del {}", pod.netns())]).expect("deleted");
            let gone = || Ok((!has_device(&node, number)).then_some(()));
            wait_until("the end of its device", gone).expect("nobody holds the namespace");
        }
    });
}

#[test]
fn without_the_right_to_enter_namespaces_the_hosts_own_is_served_and_the_rest_is_named() {
    let Some(node) = node_with_pods(1) else { return };
    let [host, pod] = [node.lab.client(0), node.lab.pod_client(0, 0)];
    let [host, pod] = [host, pod].map(|client| client.expect("a client"));
    let (on_host, in_pod) = (open(&host, &vip(VIP_V4)).0, open(&pod, &vip(VIP_V4)).0);
    let order = node.order(node.lab.control_plane(0).tls());
    let closed = node.close_with(&LEAST, order);
    assert_eq!((closed.sockets, closed.namespaces), (1, 1), "{closed:?}");
    assert!(matches!(unreached(&closed)[..], [NamespaceError::Denied]), "{closed:?}");
    let said = closed.errors[0].to_string();
    assert!(said.contains("1 connections") && said.contains("CAP_SYS_ADMIN"), "{said}");
    assert_ended(&host, on_host);
    assert!(lives(&pod, in_pod));
}

#[test]
fn without_the_right_to_look_at_processes_names_still_lead_to_namespaces() {
    let Some(node) = node_with_pods(1) else { return };
    let pod = node.lab.pod_client(0, 0).expect("a client");
    let (handle, server) = open(&pod, &vip(VIP_V4));
    let rights = [&LEAST[..], &[capability::SYS_ADMIN]].concat();
    let closed = node.close_with(&rights, node.order(server));
    assert_eq!(closed.sockets, 1, "{closed:?}");
    assert_ended(&pod, handle);
}

#[test]
fn without_the_right_to_end_sockets_connections_are_left_to_timeouts() {
    let Some(node) = node_with_pods(0) else { return };
    let client = node.lab.client(0).expect("a client");
    let (handle, _) = open(&client, &vip(VIP_V4));
    let pins = node.agent.pins();
    let start = || {
        // Enough to run: it stands for CAP_BPF, CAP_PERFMON and most of CAP_NET_ADMIN.
        capability::keep(&[capability::SYS_ADMIN]).expect("the others are given up");
        Closer::start(&pins, CloseSockets::Auto).closing()
    };
    let closing = netns::run_in(node.lab.node(0).netns(), start).expect("a namespace");
    let Closing::Timeouts { reason } = closing else { panic!("{closing:?}") };
    assert!(reason.contains("CAP_NET_ADMIN"), "{reason}");
    assert!(lives(&client, handle));
}

#[test]
fn with_the_right_to_look_at_processes_no_name_is_needed() {
    let Some(node) = node_with_pods(1) else { return };
    let pod = &node.lab.node(0).pods()[0];
    let client = node.lab.pod_client(0, 0).expect("a client");
    let (handle, server) = open(&client, &vip(VIP_V4));
    netns::ip(None, &[format!("netns del {}", pod.netns())]).expect("deleted");
    let rights = [&LEAST[..], &[capability::SYS_ADMIN]].concat();
    let closed = node.close_with(&rights, node.order(server));
    assert_eq!(closed.sockets, 0, "{closed:?}");
    assert!(
        matches!(unreached(&closed)[..], [NamespaceError::NotFound { hidden: 1.. }]),
        "{closed:?}"
    );
    let rights = [&rights[..], &[capability::SYS_PTRACE]].concat();
    let closed = node.close_with(&rights, node.order(server));
    assert_eq!(closed.sockets, 1, "{closed:?}");
    assert_ended(&client, handle);
}

#[test]
fn without_the_hosts_processes_and_names_only_the_own_namespace_is_served() {
    let Some(node) = node_with_pods(1) else { return };
    let [host, pod] = [node.lab.client(0), node.lab.pod_client(0, 0)];
    let [host, pod] = [host, pod].map(|client| client.expect("a client"));
    let (on_host, in_pod) = (open(&host, &vip(VIP_V4)).0, open(&pod, &vip(VIP_V4)).0);
    let Order { backend, epoch, address, .. } = node.order(node.lab.control_plane(0).tls());
    let script = format!(
        "mount -t tmpfs none /run/netns && {} close {} {backend} {epoch} {address}",
        program().expect("a program").display(),
        node.agent.pins().display()
    );
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "bash", "-c", &script]);
    let output = netns::run_in(node.lab.node(0).netns(), || command.output());
    let output = output.expect("a namespace").expect("ran");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("sockets: 1") && said.contains("OtherPids"), "{said} {output:?}");
    assert_ended(&host, on_host);
    assert!(lives(&pod, in_pod));
}

#[test]
fn on_a_kernel_that_tells_no_cookies_the_records_of_sockets_tell_them() {
    let Some(node) = node_with_pods(2) else { return };
    let client = node.lab.client(0).expect("a client");
    let order = node.order(node.lab.control_plane(0).tls());
    let pods: Vec<_> = (0..2).map(|pod| open_in(&node, &client, pod)).collect();
    let direct = Connect { address: order.address, ..vip(VIP_V4) };
    let (on_host, direct) = (open(&client, &vip(VIP_V4)).0, open(&client, &direct).0);
    let pins = node.agent.pins();
    let work = || {
        capability::give_up_netns_cookies().expect("given up");
        let closer = Closer::start(&pins, CloseSockets::Auto);
        let reach = run(closer.refresh());
        (reach, run(closer.close(order)))
    };
    let worked = netns::run_in(node.lab.node(0).netns(), work).expect("a namespace");
    let (reach, closed) = worked;
    assert_eq!((reach.namespaces, reach.errors.len()), (2, 0), "{reach:?}");
    assert_eq!((closed.sockets, closed.namespaces), (3, 3), "{closed:?}");
    assert!(closed.errors.is_empty() && !closed.searched, "{closed:?}");
    for handle in pods.into_iter().chain([on_host]) {
        assert_ended(&client, handle);
    }
    assert!(lives(&client, direct));
}

fn node_with_pods(pods: usize) -> Option<Node> {
    Node::start(Lab::builder().control_planes(1).pods(pods), ControlPlane::tls)
}

/// Opens a connection from a pod in which no process is: the client is the host's.
fn open_in(node: &Node, client: &Client, pod: usize) -> u64 {
    let netns = Some(node.lab.node(0).pods()[pod].netns().to_owned());
    open(client, &Connect { netns, ..vip(VIP_V4) }).0
}

/// The reasons why namespaces were not reached.
fn unreached(closed: &Closed) -> Vec<&NamespaceError> {
    let reasons = closed.errors.iter().filter_map(|error| match error {
        CloseError::Unreached { source, .. } => Some(source),
        CloseError::Namespaces(_)
        | CloseError::Kernel { .. }
        | CloseError::Stuck { .. }
        | CloseError::Gone => None,
    });
    reasons.collect()
}

/// Lets a process in the pod connect through the VIP, hand the socket to a child and end. The child says
/// when the connection has ended.
fn hand_over(pod: &Pod) -> Process {
    let script = format!(
        "echo 0 > {}/cgroup.procs && exec 3<>/dev/tcp/{VIP_V4}/443 ; (read -ru 3 || echo ended) &",
        pod.cgroup().display()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let start = || Process::start(command);
    let mut process = netns::run_in(pod.netns(), start).expect("a namespace").expect("a process");
    assert!(process.wait().expect("ended").success());
    process
}

/// Whether the pod's device is there: it goes with the pod's network namespace.
fn has_device(node: &Node, pod: usize) -> bool {
    let look = || if_nametoindex(format!("pod{pod}").as_str()).is_ok();
    netns::run_in(node.lab.node(0).netns(), look).expect("a namespace")
}
