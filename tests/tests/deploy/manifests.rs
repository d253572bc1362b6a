//! The manifests: every overlay renders, is what Kubernetes knows, and asks for no more than it needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use nllb_agent::driver::{Unresolved, load};
use nllb_lab::pki::Authority;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::podmonitor::PodMonitor;
use crate::{deploy, has_or_say, succeed};

#[test]
fn every_overlay_renders_into_objects_that_kubernetes_knows() {
    if !has_or_say("kustomize") {
        return;
    }
    let overlays = overlays();
    assert!(overlays.len() > 5, "{overlays:?}");
    for overlay in overlays {
        for object in render(&overlay) {
            check_schema(&object).unwrap_or_else(|fault| panic!("{}: {fault}", overlay.display()));
        }
    }
    for pod in yaml(&text("static-pod/nllb.yaml")) {
        check_schema(&pod).expect("a pod");
    }
}

#[test]
fn a_misspelt_key_and_a_wrong_type_are_found() {
    let right = yaml(&text("static-pod/nllb.yaml")).remove(0);
    check_schema(&right).expect("a pod");
    let mut misspelt = right.clone();
    misspelt["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = json!(true);
    let fault = check_schema(&misspelt).expect_err("refused");
    assert!(fault.contains("/spec/containers/0/securityContext/readOnlyRootFileSystem"), "{fault}");
    let mut wrong = right;
    wrong["spec"]["hostNetwork"] = json!("yes");
    assert!(check_schema(&wrong).is_err());

    let right = yaml(&text("kustomize/components/podmonitor/podmonitor.yaml")).remove(0);
    check_schema(&right).expect("a PodMonitor");
    let changes = [
        ("tlsConfig", json!({ "insecureSkipverify": true })),
        ("authorisation", right["spec"]["podMetricsEndpoints"][0]["authorization"].clone()),
        ("authorization", json!({ "credentials": { "name": "a", "keys": "token" } })),
        ("port", json!(7474)),
        ("scheme", json!("tls")),
    ];
    for (key, value) in changes {
        let mut wrong = right.clone();
        wrong["spec"]["podMetricsEndpoints"][0][key] = value;
        let fault = check_schema(&wrong).expect_err("refused");
        assert!(fault.contains("odMetricsEndpoints"), "{fault}");
    }
}

#[test]
fn the_agent_accepts_every_configuration() {
    if !has_or_say("kustomize") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| directory.path().join(name);
    fs::write(place("ca.crt"), Authority::new("kubernetes").expect("an authority").pem())
        .expect("written");
    fs::write(place("token"), "token").expect("written");
    let kubeconfig = "clusters: [{name: a, cluster: {certificate-authority: ca.crt}}]\n\
                      users: [{name: a, user: {tokenFile: token}}]\n";
    fs::write(place("kubeconfig"), kubeconfig).expect("written");
    let there = format!("kubernetes: {{kubeconfig: {}}}", place("kubeconfig").display());
    for overlay in overlays() {
        let objects = render(&overlay);
        let text = of_kind(&objects, "ConfigMap")["data"]["agent.yaml"].as_str().expect("a text");
        // The service account, which is not here, stands aside for the same in a kubeconfig.
        assert_eq!(text.matches("  kubernetes: {}\n").count(), 1, "{text}");
        fs::write(place("agent.yaml"), text.replace("kubernetes: {}", &there)).expect("written");
        let loaded = load(&place("agent.yaml"), Unresolved::Refuse);
        let config = loaded.unwrap_or_else(|error| panic!("{}: {error}", overlay.display()));
        let pool = &config.pools[0];
        assert!(pool.borrows && pool.check.credentials.token.is_some(), "{}", overlay.display());
        assert!(!pool.endpoints.is_empty(), "{}: whom to ask first", overlay.display());
    }
}

#[test]
fn the_agent_may_read_what_it_has_to_and_nothing_else() {
    if !has_or_say("kustomize") {
        return;
    }
    let objects = render(&deploy("kustomize/base"));
    let cluster = json!([
        { "nonResourceURLs": ["/readyz", "/version"], "verbs": ["get"] },
        { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"] },
    ]);
    assert_eq!(of_kind(&objects, "ClusterRole")["rules"], cluster);
    let role = of_kind(&objects, "Role");
    let watch = ["get", "list", "watch"];
    let rules = json!([
        { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watch },
        { "apiGroups": [""], "resources": ["services"], "resourceNames": ["kubernetes"],
          "verbs": watch },
    ]);
    assert_eq!(role["rules"], rules);
    for kind in ["Role", "RoleBinding"] {
        assert_eq!(of_kind(&objects, kind)["metadata"]["namespace"], "default");
    }
    let accounts = objects.iter().flat_map(|object| object["subjects"].as_array()).flatten();
    let expected = json!({ "kind": "ServiceAccount", "name": "nllb", "namespace": "kube-system" });
    assert!(accounts.clone().count() == 2 && accounts.clone().all(|one| *one == expected));
}

#[test]
fn events_are_made_and_never_read_and_only_where_an_overlay_says_so() {
    if !has_or_say("kustomize") {
        return;
    }
    for overlay in overlays() {
        let objects = render(&overlay);
        let of_events = objects.iter().filter(|object| object["metadata"]["name"] == "nllb-events");
        let of_events: Vec<&Value> = of_events.collect();
        if !overlay.ends_with("events") {
            assert!(of_events.is_empty(), "{}", overlay.display());
            continue;
        }
        let role = of_events.iter().find(|object| object["kind"] == "Role").expect("a role");
        let rule = json!({ "apiGroups": [""], "resources": ["events"], "verbs": ["create"] });
        assert_eq!(role["rules"], json!([rule]));
        let binding = of_events.iter().find(|object| object["kind"] == "RoleBinding");
        let binding = binding.expect("a binding");
        let account =
            json!({ "kind": "ServiceAccount", "name": "nllb", "namespace": "kube-system" });
        assert_eq!(binding["subjects"], json!([account]));
        for object in of_events {
            assert_eq!(object["metadata"]["namespace"], "default");
        }
    }
}

#[test]
fn pods_are_watched_only_where_an_overlay_says_so() {
    if !has_or_say("kustomize") {
        return;
    }
    for overlay in overlays() {
        let objects = render(&overlay);
        let of_pods = objects.iter().filter(|one| one["metadata"]["name"] == "nllb-sandboxes");
        let of_pods: Vec<&Value> = of_pods.collect();
        if !overlay.ends_with("sandboxes") {
            assert!(of_pods.is_empty(), "{}", overlay.display());
            continue;
        }
        let role = of_pods.iter().find(|one| one["kind"] == "ClusterRole").expect("a role");
        let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] });
        assert_eq!(role["rules"], json!([rule]));
        let binding = of_pods.iter().find(|one| one["kind"] == "ClusterRoleBinding");
        let account =
            json!({ "kind": "ServiceAccount", "name": "nllb", "namespace": "kube-system" });
        assert_eq!(binding.expect("a binding")["subjects"], json!([account]));
    }
}

#[test]
fn the_lease_of_the_vip_is_held_and_announced_only_where_an_overlay_says_so() {
    if !has_or_say("kustomize") {
        return;
    }
    for overlay in overlays() {
        let objects = render(&overlay);
        let of_vip = objects.iter().filter(|object| object["metadata"]["name"] == "nllb-vip");
        let of_vip: Vec<&Value> = of_vip.collect();
        let spec = &of_kind(&objects, "DaemonSet")["spec"]["template"]["spec"];
        let capabilities = &spec["containers"][0]["securityContext"]["capabilities"]["add"];
        let is_raw = capabilities.to_string().contains("NET_RAW");
        if !overlay.ends_with("vip") {
            assert!(of_vip.is_empty() && !is_raw, "{}", overlay.display());
            continue;
        }
        assert!(is_raw);
        assert_eq!(spec["nodeSelector"]["node-role.kubernetes.io/control-plane"], "");
        let role = of_vip.iter().find(|object| object["kind"] == "Role").expect("a role");
        let leases = json!(["leases"]);
        let group = json!(["coordination.k8s.io"]);
        // A flow schema for leader elections covers what is asked with these verbs, and no patch.
        let rules = json!([
            { "apiGroups": group, "resources": leases, "verbs": ["create"] },
            { "apiGroups": group, "resources": leases, "resourceNames": ["nllb-vip"],
              "verbs": ["get", "update", "watch"] },
        ]);
        assert_eq!(role["rules"], rules);
        for object in of_vip {
            assert_eq!(object["metadata"]["namespace"], "kube-system");
        }
    }
}

#[test]
fn static_pod_and_daemon_set_run_the_agent_alike() {
    let daemon_set = daemon_set();
    let pod = yaml(&text("static-pod/nllb.yaml")).remove(0);
    let (of_set, of_pod) = (&daemon_set["spec"]["template"], &pod);
    let keys =
        ["hostNetwork", "dnsPolicy", "priorityClassName", "tolerations", "enableServiceLinks"];
    for key in keys {
        assert!(!of_set["spec"][key].is_null(), "{key}");
        assert_eq!(of_set["spec"][key], of_pod["spec"][key], "{key}");
    }
    let keys = ["args", "env", "securityContext", "livenessProbe", "readinessProbe", "resources"];
    let container = |of: &Value| of["spec"]["containers"][0].clone();
    for key in keys {
        assert!(!container(of_set)[key].is_null(), "{key}");
        assert_eq!(container(of_set)[key], container(of_pod)[key], "{key}");
    }
    let node = json!([
        { "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }
    ]);
    assert_eq!(container(of_set)["env"], node);
    for spec in [of_set, of_pod] {
        let names = |list: &Value| -> BTreeSet<String> {
            let names = list.as_array().expect("a list").iter().map(|one| one["name"].as_str());
            names.map(|name| name.expect("a name").to_owned()).collect()
        };
        let mounted = names(&container(spec)["volumeMounts"]);
        assert_eq!(mounted, names(&spec["spec"]["volumes"]), "each volume is mounted");
    }
}

#[test]
fn all_rights_are_asked_for_only_where_an_overlay_says_so() {
    if !has_or_say("kustomize") {
        return;
    }
    for overlay in overlays() {
        let objects = render(&overlay);
        let container = &of_kind(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"];
        let context = &container[0]["securityContext"];
        if overlay.ends_with("privileged") {
            assert_eq!(context["privileged"], true);
            assert!(context["capabilities"].is_null() && context["seccompProfile"].is_null());
        } else {
            assert!(context["privileged"].is_null());
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        }
        assert_eq!(context["readOnlyRootFilesystem"], true);
    }
}

#[test]
fn the_pod_monitor_finds_the_port_of_the_proxy() {
    if !has_or_say("kustomize") {
        return;
    }
    let objects = render(&deploy("kustomize/overlays/podmonitor"));
    let monitor = &of_kind(&objects, "PodMonitor")["spec"];
    let template = &of_kind(&objects, "DaemonSet")["spec"]["template"];
    let wanted = monitor["selector"]["matchLabels"].as_object().expect("labels");
    for (key, value) in wanted {
        assert_eq!(template["metadata"]["labels"][key], *value);
    }
    let containers = template["spec"]["containers"].as_array().expect("a list");
    let ports = containers.iter().flat_map(|one| one["ports"].as_array()).flatten();
    let named = ports.filter(|port| port["name"] == monitor["podMetricsEndpoints"][0]["port"]);
    assert_eq!(named.count(), 1);
    let relabelings = monitor["podMetricsEndpoints"][0]["relabelings"].as_array().expect("a list");
    let job = relabelings.iter().find(|one| one["targetLabel"] == "job").expect("a job");
    let rules = text("monitoring/rules.yaml");
    let name = job["replacement"].as_str().expect("its name");
    assert!(rules.contains(&format!("up{{job=\"{name}\"}}")), "the rules know another job");
    let credentials = &monitor["podMetricsEndpoints"][0]["authorization"]["credentials"];
    let secret = of_kind(&objects, "Secret");
    assert_eq!(secret["metadata"]["name"], credentials["name"]);
    // What Kubernetes writes into a Secret of this type.
    assert_eq!(
        (&secret["type"], &credentials["key"]),
        (&json!("kubernetes.io/service-account-token"), &json!("token"))
    );
}

/// What the DaemonSet's container may do.
pub(crate) fn capabilities() -> Vec<String> {
    let daemon_set = daemon_set();
    let context = &daemon_set["spec"]["template"]["spec"]["containers"][0]["securityContext"];
    let added = context["capabilities"]["add"].as_array().expect("a list");
    added.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

fn daemon_set() -> Value {
    yaml(&text("kustomize/base/daemonset.yaml")).remove(0)
}

fn overlays() -> Vec<PathBuf> {
    let entries = fs::read_dir(deploy("kustomize/overlays")).expect("overlays");
    let overlays = entries.map(|entry| entry.expect("an overlay").path());
    overlays.chain([deploy("kustomize/base")]).collect()
}

fn render(overlay: &PathBuf) -> Vec<Value> {
    yaml(&succeed(Command::new("kustomize").arg("build").arg(overlay)))
}

fn text(path: &str) -> String {
    fs::read_to_string(deploy(path)).expect("a file")
}

fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).expect("YAML")
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "one {kind}");
    object
}

/// Whether an object has the fields that its kind has, and each of its type.
fn check_schema(object: &Value) -> Result<(), String> {
    let kind = (object["apiVersion"].as_str(), object["kind"].as_str());
    let (Some(version), Some(kind)) = kind else { return Err(format!("of no kind: {object}")) };
    match (version, kind) {
        ("v1", "ConfigMap") => check_as::<ConfigMap>(object),
        ("v1", "Pod") => check_as::<Pod>(object),
        ("v1", "Secret") => check_as::<Secret>(object),
        ("v1", "ServiceAccount") => check_as::<ServiceAccount>(object),
        ("apps/v1", "DaemonSet") => check_as::<DaemonSet>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => check_as::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            check_as::<ClusterRoleBinding>(object)
        }
        ("rbac.authorization.k8s.io/v1", "Role") => check_as::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => check_as::<RoleBinding>(object),
        ("monitoring.coreos.com/v1", "PodMonitor") => check_as::<PodMonitor>(object),
        _ => Err(format!("{version} {kind} is not known here")),
    }
}

/// The types ignore fields that they do not have, so what is missing afterwards was one.
fn check_as<T: Serialize + DeserializeOwned>(object: &Value) -> Result<(), String> {
    let typed: T = serde_path_to_error::deserialize(object).map_err(|error| error.to_string())?;
    let known = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    match lost(object, &known) {
        Some(path) => Err(format!("{} has no {path}", object["kind"])),
        None => Ok(()),
    }
}

/// The path of the first thing that is not in both.
fn lost(written: &Value, known: &Value) -> Option<String> {
    let inside = |key: &str, written: &Value, known: Option<&Value>| match known {
        Some(known) => lost(written, known).map(|path| format!("/{key}{path}")),
        None => Some(format!("/{key}")),
    };
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => {
            written.iter().find_map(|(key, value)| inside(key, value, known.get(key)))
        }
        (Value::Array(written), Value::Array(known)) => {
            let mut elements = written.iter().enumerate();
            elements.find_map(|(index, value)| inside(&index.to_string(), value, known.get(index)))
        }
        _ => (written != known).then(|| format!(" = {written}")),
    }
}
