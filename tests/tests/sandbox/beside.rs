//! Others on the same interfaces.

use nllb_lab::foreign::{Classifier, Direction};
use nllb_lab::lab::VIP_V4;
use nllb_lab::{Lab, netns};

use super::{By, Scene, build_or_skip, dual, tc};

#[test]
fn a_qdisc_of_others_stays_with_their_filters() {
    let Some(mut scene) = Scene::start(Lab::builder().pods(2), By::Clsact) else { return };
    scene.await_served(&["pod0", "pod1"]);
    let node = scene.node().to_owned();
    // The qdisc that was made for us is used by another meanwhile.
    let pin = scene.agent.bpffs().join("other");
    Classifier::passing_on("other").expect("loaded").pin(&pin).expect("pinned");
    let pin = pin.display();
    let filter = format!("filter add dev pod1 ingress pref 77 bpf da object-pinned {pin}");
    tc(&node, &filter.split(' ').collect::<Vec<_>>());
    scene.agent.reload(&scene.with(None)).expect("reloaded");
    let gone = nllb_lab::wait::wait_until("no filter of ours", || {
        Ok((!scene.traces().iter().any(|it| it.contains("nllb_"))).then_some(()))
    });
    gone.expect("gone");
    let filters = tc(&node, &["filter", "show", "dev", "pod1", "ingress"]);
    assert!(filters.contains("pref 77"), "{filters}");
    assert!(tc(&node, &["qdisc", "show", "dev", "pod1"]).contains("clsact"));
    assert!(!tc(&node, &["qdisc", "show", "dev", "pod0"]).contains("clsact"));
}

#[test]
fn a_qdisc_for_what_comes_in_alone_is_told_and_left() {
    let Some(lab) = build_or_skip(Lab::builder().pods(1)) else { return };
    let node = lab.node(0).netns().to_owned();
    tc(&node, &["qdisc", "add", "dev", "pod0", "ingress"]);
    let mut configuration = nllb_lab::Configuration::of(&lab).quick();
    configuration.rest.push("sandboxes: { interfaces: [\"pod*\"], attach: clsact }".to_owned());
    let agent = nllb_lab::Agent::start(&lab, &configuration).expect("an agent");
    let mut scene = Scene { lab, agent, configuration };
    let told = scene.agent.await_status("a problem", |status| {
        let interfaces = status.sandboxes.iter().flat_map(|it| &it.interfaces);
        interfaces.filter_map(|it| it.problem.as_ref()).any(|it| it.contains("qdisc ingress"))
    });
    let status = told.expect("told");
    assert_eq!(status.verdict.state.label(), "degraded");
    assert_eq!(super::served(&status).count(), 0, "never shown as attached");
    // By links the interface is served beside it.
    scene.agent.reload(&scene.with(Some("interfaces: [\"pod*\"]"))).expect("reloaded");
    scene.await_served(&["pod0"]);
    assert!(tc(&node, &["qdisc", "show", "dev", "pod0"]).contains("ingress"));
}

#[test]
fn rules_for_the_same_address_and_programs_of_others_on_the_interface_change_nothing() {
    for by in By::ALL {
        let Some(lab) = build_or_skip(Lab::builder().pods(1)) else { return };
        let node = lab.node(0).netns().to_owned();
        let nobody = lab.control_plane(0).at(9);
        // As those of kube-proxy, once before we come and once after.
        let rules = |table: &str| {
            let rules = format!(
                "table ip {table} {{\n chain pre {{\n type nat hook prerouting priority -100\n \
                 ip daddr {VIP_V4} tcp dport 443 counter dnat to {nobody}\n }}\n}}\n"
            );
            netns::nft(&node, &rules).expect("rules");
        };
        rules("before");
        let configuration = dual(&lab);
        let sandboxes = format!("interfaces: [\"pod*\"], attach: {}", by.word());
        let mut scene = Scene::of(lab, configuration, &sandboxes);
        scene.await_served(&["pod0"]);
        rules("after");
        // As those of Cilium: by links, first and last, and by filters.
        let ways = [Direction::Ingress, Direction::Egress].into_iter();
        let places = ways.flat_map(|way| [(way, true), (way, false)]);
        // The kernel takes a program once on an interface.
        let link = |(way, first)| {
            let other = Classifier::passing_on("other").expect("loaded");
            other.link(&node, "pod0", way, first).expect("attached")
        };
        // Where the kernel has no links for interfaces, others have none either.
        let links: Vec<_> = match by {
            By::Tcx => places.map(link).collect(),
            By::Clsact => Vec::new(),
        };
        let pin = scene.agent.bpffs().join("other");
        Classifier::passing_on("other").expect("loaded").pin(&pin).expect("pinned");
        if by == By::Tcx {
            tc(&node, &["qdisc", "add", "dev", "pod0", "clsact"]);
        }
        for way in ["ingress", "egress"] {
            let filter = ["filter", "add", "dev", "pod0", way, "pref", "50", "bpf", "da"];
            tc(&node, &[&filter[..], &["object-pinned", &pin.to_string_lossy()]].concat());
        }
        let guest = scene.guest(0);
        for _ in 0..10 {
            let vip = (VIP_V4, 443).into();
            let outcome = guest.connect(&nllb_lab::Connect::name_of(vip)).expect("an outcome");
            assert!(outcome.ok, "{by:?}: {outcome:?}");
        }
        drop(links);
    }
}
