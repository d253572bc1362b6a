//! Interfaces and agents come and go.

use std::time::Duration;

use nllb_lab::{Ask, Connect, Lab, pins};

use super::{By, Scene, build_or_skip, served, tc};

#[test]
fn interfaces_are_served_as_they_come_and_left_as_they_go() {
    for by in By::ALL {
        let Some(mut scene) = Scene::start(Lab::builder().pods(2), by) else { return };
        let sandboxes = scene.await_served(&["pod0", "pod1"]);
        assert!(sandboxes.interfaces.iter().all(|it| it.attached_by.as_deref() == Some(by.word())));
        assert_eq!((sandboxes.problem, sandboxes.left_alone.len()), (None, 0), "{by:?}");
        scene.ip("link add pod7 type veth peer name peer7");
        scene.await_served(&["pod0", "pod1", "pod7"]);
        // A name that is not meant, and one that is meant again.
        scene.ip("link set pod7 name other7");
        scene.await_served(&["pod0", "pod1"]);
        scene.ip("link set other7 name pod8");
        scene.await_served(&["pod0", "pod1", "pod8"]);
        // Up and down change nothing.
        scene.ip("link set pod8 up");
        scene.ip("link set pod8 down");
        scene.ip("link del pod8");
        scene.await_served(&["pod0", "pod1"]);
        let status = scene.agent.status().expect("a status");
        assert_eq!(status.sandboxes.expect("wanted").reattached, 0, "{by:?}");
        scene.agent.reload(&scene.with(None)).expect("reloaded");
        scene.await_no_trace();
    }
}

#[test]
fn a_number_that_is_given_to_another_interface_is_another_guest() {
    for by in By::ALL {
        let Some(mut scene) = Scene::start(Lab::builder(), by) else { return };
        scene.ip("link add pod1 index 4711 type veth peer name peer1");
        scene.await_served(&["pod1"]);
        // In one step, so that a look in between is unlikely.
        let lines = ["link del pod1", "link add pod2 index 4711 type veth peer name peer2"];
        let lines = lines.map(str::to_owned);
        nllb_lab::netns::ip(Some(scene.node()), &lines).expect("ip");
        let sandboxes = scene.await_served(&["pod2"]);
        assert_eq!(sandboxes.interfaces[0].index, 4711);
        scene.agent.terminate().expect("ended");
        // In the node's namespace, where the interfaces are.
        let words = ["uninstall".into(), "--bpffs".into(), scene.agent.bpffs().into()];
        let output = scene.agent.nllb(&words).expect("it runs");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(scene.traces(), Vec::<String>::new(), "{by:?}");
    }
}

#[test]
fn a_killed_agent_leaves_programs_in_place_and_the_next_takes_them_over() {
    for by in By::ALL {
        let Some(mut scene) = Scene::start(Lab::builder().pods(1), by) else { return };
        scene.await_served(&["pod0"]);
        let guest = scene.guest(0);
        let vip = (nllb_lab::lab::VIP_V4, 443).into();
        let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to(vip) };
        let kept = guest.connect(&connect).expect("an outcome").handle.expect("kept");
        let before = scene.links();
        scene.agent.kill().expect("killed");
        // What comes without an agent is served by the next, what goes is forgotten.
        scene.ip("link add pod7 type veth peer name peer7");
        let traces = scene.traces();
        assert!(!traces.is_empty(), "{by:?}");
        scene.agent.restart().expect("restarted");
        let sandboxes = scene.await_served(&["pod0", "pod7"]);
        assert_eq!(sandboxes.reattached, 0, "{by:?}");
        assert!(guest.echo(kept, Duration::from_secs(5)).expect("an echo"), "{by:?}: it lives on");
        if by == By::Tcx {
            let ids = pins::programs(&scene.agent.pins()).expect("programs");
            let now: Vec<_> = scene.links();
            assert!(before.iter().all(|link| now.contains(link)), "{before:?} {now:?}");
            let of = |interface: &str| sandboxes.interfaces.iter().find(|it| it.name == interface);
            let index = of("pod0").expect("served").index;
            let shown = &of("pod0").expect("served").program_ids;
            let runs = ["to", "from"].map(|way| ids[&format!("link_{way}_guest_{index}")]);
            assert_eq!(runs.as_slice(), shown, "the new programs run");
        }
        scene.agent.terminate().expect("ended");
        scene.ip("link del pod7");
        scene.agent.configure(&scene.with(None)).expect("configured");
        scene.agent.restart().expect("restarted");
        assert_eq!(scene.traces(), Vec::<String>::new(), "{by:?}");
    }
}

#[test]
fn what_somebody_detaches_is_attached_again() {
    for by in By::ALL {
        let Some(mut scene) = Scene::start(Lab::builder().pods(1), by) else { return };
        let index = scene.await_served(&["pod0"]).interfaces[0].index;
        match by {
            By::Tcx => {
                let pin = scene.agent.pins().join(format!("link_from_guest_{index}"));
                pins::detach(&pin).expect("detached");
            }
            By::Clsact => drop(tc(scene.node(), &["filter", "del", "dev", "pod0", "ingress"])),
        }
        let again = scene.agent.await_status("a repair", |status| {
            status.sandboxes.as_ref().is_some_and(|it| it.reattached > 0)
        });
        assert_eq!(served(&again.expect("repaired")).count(), 1, "{by:?}");
    }
}

#[test]
fn how_programs_are_attached_can_be_changed_while_they_run() {
    let Some(mut scene) = Scene::start(Lab::builder().pods(1), By::Tcx) else { return };
    scene.await_served(&["pod0"]);
    for (word, links) in [("clsact", 0), ("auto", 2)] {
        let wish = format!("interfaces: [\"pod*\"], attach: {word}");
        scene.agent.reload(&scene.with(Some(&wish))).expect("reloaded");
        let other = scene.agent.await_status("the other way", |status| {
            let by = served(status).find_map(|it| it.attached_by.clone());
            by.as_deref() == Some(if links == 0 { "clsact" } else { "tcx" })
        });
        other.expect("attached");
        assert_eq!(scene.links().len(), links, "{word}");
    }
    assert!(!tc(scene.node(), &["qdisc", "show", "dev", "pod0"]).contains("clsact"));
}

#[test]
fn the_way_to_others_is_never_served() {
    let builder = Lab::builder().pods(1);
    let Some(mut scene) = Scene::start_with(builder, "interfaces: [\"*\"]") else { return };
    let sandboxes = scene.await_served(&["pod0"]);
    let [line] = sandboxes.left_alone.as_slice() else { panic!("{sandboxes:?}") };
    assert!(line.starts_with("eth0: never served: this node reaches "), "{line}");
    let status = scene.agent.status().expect("a status");
    assert!(status.verdict.notes.iter().any(|note| note.contains(line)), "{:?}", status.verdict);
    // What was a guest's becomes the way to others.
    scene.ip("route add default dev pod0");
    let sandboxes = scene.await_served(&[]);
    let line = &sandboxes.left_alone[1];
    assert_eq!(line, "pod0: never served: it has a default route of this node");
    scene.ip("route del default dev pod0");
    scene.await_served(&["pod0"]);
}

#[test]
fn guests_need_a_start_with_them() {
    let Some(lab) = build_or_skip(Lab::builder().pods(1)) else { return };
    let configuration = nllb_lab::Configuration::of(&lab);
    let agent = nllb_lab::Agent::start(&lab, &configuration).expect("an agent");
    let mut scene = Scene { lab, agent, configuration };
    let status = scene.agent.status().expect("a status");
    assert_eq!(status.sandboxes, None);
    scene.agent.configure(&scene.with(Some("interfaces: [\"pod*\"]"))).expect("written");
    scene.agent.hang_up().expect("told");
    let refused = scene.agent.await_status("a refusal", |it| it.config.last_reload_error.is_some());
    let refused = refused.expect("refused").config.last_reload_error.expect("an error");
    assert!(refused.contains("sandboxes cannot be changed while the agent runs"), "{refused}");
    assert_eq!(scene.traces(), Vec::<String>::new());
}
