//! Guests that are chosen by the annotation of their pods, of which the cluster tells.

use std::net::IpAddr;
use std::time::Duration;

use nllb_lab::apiserver::{Api, Endpoint, Objects, Service, pod};
use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Ask, Configuration, Connect, Lab};
use serde_json::{Value, json};

use super::{Scene, build_or_skip};

const MARK: &str = "nllb.dev/sandbox";
const NODE: &str = "worker-1";
const YES: &[(&str, &str)] = &[(MARK, "true")];
const NO: &[(&str, &str)] = &[];

/// An agent that asks the lab's cluster for the pods of its node.
fn start(pods: usize, objects: impl Fn(&Lab) -> Vec<Value>) -> Option<Scene> {
    let lab = build_or_skip(Lab::builder().pods(pods))?;
    let agent = Agent::prepare(&lab, 0).expect("an agent");
    let kubeconfig = agent.write_kubeconfig().expect("a kubeconfig");
    let hosts: Vec<_> = lab.control_planes().iter().map(|one| one.v4().to_string()).collect();
    let plane = format!(
        "hosts: ['{}'], kubernetes: {{kubeconfig: {}}}",
        hosts.join("', '"),
        kubeconfig.display()
    );
    let configuration = Configuration {
        endpoints: Vec::new(),
        control_plane: Some(plane),
        rest: vec![
            format!("node: {{ name: {NODE} }}"),
            format!("sandboxes: {{ annotation: {MARK} }}"),
        ],
        ..Configuration::of(&lab).quick()
    };
    agent.configure(&configuration).expect("configured");
    let mut scene = Scene { lab, agent, configuration };
    scene.set_pods(objects(&scene.lab));
    scene.agent.restart().expect("ready");
    Some(scene)
}

impl Scene {
    /// The cluster has these pods from now on.
    fn set_pods(&self, pods: Vec<Value>) {
        let planes = self.lab.control_planes().iter();
        let endpoints: Vec<_> = planes.map(|plane| Endpoint::ready(plane.tls())).collect();
        let objects = Objects::kubernetes(&endpoints, &[VIP_V4.into()]);
        self.lab.set_objects(Objects { pods, ..objects }).expect("told");
    }

    fn set_api(&self, api: Api) {
        for plane in self.lab.control_planes() {
            plane.set_modes(|modes| modes.pods = Service::all(api)).expect("told");
        }
    }

    /// Waits until so many interfaces and pods are left alone, and gives them.
    fn await_left(&mut self, count: usize) -> Vec<String> {
        let left = self.agent.await_status("some are left alone", |status| {
            status.sandboxes.as_ref().is_some_and(|it| it.left_alone.len() == count)
        });
        left.expect("told").sandboxes.expect("wanted").left_alone
    }
}

/// The addresses of a pod of the lab.
fn addresses(lab: &Lab, pod: usize) -> [IpAddr; 2] {
    let pod = &lab.node(0).pods()[pod];
    [pod.v4().into(), pod.v6().into()]
}

#[test]
fn annotated_pods_are_served_as_they_come_and_left_as_they_go() {
    let at = addresses;
    let web = |lab: &Lab| pod("shop/web", NODE, &at(lab, 0), YES);
    let plain = |lab: &Lab| pod("shop/plain", NODE, &at(lab, 1), NO);
    let Some(mut scene) = start(3, |lab| vec![web(lab), plain(lab)]) else { return };
    let sandboxes = scene.await_served(&["pod0"]);
    assert_eq!(sandboxes.interfaces[0].chosen_by, "pod shop/web");
    assert_eq!((sandboxes.left_alone.len(), sandboxes.problem), (0, None));
    let connect = Connect::name_of((VIP_V4, 443).into());
    assert!(scene.guest(0).connect(&connect).expect("an outcome").server.is_some());
    let status = scene.agent.status().expect("a status");
    let source = status.discovery.sources.iter().find(|source| source.kind == "pods");
    assert_eq!(source.map(|source| (source.watched, source.hosts)), Some((true, 1)));

    // Whoever is annotated later is served later; another node's pod and one on the host's network are not.
    let lab = &scene.lab;
    let node = [IpAddr::from(lab.node(0).v4())];
    let mut on_host = pod("shop/host", NODE, &node, YES);
    on_host["spec"]["hostNetwork"] = json!(true);
    let marked = pod("shop/plain", NODE, &at(lab, 1), YES);
    let elsewhere = pod("shop/far", "worker-2", &at(lab, 2), YES);
    scene.set_pods(vec![web(lab), marked, elsewhere, on_host]);
    let sandboxes = scene.await_served(&["pod0", "pod1"]);
    assert_eq!(sandboxes.left_alone, [""; 0]);

    // An annotation that is taken away, or says something else, and a pod that has ended.
    let lab = &scene.lab;
    let no = pod("shop/web", NODE, &at(lab, 0), &[(MARK, "false")]);
    scene.set_pods(vec![no, plain(lab), pod("shop/last", NODE, &at(lab, 2), YES)]);
    scene.await_served(&["pod2"]);
    let mut done = pod("shop/last", NODE, &at(&scene.lab, 2), YES);
    done["status"]["phase"] = json!("Succeeded");
    scene.set_pods(vec![done]);
    scene.await_served(&[]);
    scene.await_no_trace();
}

#[test]
fn an_address_that_is_not_the_pods_alone_serves_nobody() {
    let Some(mut scene) = start(2, |_| Vec::new()) else { return };
    let lab = &scene.lab;
    let one = |name: &str, ip: IpAddr| pod(name, NODE, &[ip], YES);
    let backend = lab.control_plane(0).v4().into();
    let [shared, _] = addresses(lab, 0);
    let neighbour = IpAddr::from([10, 86, 77, 77]);
    let pods = vec![
        one("evil/node", lab.node(0).v4().into()),
        one("evil/backend", backend),
        // On the link to the others, where nobody is.
        one("evil/link", neighbour),
        one("evil/shared", shared),
        pod("good/plain", NODE, &[shared], NO),
        one("evil/lost", [192, 0, 2, 1].into()),
        pod("good/web", NODE, &addresses(lab, 1), YES),
    ];
    scene.set_pods(pods);
    scene.await_served(&["pod1"]);
    let left = scene.await_left(4);
    let [eth0, lo, lost, twice] = left.as_slice() else { panic!("{left:?}") };
    assert!(eth0.starts_with("eth0: never served: this node reaches "), "{eth0}");
    assert_eq!(lo, "lo: never served: it is no cable of pod evil/node");
    assert!(lost.starts_with("pod evil/lost: not served: no interface"), "{lost}");
    assert_eq!(
        *twice,
        format!("pod evil/shared: not served: other pods have the address {shared} as well")
    );
}

#[test]
fn who_is_served_stays_so_while_the_cluster_is_silent() {
    let web = |lab: &Lab| vec![pod("shop/web", NODE, &addresses(lab, 0), YES)];
    let Some(mut scene) = start(1, web) else { return };
    scene.await_served(&["pod0"]);
    let guest = scene.guest(0);
    let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
    let kept = guest.connect(&connect).expect("an outcome").handle.expect("kept");
    scene.set_api(Api::Refuse(403));
    let refused = scene.agent.await_status("a refusal", |status| {
        let told = status.discovery.sources.iter().filter(|source| source.kind == "pods");
        told.filter_map(|source| source.error.as_ref()).any(|error| error.contains("pods: 403"))
    });
    let status = refused.expect("told");
    assert_eq!(status.verdict.state.label(), "degraded");
    scene.await_served(&["pod0"]);
    // The next agent knows no pods at all, and takes nothing away.
    scene.agent.kill().expect("killed");
    scene.agent.spawn().expect("started");
    let sandboxes = scene.await_served(&["pod0"]);
    assert!(sandboxes.interfaces[0].chosen_by.starts_with("served before"), "{sandboxes:?}");
    assert!(guest.echo(kept, Duration::from_secs(5)).expect("an echo"), "it lives on");
    scene.set_api(Api::Serve);
    let known = scene.agent.await_status("the pods are known", |status| {
        let interfaces = status.sandboxes.iter().flat_map(|it| &it.interfaces);
        interfaces.map(|it| it.chosen_by.as_str()).eq(["pod shop/web"])
    });
    known.expect("known");
    assert!(guest.echo(kept, Duration::from_secs(5)).expect("an echo"), "it lives on");
    // Without the annotation in the configuration no pod is asked for.
    scene.agent.reload(&scene.with(Some("interfaces: [\"none*\"]"))).expect("reloaded");
    scene.await_served(&[]);
    scene.await_no_trace();
}
