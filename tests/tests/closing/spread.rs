//! How many sockets end, and how fast.

use std::time::{Duration, Instant};

use nllb_agent::datapath::closing::{CloseSockets, Closer, Closing, Order};
use nllb_lab::lab::{ControlPlane, VIP_V4};
use nllb_lab::{Ask, Client, Connect, Lab, Place};

use crate::{Node, open, run, vip};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn three_thousand_sockets_end_at_once() {
    let Some((node, client)) = node_with_client() else { return };
    let order = node.order(node.lab.control_plane(0).tls());
    let connect = Connect { ask: Ask::Nothing, ..vip(VIP_V4) };
    for _ in 0..3_000 {
        open(&client, &connect);
    }
    // Others that the kernel must look at as well.
    for _ in 0..1_000 {
        open(&client, &Connect { address: order.address, ..connect.clone() });
    }
    let (closed, elapsed, nothing) = node.with_closer(|closer| {
        let began = Instant::now();
        let closed = run(closer.close(order));
        let elapsed = began.elapsed();
        let began = Instant::now();
        assert_eq!(run(closer.close(order)).sockets, 0);
        (closed, elapsed, began.elapsed())
    });
    println!("3000 of 4000 sockets ended in {elapsed:?}; none of 1000 in {nothing:?}");
    assert_eq!((closed.sockets, closed.namespaces), (3_000, 1), "{closed:?}");
    // In waves or after TCP's own time it would be more.
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

#[test]
fn a_number_of_sockets_ends_and_the_others_live() {
    let Some((node, client)) = node_with_client() else { return };
    let order = node.order(node.lab.control_plane(0).tls());
    let handles: Vec<_> = (0..40).map(|_| open(&client, &vip(VIP_V4)).0).collect();
    let closed = node.close(Order { count: Some(10), ..order });
    assert_eq!((closed.sockets, closed.namespaces), (10, 1), "{closed:?}");
    let is_ended = |handle: &u64| client.inspect(*handle).expect("inspected").error.is_some();
    assert_eq!(handles.iter().filter(|handle| is_ended(handle)).count(), 10);
    assert_eq!(node.close(Order { count: Some(100), ..order }).sockets, 30, "all that are left");
}

#[test]
fn a_spread_ends_sockets_little_by_little_and_a_cancelled_one_leaves_the_rest() {
    let Some((node, client)) = node_with_client() else { return };
    let order = node.order(node.lab.control_plane(0).tls());
    let handles: Vec<_> = (0..60).map(|_| open(&client, &vip(VIP_V4)).0).collect();
    let ended = || {
        let errors = handles.iter().map(|handle| client.inspect(*handle).expect("inspected").error);
        errors.flatten().count()
    };
    node.with_closer(|closer| {
        run(async {
            let long = closer.close(Order { spread: Duration::from_secs(600), ..order });
            tokio::time::timeout(MS(50), long).await.expect_err("it takes ten minutes");
        });
        let before = ended();
        assert!(before < 10, "{before} of 60 at the beginning of ten minutes");
        let began = Instant::now();
        let closed = run(closer.close(Order { spread: MS(1_500), ..order }));
        let elapsed = began.elapsed();
        println!("{} sockets ended over {elapsed:?}", closed.sockets);
        assert_eq!(closed.sockets, 60 - u64::try_from(before).expect("few"), "{closed:?}");
        // The last of 60 is in the last half all but once in 2^60 times.
        assert!(elapsed > MS(750), "{elapsed:?}");
        assert_eq!(ended(), 60);
    });
}

#[test]
fn a_closer_that_is_told_not_to_end_sockets_ends_none() {
    let Some((node, client)) = node_with_client() else { return };
    let order = node.order(node.lab.control_plane(0).tls());
    let (handle, _) = open(&client, &vip(VIP_V4));
    let pins = node.agent.pins();
    let off = Closer::start(&pins, CloseSockets::Off);
    assert_eq!(off.closing(), Closing::Off);
    let timeouts = Closer::start(&pins, CloseSockets::Timeouts);
    assert!(matches!(timeouts.closing(), Closing::Timeouts { .. }));
    let nowhere = Closer::start(node.lab.directory(), CloseSockets::Auto);
    assert!(matches!(nowhere.closing(), Closing::Timeouts { reason } if reason.contains("SOCKS")));
    for closer in [off, timeouts, nowhere] {
        assert_eq!(run(closer.refresh()).errors.len(), 0);
        assert_eq!(run(closer.close(order)).sockets, 0);
    }
    assert!(crate::lives(&client, handle));
}

fn node_with_client() -> Option<(Node, Client)> {
    let node = Node::start(Lab::builder().control_planes(1), ControlPlane::tls)?;
    let place = Place { descriptors: Some(8_192), ..node.lab.node(0).place() };
    let client = Client::start(&place).expect("a client");
    Some((node, client))
}
