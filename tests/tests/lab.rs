//! The lab itself: every fault does what a test of the product relies on.

use std::time::Duration;

use nllb_lab::{Connect, Lab};

#[test]
fn a_node_reaches_every_server_by_both_families() {
    let lab = Lab::builder().build().expect("a lab");

    let client = lab.client(0).expect("a client");
    for plane in lab.control_planes() {
        for address in [plane.tls(), plane.tls_v6()] {
            let outcome = client
                .connect(&Connect::name_of(address))
                .expect("an answer");
            assert_eq!(outcome.server.as_deref(), Some(plane.name()), "{outcome:?}");
            assert_eq!(outcome.peer, Some(address));
        }
    }

    let p = lab.control_plane(0);
    p.crash().expect("c");
    let outcome = client
        .connect(&Connect::name_of(p.tls()))
        .expect("an answer");
    assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"));
    p.restart().expect("r");

    p.power_off().expect("off");

    let outcome = client
        .connect(&Connect {
            timeout: Some(Duration::from_millis(300)),
            ..Connect::name_of(p.tls())
        })
        .expect("an answer");

    assert!(outcome.timed_out);
    p.power_on().expect("on");

    let outcome = client
        .connect(&Connect::name_of(p.tls()))
        .expect("an answer");

    assert!(outcome.ok);
    drop(client);
    drop(lab);
}
