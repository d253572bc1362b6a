//! Sockets that the kernel cannot end, because a process is inside and does not come out.

use std::io::{BufRead as _, BufReader};

use nllb_agent::datapath::closing::CloseError;
use nllb_lab::Lab;
use nllb_lab::lab::{ControlPlane, VIP_V4};
use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;

use crate::{Node, assert_ended, open, run, vip};

#[test]
fn a_socket_that_a_process_does_not_let_go_of_keeps_nobody_from_ending_the_others() {
    let lab = Lab::builder().control_planes(1).pods(1);
    let Some(node) = Node::start(lab, ControlPlane::tls) else { return };
    let [host, pod] = [node.lab.client(0), node.lab.pod_client(0, 0)];
    let [host, pod] = [host, pod].map(|client| client.expect("a client"));
    let before = open(&host, &vip(VIP_V4)).0;
    let Some(mut holder) = hold(&node) else {
        println!("skipped: no userfaultfd here");
        return;
    };
    let (after, in_pod) = (open(&host, &vip(VIP_V4)).0, open(&pod, &vip(VIP_V4)).0);
    let order = node.order(node.lab.control_plane(0).tls());
    node.with_closer(|closer| {
        let closed = run(closer.close(order));
        for (client, handle) in [(&host, before), (&host, after), (&pod, in_pod)] {
            assert_ended(client, handle);
        }
        let [CloseError::Stuck { socket: Some(_) }] = closed.errors[..] else {
            panic!("{closed:?}")
        };
        let again = open(&host, &vip(VIP_V4)).0;
        assert_eq!(run(closer.close(order)).sockets, 1, "without it");
        assert_ended(&host, again);
        assert_eq!(run(closer.refresh()).errors.len(), 1, "as long as it lasts");
        drop(holder.take_stdin());
        let over = || Ok(run(closer.refresh()).errors.is_empty().then_some(()));
        wait_until("the thread that was left behind", over).expect("it comes back");
    });
    assert!(holder.wait().expect("ended").success());
}

/// Lets a process on the node hold a connection through the VIP inside the kernel.
fn hold(node: &Node) -> Option<Process> {
    let args = ["stall".into(), format!("{VIP_V4}:443").into()];
    let mut holder = Process::spawn(&node.lab.node(0).place(), &args, None).expect("a process");
    let output = holder.take_stdout().expect("its output");
    let mut said = String::new();
    BufReader::new(output).read_line(&mut said).expect("a line");
    (said == "holds\n").then_some(holder)
}
