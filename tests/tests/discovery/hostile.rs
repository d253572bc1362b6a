//! Answers that nobody should give: bounded, and what is good in them is used.

use nllb_lab::apiserver::Objects;
use nllb_lab::lab::VIP_V4;
use serde_json::json;

use crate::scene::{Scene, fails, host, lists};

fn objects() -> Objects {
    Objects::kubernetes(&[host(1)], &[VIP_V4.into(), std::net::Ipv6Addr::LOCALHOST.into()])
}

#[test]
fn what_no_api_server_can_be_is_left_out_with_one_line() {
    let Some(scene) = Scene::build(1) else { return };
    let mut objects = objects();
    let good = objects.slices[0].clone();
    let mut bad = good.clone();
    bad["metadata"]["name"] = json!("bad\n\u{1b}[31mname");
    bad["endpoints"] = [
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "169.254.1.1",
        "255.255.255.255",
        "fd00::1",
        "10.0.0.7",
        "cp.example.org",
        "\n\n",
    ]
    .iter()
    .map(|address| json!({"addresses": [address]}))
    .collect();
    let mut portless = good.clone();
    portless["metadata"]["name"] = json!("portless");
    portless["ports"][0]["port"] = json!(0);
    let mut names = good.clone();
    names["metadata"]["name"] = json!("names");
    names["addressType"] = json!("FQDN");
    objects.slices.extend([bad, portless, names]);
    scene.lab.set_objects(objects).expect("set");

    let watch = scene.watch();
    let told = watch
        .until("the good ones", |told| {
            use nllb_lab::discover::Told::Listed;
            matches!(told, Listed { hosts, vips } if *hosts == ["10.0.0.1:6443", "10.0.0.7:6443"]
                && *vips == [(VIP_V4, 443).into()])
        })
        .expect("told");
    assert!(told.len() <= 2, "{told:?}");
    let log = watch.log().expect("a log");
    let lines = |of: &str| log.lines().filter(|line| line.contains(of)).count();
    assert_eq!(lines("left out"), 2, "one for each kind of objects: {log}");
    assert_eq!(lines("of=\"endpointslices\""), 1, "{log}");
    assert!(log.contains("and 7 more"), "ten are left out: {log}");
    assert!(!log.contains('\u{1b}'), "{log}");

    // The same again is not said again.
    scene.set_hosts(&[host(2)]);
    watch.until("good ones alone", lists(["10.0.0.2:6443"])).expect("told");
    assert_eq!(watch.log().expect("a log"), log);
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let watch = scene.watch();
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");
    let mut huge = objects();
    huge.slices[0]["metadata"]["annotations"] = json!({"a": "x".repeat(8 << 20)});
    // By an event first, and by the list that follows it.
    scene.lab.set_objects(huge).expect("set");
    let reason = "endpointslices: the answer is longer than 1048576 bytes";
    watch.until("the trouble", fails(reason)).expect("told");
    scene.set_hosts(&[host(2)]);
    watch.until("the recovery", lists(["10.0.0.2:6443"])).expect("told");
}

#[test]
fn one_malformed_object_makes_no_sense_and_the_watch_goes_on_afterwards() {
    let Some(scene) = Scene::build(1) else { return };
    let mut strange = objects();
    strange.slices[0]["ports"][0]["port"] = json!("6443\n\u{7}");
    scene.lab.set_objects(strange).expect("set");
    let watch = scene.watch();
    let told = watch.until("the trouble", fails("makes no sense")).expect("told");
    assert!(!format!("{told:?}").contains('\u{7}'));
    scene.set_hosts(&[host(2)]);
    watch.until("the recovery", lists(["10.0.0.2:6443"])).expect("told");
}
