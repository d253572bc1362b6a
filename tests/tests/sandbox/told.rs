//! What doctor, explain and status tell of guests, against what is there.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use nllb_agent::status::Status;
use nllb_lab::lab::VIP_V4;
use nllb_lab::{Ask, Connect, Lab};
use serde_json::Value;

use super::{By, Scene};

/// Longer than any answer takes.
const LONG: Duration = Duration::from_secs(5);

impl Scene {
    /// Runs nllb on the node; its JSON.
    fn ask(&self, command: &str, args: &[&str]) -> Value {
        let mut words: Vec<OsString> = [command, "-o", "json"].map(OsString::from).into();
        if command == "explain" {
            words.extend(["--bpffs".into(), self.agent.bpffs().into()]);
        }
        words.extend(["--socket".into(), self.agent.socket().into()]);
        words.extend(args.iter().map(OsString::from));
        let output = self.agent.nllb(&words).expect("it runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

#[test]
fn a_guest_is_told_where_its_connections_go_and_why_they_are_left_alone() {
    let Some(mut scene) = Scene::start(Lab::builder().pods(1), By::Clsact) else { return };
    scene.await_served(&["pod0"]);
    let dead = scene.lab.control_plane(0).tls();
    scene.lab.control_plane(0).crash().expect("crashed");
    scene.agent.await_state(dead, "unhealthy").expect("a verdict");
    let guest = scene.guest(0);
    let vip = format!("{VIP_V4}:443");
    let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
    guest.connect(&connect).expect("an outcome").handle.expect("kept");

    let told = scene.ask("explain", &["--from-interface", "pod0", &vip]);
    assert_eq!((&told["fate"], &told["guest"]["state"]), (&"translated".into(), &"served".into()));
    assert_eq!((&told["scope"], &told["guest"]["translated"]), (&"other".into(), &1.into()));
    let backends = told["backends"].as_array().expect("a list").iter();
    for backend in backends {
        let is_dead = backend["address"] == dead.to_string();
        assert!(!is_dead || backend["share"] == 0.0, "{told}");
    }
    // An interface of the node that is no guest's.
    let told = scene.ask("explain", &["--from-interface", "eth0", &vip]);
    assert_eq!(told["fate"], "not-served", "{told}");
    let counted = |status: &Status| {
        status.sandboxes.iter().flat_map(|all| &all.interfaces).any(|it| it.translated == 1)
    };
    scene.agent.await_status("a flow that is counted", counted).expect("counted");

    let verdict = |scene: &Scene, name: &str| {
        let report = scene.ask("doctor", &[]);
        let mut checks = report["checks"].as_array().expect("a list").iter();
        checks.find(|check| check["name"] == name).map(|check| check["verdict"].clone())
    };
    assert_eq!(verdict(&scene, "guests"), Some("pass".into()));
    assert_eq!(verdict(&scene, "guests left alone"), None);
    // A pattern that means the way to others as well.
    let wide = scene.with(Some("interfaces: [\"*\"], attach: clsact"));
    scene.agent.reload(&wide).expect("reloaded");
    scene
        .agent
        .await_status("eth0 is left alone", |status| {
            let left = status.sandboxes.iter().flat_map(|sandboxes| &sandboxes.left_alone);
            left.into_iter().any(|line| line.starts_with("eth0: "))
        })
        .expect("left alone");
    assert_eq!(verdict(&scene, "guests left alone"), Some("warn".into()));
    let told = scene.ask("explain", &["--from-interface", "eth0", &vip]);
    assert!(told["text"].as_str().expect("text").contains("never served"), "{told}");
}

#[test]
fn a_drill_counts_the_connections_of_guests_that_it_resets() {
    let Some(mut scene) = Scene::start(Lab::builder().pods(1), By::Clsact) else { return };
    scene.await_served(&["pod0"]);
    let guest = scene.guest(0);
    let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
    let open = || {
        let outcome = guest.connect(&connect).expect("an outcome");
        (outcome.handle.expect("kept"), outcome.server.expect("a server"))
    };
    let held: Vec<_> = (0..24).map(|_| open()).collect();
    let (victim, name) = {
        let plane = scene.lab.control_plane(1);
        (plane.tls(), plane.name().to_owned())
    };
    let on_it = held.iter().filter(|(_, server)| *server == name).count();
    assert!(on_it > 0, "{held:?}");
    let mut words: Vec<OsString> =
        ["drill", "--blackhole", "--yes", "-o", "json", "--for", "3s", "--backend"]
            .map(OsString::from)
            .into();
    words.extend([victim.to_string().into(), "--socket".into(), scene.agent.socket().into()]);
    let mut drill = scene.agent.command(&words).expect("a command");
    let drill = drill.stdout(Stdio::piped()).spawn().expect("started");
    let out = |status: &Status| {
        let mut backends = status.backends();
        backends.any(|(_, one)| one.address == victim && one.state == "unhealthy")
    };
    scene.agent.await_status("the drill", out).expect("it has begun");
    // What a guest sends next is answered by the end.
    let lives = |handle| guest.echo(handle, LONG).is_ok_and(|echoed| echoed);
    let ended = held.iter().filter(|(handle, _)| !lives(*handle)).count();
    let output = drill.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(ended, on_it, "{report:#}");
    let counted = &report["backends"][0]["beyond"]["guestsReset"];
    assert!(counted.as_u64() >= u64::try_from(on_it).ok(), "{report:#}");
    assert!(report["notes"][0].as_str().expect("a note").contains("sandboxed pods"), "{report:#}");
}
