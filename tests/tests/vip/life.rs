//! From the first frame to the last trace.

use std::collections::BTreeSet;
use std::process::Command;

use nllb_lab::{Configuration, netns};

use crate::scene::{Flow, Scene, VIP_V4, VIPS, configuration};

#[test]
fn new_connections_spread_over_all_members_by_both_families() {
    let Some(scene) = Scene::new("") else { return };
    for vip in VIPS {
        let flows = scene.flows(vip, 60);
        let servers: BTreeSet<_> = flows.iter().map(|flow| flow.server.as_str()).collect();
        assert_eq!(servers.len(), 3, "{vip}: {servers:?}");
        for mut flow in flows {
            flow.echo(100_000).expect("echoed");
        }
    }
    let vip = scene.vip(0);
    assert!(vip.counters["local"] > 0 && vip.counters["forwarded"] > 0, "{vip:?}");
    assert_eq!((vip.mode.as_deref(), vip.interface.as_deref()), (Some("generic"), Some("eth0")));
    assert_eq!(scene.count("second_chance"), 0);
    // Who is no owner keeps silent.
    assert!(scene.count("unanswered") > 0 && scene.vip(1).counters["answered"] == 0);
}

#[test]
fn without_an_agent_flows_and_new_connections_go_on_and_the_next_one_takes_over() {
    let Some(mut scene) = Scene::new("") else { return };
    let mut flows = scene.flows(VIP_V4.into(), 20);
    let before = nllb_lab::pins::links(&scene.agents[0].pins()).expect("pinned");
    for agent in &mut scene.agents {
        agent.kill().expect("killed");
    }
    let echo = |flows: &mut Vec<Flow>| {
        flows.iter_mut().for_each(|flow| flow.echo(1000).expect("echoed"));
    };
    echo(&mut flows);
    flows.extend(scene.flows(VIP_V4.into(), 20));
    for agent in &mut scene.agents {
        agent.spawn().expect("started");
    }
    scene.await_ready();
    assert!(!scene.vip(0).is_owner, "nobody has said so to this agent");
    echo(&mut flows);
    scene.own(0);
    echo(&mut flows);
    let after = nllb_lab::pins::links(&scene.agents[0].pins()).expect("pinned");
    assert_eq!(before, after, "the same link");
}

#[test]
fn a_vip_that_is_no_longer_configured_leaves_no_trace_and_neither_does_uninstall() {
    let Some(mut scene) = Scene::new("") else { return };
    let traces = |scene: &Scene, plane: usize| {
        let netns = scene.lab.control_plane(plane).netns().to_owned();
        let seen = |args: &[&str]| {
            let output = Command::new("ip").args(["-n", &netns]).args(args).output();
            String::from_utf8_lossy(&output.expect("ip runs").stdout).into_owned()
        };
        let addresses = seen(&["addr", "show", "dev", "lo"]);
        let held = VIPS.iter().filter(|vip| addresses.contains(&format!("{vip}/"))).count();
        (held, seen(&["link", "show", "dev", "eth0"]).contains("xdp"))
    };
    assert_eq!(traces(&scene, 0), (2, true));
    let netns = scene.lab.control_plane(0).netns();
    let v6 = netns::run_in(netns, || {
        Command::new("ip").args(["-6", "addr", "show", "dev", "lo"]).output()
    });
    let v6 =
        String::from_utf8_lossy(&v6.expect("a namespace").expect("ip runs").stdout).into_owned();
    assert!(
        v6.contains("deprecated") && v6.contains("preferred_lft 0sec"),
        "the source of nothing: {v6}"
    );
    let without = Configuration { rest: Vec::new(), ..configuration(&scene.lab, "") };
    let agent = &mut scene.agents[0];
    agent.configure(&without).expect("written");
    agent.hang_up().expect("told");
    let refused = agent.await_status("a refusal", |it| it.config.last_reload_error.is_some());
    let refused = refused.expect("refused").config.last_reload_error.expect("an error");
    assert!(refused.contains("vip cannot be changed while the agent runs"), "{refused}");
    assert_eq!(traces(&scene, 0), (2, true));
    for (configuration, left) in [(without, (0, false)), (configuration(&scene.lab, ""), (2, true))]
    {
        let agent = &mut scene.agents[0];
        agent.terminate().expect("ended");
        agent.configure(&configuration).expect("written");
        agent.restart().expect("started");
        assert_eq!(traces(&scene, 0), left);
    }

    scene.agents[1].kill().expect("killed");
    assert_eq!(traces(&scene, 1), (2, true), "without an agent");
    let bpffs = scene.agents[1].bpffs().as_os_str().to_owned();
    let output = scene.agents[1].nllb(&["uninstall".into(), "--bpffs".into(), bpffs]);
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("from lo"), "{output:?}");
    assert_eq!(traces(&scene, 1), (0, false));
}

#[test]
fn rules_like_those_of_kube_proxy_are_no_obstacle() {
    let Some(scene) = Scene::new("") else { return };
    let rules = "table ip kube-proxy {
        map services {
            type ipv4_addr . inet_proto . inet_service : verdict
        }
        chain nat-prerouting {
            type nat hook prerouting priority dstnat; policy accept;
            ip daddr . meta l4proto . th dport vmap @services
        }
        chain filter-input {
            type filter hook input priority filter; policy accept;
            ct state invalid drop
        }
        chain filter-forward {
            type filter hook forward priority filter; policy accept;
            ct state invalid drop
        }
    }";
    let mut flows = scene.flows(VIP_V4.into(), 10);
    for plane in scene.lab.control_planes() {
        netns::nft(plane.netns(), rules).expect("loaded");
    }
    flows.extend(scene.flows(VIP_V4.into(), 30));
    let servers: BTreeSet<_> = flows.iter().map(|flow| flow.server.clone()).collect();
    assert_eq!(servers.len(), 3, "{servers:?}");
    flows.iter_mut().skip(10).for_each(|flow| flow.echo(1000).expect("echoed"));
}

#[test]
fn another_interface_that_answers_for_the_vip_or_leads_to_a_member_is_told_of() {
    let Some(mut scene) = Scene::new("") else { return };
    let member = scene.lab.control_plane(0).v4();
    let netns = scene.lab.control_plane(1).netns().to_owned();
    let agent = &mut scene.agents[1];
    let mut tells = |lines: &[&str], what: Option<&str>| {
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        netns::ip(Some(&netns), &lines).expect("set");
        let told = |status: &nllb_agent::status::Status| {
            let problems = status.vip.as_ref().map(|vip| vip.problems.clone()).unwrap_or_default();
            problems.iter().any(|line| what.is_some_and(|what| line.contains(what)))
                || problems.is_empty() && what.is_none()
        };
        agent.await_status(what.unwrap_or("no problem"), told).expect("told");
    };
    let second = [
        "link add eth1 type veth peer name eth1p",
        "addr add 10.86.0.211/24 dev eth1 noprefixroute",
        "link set eth1 up",
        "link set eth1p up",
    ];
    tells(&second, Some("answers ARP requests for 10.86.0.100 at eth1"));
    netns::sysctl(&netns, &[("ipv4/conf/eth1/arp_ignore", "1")]).expect("set");
    tells(&[], None);
    let astray = [
        format!("route add {member}/32 dev eth1"),
        format!("neigh add {member} lladdr 02:00:00:00:00:07 dev eth1 nud permanent"),
    ];
    let told = format!("{member} is reached by eth1");
    tells(&astray.each_ref().map(String::as_str), Some(&told));
    tells(&["link del eth1"], None);
}

#[test]
fn a_member_that_is_not_named_any_more_keeps_its_flows_for_a_while_and_gets_no_new_ones() {
    let Some(mut scene) = Scene::new("") else { return };
    let mut flows = scene.flows(VIP_V4.into(), 30);
    assert!(flows.iter().any(|flow| flow.server == "cp2"));
    let gone = scene.lab.control_plane(2);
    let gone = [gone.tls(), gone.tls_v6()];
    let mut fewer = configuration(&scene.lab, "");
    fewer.endpoints.retain(|endpoint| !gone.contains(endpoint));
    for agent in &mut scene.agents {
        let status = agent.reload(&fewer).expect("in force");
        assert_eq!(status.vip.map(|vip| vip.members.len()), Some(6));
    }
    scene.own(1);
    flows.iter_mut().for_each(|flow| flow.echo(1000).expect("echoed"));
    let new = scene.flows(VIP_V4.into(), 30);
    assert!(new.iter().all(|flow| flow.server != "cp2"));
}
