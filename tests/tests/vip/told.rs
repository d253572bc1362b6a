//! What doctor, explain and status tell of the VIP, against what its packets really do.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;

use nllb_lab::apiserver::TLS_PORT;
use serde_json::Value;

use crate::scene::{Scene, VIP_V4, VIP_V6, VIPS};

/// Runs nllb on a host; its JSON.
fn ask(scene: &Scene, host: usize, command: &str, args: &[&str]) -> Value {
    let agent = &scene.agents[host];
    let mut words: Vec<OsString> = [command, "-o", "json"].map(OsString::from).into();
    if command == "explain" {
        words.extend(["--bpffs".into(), agent.bpffs().into()]);
    }
    words.extend(["--socket".into(), agent.socket().into()]);
    words.extend(args.iter().map(OsString::from));
    let output = agent.nllb(&words).expect("it runs");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Verdicts of the checks that are about the VIP.
fn checks(scene: &Scene, host: usize) -> Vec<(String, String)> {
    let report = ask(scene, host, "doctor", &[]);
    let word = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let all = report["checks"].as_array().expect("a list").iter();
    let of_vip = all.filter(|check| word(check, "name").starts_with("vip-"));
    of_vip.map(|check| (word(check, "name"), word(check, "verdict"))).collect()
}

#[test]
fn where_a_client_is_said_to_go_there_it_goes_whoever_owns_the_vip() {
    let Some(mut scene) = Scene::new("") else { return };
    scene.lab.control_plane(1).crash().expect("crashed");
    scene.await_state(1, "unhealthy");
    for vip in VIPS {
        let address = SocketAddr::new(vip, TLS_PORT).to_string();
        for flow in scene.flows(vip, 6) {
            let client = flow.client();
            let from = format!("--from-outside={client}");
            let told: Vec<Value> =
                (0..3).map(|host| ask(&scene, host, "explain", &[&from, &address])).collect();
            let begins: BTreeSet<_> = told
                .iter()
                .map(|told| {
                    let members = told["members"].as_array().expect("a list");
                    let place = members.iter().position(|member| member["share"] == 1.0);
                    format!("cp{}", place.expect("one of them"))
                })
                .collect();
            assert_eq!(begins, [flow.server.clone()].into(), "{client}: {told:#?}");
            assert_eq!((&told[0]["isOwner"], &told[1]["isOwner"]), (&true.into(), &false.into()));
            let order = told[0]["order"].as_array().expect("a list");
            assert_eq!(
                (order.len(), &told[1]["order"]),
                (2, &told[0]["order"]),
                "but the dead one"
            );
        }
    }
    let address = SocketAddr::new(VIP_V4.into(), TLS_PORT).to_string();
    let any = ask(&scene, 0, "explain", &["--from-outside", &address]);
    let shares = any["members"].as_array().expect("a list").iter();
    let shares: Vec<_> = shares.map(|member| member["share"].as_f64().expect("one")).collect();
    assert!(shares[0] > 0.3 && shares[1] == 0.0 && shares[2] > 0.3, "{any}");
    let agent = &scene.agents[0];
    let words = ["explain", "--from-outside", &address, "--bpffs"].map(OsString::from);
    let places = [agent.bpffs().into(), "--socket".into(), agent.socket().into()];
    let output = agent.nllb(&[&words[..], &places].concat()).expect("it runs");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    // Who dials it on the host itself is told of the difference, and a stranger's address is none.
    let own = ask(&scene, 0, "explain", &[&address]);
    assert!(own["text"].as_str().expect("text").contains("--from-outside"), "{own}");
    let words = ["explain", "--from-outside", "10.86.0.99:6443", "--bpffs"].map(OsString::from);
    let output = agent.nllb(&[&words[..], &places].concat()).expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_doctor_passes_a_vip_that_is_served_and_finds_what_keeps_it_from_clients() {
    let Some(scene) = Scene::new("") else { return };
    for host in 0..3 {
        let found = checks(&scene, host);
        let good = found.iter().all(|(_, verdict)| verdict == "pass");
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert!(
            good && names.contains(&"vip-listener") && names.contains(&"vip-owner"),
            "{found:?}"
        );
    }
    let report = ask(&scene, 0, "doctor", &[]);
    let check = |name: String| {
        let found = report["checks"].as_array().expect("a list").iter();
        let found = found.clone().find(|check| check["name"] == *name);
        found.unwrap_or_else(|| panic!("no {name} in {report:#}")).clone()
    };
    // The lab's certificates are for no VIP of this kind.
    for (plane, vip) in scene.lab.control_planes().iter().map(|plane| (plane, VIP_V4)) {
        let found = check(format!("{} certificate", plane.tls()));
        assert_eq!(found["verdict"], "fail");
        assert!(found["found"].as_str().expect("text").contains(&vip.to_string()), "{found}");
        let found = check(format!("{} certificate", plane.tls_v6()));
        assert!(found["found"].as_str().expect("text").contains(&VIP_V6.to_string()), "{found}");
    }
    scene.lab.control_plane(2).crash().expect("crashed");
    let found = checks(&scene, 2);
    assert!(found.contains(&("vip-listener".to_owned(), "fail".to_owned())), "{found:?}");
}
