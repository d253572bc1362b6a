//! Hosts that sources tell: who becomes a backend, and what happens when nobody tells anything.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nllb_agent::status::{Source, Status};
use nllb_lab::apiserver::{Endpoint, Objects};
use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Configuration, Connect, Lab, Storm, agent, netns};

#[test]
fn hosts_of_a_file_come_and_go_and_no_connect_fails() {
    let Some((lab, mut agent, hosts)) = lab_with_file(&[0, 1]) else { return };
    let status = agent.restart().expect("started");
    assert_eq!(addresses(&status), servers(&lab, &[0, 1]));
    let named = |status: &Status| {
        status.backends().all(|(_, one)| one.sources == [format!("file {}", hosts.display())])
    };
    assert!(named(&status), "{status:?}");
    let client = lab.client(0).expect("a client");
    let connect = Connect { reset_on_close: true, ..vip() };
    let storm = client.storm_start(&Storm { threads: 2, connects: None, connect });
    let storm = storm.expect("a storm");
    for planes in [&[0, 1, 2][..], &[1, 2], &[2, 0], &[0, 1]] {
        write(&hosts, &listed(&lab, planes));
        let expected = servers(&lab, planes);
        let status = agent.await_status("other backends", |status| addresses(status) == expected);
        assert!(named(&status.expect("a status")));
    }
    // What is no list any more takes nobody away.
    for text in ["# nobody\n", "what is this\n"] {
        write(&hosts, text);
        let status =
            agent.await_status("a failing source", |status| source(status, "file").error.is_some());
        assert_eq!(addresses(&status.expect("a status")), servers(&lab, &[0, 1]), "{text}");
        write(&hosts, &listed(&lab, &[0, 1]));
        let good =
            agent.await_status("a good source", |status| source(status, "file").error.is_none());
        good.expect("good again");
    }
    let report = client.storm_stop(storm).expect("a report");
    println!("{} of {} connects failed", report.failed(), report.attempts);
    assert_eq!(report.failed(), 0, "{report:?}");
}

#[test]
fn an_agent_that_starts_without_its_sources_goes_by_the_maps_and_the_table_on_disk() {
    let Some((lab, mut agent, hosts)) = lab_with_file(&[0, 1, 2]) else { return };
    agent.restart().expect("started");
    fs::remove_file(&hosts).expect("removed");
    let client = lab.client(0).expect("a client");
    let connect = Connect { reset_on_close: true, ..vip() };
    let storm = client.storm_start(&Storm { threads: 2, connects: None, connect });
    let storm = storm.expect("a storm");
    // With the maps, which know it all; then with nothing but the table.
    for boots in [false, true] {
        agent.terminate().expect("ended");
        if boots {
            let report = client.storm_stop(storm).expect("a report");
            assert_eq!(report.failed(), 0, "{report:?}");
            agent.uninstall().expect("removed");
        }
        let status = agent.restart().expect("started");
        assert_eq!(status.agent.adopted, !boots);
        assert_eq!(addresses(&status), servers(&lab, &[0, 1, 2]));
        assert!(status.backends().all(|(_, one)| one.sources == ["table"]), "{status:?}");
        assert!(source(&status, "file").error.is_some());
        assert!(client.connect(&vip()).expect("an outcome").ok);
    }
    // The source is heard at last, and has the last word.
    write(&hosts, &listed(&lab, &[0, 2]));
    let expected = servers(&lab, &[0, 2]);
    let status = agent.await_status("its hosts", |status| addresses(status) == expected);
    status.expect("a status");
}

#[test]
fn a_fixed_list_and_a_file_add_up_and_status_says_who_named_whom() {
    let Some((lab, mut agent, hosts)) = lab_with_file(&[0, 1]) else { return };
    let [first, last] = [0, 2].map(|plane| lab.control_plane(plane).v4());
    let sources = format!("hosts: ['{first}', '{last}'], files: [{}]", hosts.display());
    agent.configure(&configuration(&lab, sources)).expect("written");
    agent.spawn().expect("spawned");
    // The file is read while the configuration is in force already.
    let all = servers(&lab, &[0, 1, 2]);
    let status = agent.await_status("all of both", |status| addresses(status) == all);
    let status = status.expect("found");
    let file = format!("file {}", hosts.display());
    for (plane, sources) in [(0, &["static", &file][..]), (1, &[&file]), (2, &["static"])] {
        let server = lab.control_plane(plane).tls();
        assert_eq!(agent::backend(&status, server).expect("a backend").sources, sources);
    }
}

#[test]
fn a_reload_to_a_source_that_fails_keeps_the_backends() {
    let Some((lab, mut agent, _)) = lab_with_file(&[0]) else { return };
    let fixed = Configuration::of(&lab).quick();
    agent.configure(&fixed).expect("written");
    agent.restart().expect("started");
    let nowhere = "files: [/nowhere/hosts], names: [cp.invalid]";
    let control_plane = Some(nowhere.to_owned());
    let status = agent.reload(&Configuration { endpoints: vec![], control_plane, ..fixed.clone() });
    assert_eq!(addresses(&status.expect("reloaded")), servers(&lab, &[0, 1, 2]));
    let status = agent.await_status("failing sources", |status| {
        status.discovery.sources.iter().filter(|source| source.error.is_some()).count() == 2
    });
    let status = status.expect("a status");
    assert_eq!(addresses(&status), servers(&lab, &[0, 1, 2]));
    let endpoints = servers(&lab, &[1]);
    let status = agent.reload(&Configuration { endpoints: endpoints.clone(), ..fixed });
    let status = status.expect("reloaded");
    assert_eq!(addresses(&status), endpoints, "an operator's list is a list");
    assert!(status.discovery.sources.iter().all(|source| !source.watched));
}

#[test]
fn the_first_request_succeeds_soon_after_the_start_with_one_of_three_seeds_dead() {
    let Some((lab, mut agent, _)) = lab_with_file(&[0, 1, 2]) else { return };
    lab.control_plane(0).power_off().expect("off");
    let client = lab.client(0).expect("a client");
    let whoami = Connect::http(vip_address(), lab.http("kubernetes", "/whoami"));
    let started = Instant::now();
    agent.spawn().expect("spawned");
    // As a kubelet does: again and again until somebody answers.
    let outcome = nllb_lab::wait::wait_until("an answer", || {
        let outcome = client.connect(&whoami)?;
        Ok((outcome.status == Some(200)).then_some(outcome))
    });
    let took = started.elapsed();
    outcome.expect("an answer");
    println!("the first request was answered {took:?} after the start");
    assert!(took < Duration::from_secs(20), "{took:?}");
    // And so are those that follow, whoever is chosen.
    agent.await_state(lab.control_plane(0).tls(), "unhealthy").expect("a verdict");
    for _ in 0..20 {
        assert_eq!(client.connect(&whoami).expect("an outcome").status, Some(200));
    }
}

#[test]
fn without_any_network_the_data_path_is_loaded_and_the_agent_recovers_when_it_comes() {
    let Some((lab, mut agent, hosts)) = lab_with_file(&[0, 1, 2]) else { return };
    let sources = format!("files: [{}], names: [cp.invalid]", hosts.display());
    agent.configure(&configuration(&lab, sources).by_default()).expect("written");
    let node = lab.node(0).netns();
    netns::ip(Some(node), &["link set eth0 down".to_owned()]).expect("down");
    agent.spawn().expect("spawned");
    let status = agent.await_status("a verdict on all", |status| {
        status.datapath.problems().is_empty()
            && status.datapath.self_test.age_ms.is_some()
            && status.backends().count() == 3
            && status.backends().all(|(_, backend)| backend.state == "unhealthy")
            && source(status, "dns").error.is_some()
    });
    let status = status.expect("up, without a network");
    assert_eq!(status.datapath.self_test.failures, Vec::<String>::new());
    let client = lab.client(0).expect("a client");
    let outcome = client.connect(&vip()).expect("an outcome");
    assert!(!outcome.ok, "{outcome:?}");

    let came = Instant::now();
    netns::ip(Some(node), &network_of(&lab)).expect("up");
    let good = agent.await_status("all well", |status| {
        status.backends().all(|(_, backend)| backend.state == "healthy")
    });
    good.expect("recovered");
    println!("all were healthy {:?} after the network came", came.elapsed());
    assert!(client.connect(&vip()).expect("an outcome").ok);
}

#[test]
fn one_seed_leads_to_all_servers_and_to_what_clients_dial_and_is_needed_no_more() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let hosts = |planes: &[usize]| {
        let endpoints: Vec<_> = servers(&lab, planes).into_iter().map(Endpoint::ready).collect();
        lab.set_objects(Objects::kubernetes(&endpoints, &[VIP_V4.into()])).expect("told");
    };
    hosts(&[0, 1, 2]);
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    let kubeconfig = agent.write_kubeconfig().expect("written");
    let seed = lab.control_plane(0);
    let sources =
        format!("hosts: ['{}'], kubernetes: {{kubeconfig: {}}}", seed.v4(), kubeconfig.display());
    let wanted = Configuration { vip: Vec::new(), ..configuration(&lab, sources) };
    // Whom to trust and who to be is in the kubeconfig, for the probes as for the watch.
    let text = agent.text(&wanted);
    let lines = text.lines().filter(|line| !line.contains("File: "));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    agent.write(&text).expect("written");
    agent.spawn().expect("spawned");
    let found = |status: &Status, planes: &[usize]| {
        addresses(status) == servers(&lab, planes)
            && status.frontends[0].addresses == [vip_address()]
    };
    let status = agent.await_status("all servers", |status| found(status, &[0, 1, 2]));
    let status = status.expect("found");
    assert_eq!(agent::backend(&status, seed.tls()).expect("the seed").sources.len(), 2);
    for plane in lab.control_planes() {
        agent.await_state(plane.tls(), "healthy").expect("a verdict");
    }
    let client = lab.client(0).expect("a client");
    assert!(client.connect(&vip()).expect("an outcome").ok);

    // The watch fails over like any client, and goes on without the seed.
    seed.power_off().expect("off");
    agent.await_state(seed.tls(), "unhealthy").expect("a verdict");
    hosts(&[0, 1]);
    agent.await_status("one less", |status| found(status, &[0, 1])).expect("seen");
    // The next boot knows what clients dial before anybody is asked.
    agent.terminate().expect("ended");
    agent.uninstall().expect("removed");
    lab.control_plane(1).crash().expect("crashed");
    agent.spawn().expect("spawned");
    agent.await_status("the table", |status| found(status, &[0, 1])).expect("remembered");
}

/// The steps that bring a node's network up.
fn network_of(lab: &Lab) -> Vec<String> {
    let v6 = lab.node(0).v6();
    vec!["link set eth0 up".to_owned(), format!("addr replace {v6}/64 dev eth0 nodad")]
}

/// A lab, and an agent that does not run yet, with a file that lists these servers.
fn lab_with_file(planes: &[usize]) -> Option<(Lab, Agent, PathBuf)> {
    let lab = Lab::builder().build_or_skip()?;
    let agent = Agent::prepare(&lab, 0).expect("an agent");
    let hosts = lab.directory().join("hosts");
    write(&hosts, &listed(&lab, planes));
    let files = format!("files: [{}]", hosts.display());
    agent.configure(&configuration(&lab, files)).expect("written");
    Some((lab, agent, hosts))
}

/// A configuration that knows no servers but those of its sources.
fn configuration(lab: &Lab, sources: String) -> Configuration {
    Configuration {
        endpoints: Vec::new(),
        control_plane: Some(sources),
        ..Configuration::of(lab).quick()
    }
}

fn listed(lab: &Lab, planes: &[usize]) -> String {
    let hosts = planes.iter().map(|plane| format!("{}\n", lab.control_plane(*plane).v4()));
    hosts.collect()
}

/// Writes a file in one step, as an operator's tools do.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, file).expect("renamed");
}

fn servers(lab: &Lab, planes: &[usize]) -> Vec<SocketAddr> {
    let mut servers: Vec<_> = planes.iter().map(|plane| lab.control_plane(*plane).tls()).collect();
    servers.sort_unstable();
    servers
}

fn addresses(status: &Status) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> = status.backends().map(|(_, backend)| backend.address).collect();
    addresses.sort_unstable();
    addresses
}

/// The source of that kind.
fn source<'a>(status: &'a Status, kind: &str) -> &'a Source {
    let mut sources = status.discovery.sources.iter();
    sources.find(|source| source.kind == kind).expect("a source")
}

fn vip_address() -> SocketAddr {
    (VIP_V4, 443).into()
}

fn vip() -> Connect {
    Connect::name_of(vip_address())
}
