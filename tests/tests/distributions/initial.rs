//! What `nllb init` writes on a node of the lab that looks like a k3s agent is what an agent runs with.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use nllb_lab::load::{is_direct, load, none_fails, whoami};
use nllb_lab::{Agent, Lab};

#[test]
fn an_agent_runs_with_what_init_makes_of_a_k3s_node() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    let root = lab.directory().join("root");
    let k3s = root.join("var/lib/rancher/k3s/agent");
    fs::create_dir_all(k3s.join("etc")).expect("made");
    let write = |file: &str, text: &str| fs::write(k3s.join(file), text).expect("written");
    write(
        "kubelet.kubeconfig",
        "clusters: [{name: local, cluster: {server: 'https://127.0.0.1:6444'}}]\n",
    );
    let servers: Vec<String> =
        lab.control_planes().iter().map(|plane| plane.tls().to_string()).collect();
    let known =
        serde_json::json!({ "ServerURL": "https://10.86.0.11:6443", "ServerAddresses": servers });
    write("etc/k3s-agent-load-balancer.json", &known.to_string());
    let identity = lab.authority().client("system:node:node0").expect("an identity");
    write("server-ca.crt", lab.authority().pem());
    write("client-kubelet.crt", &identity.certificate);
    write("client-kubelet.key", &identity.key);

    let file = lab.directory().join("initial.yaml");
    let args = ["init".into(), "--root".into(), (&root).into(), "-o".into(), (&file).into()];
    let output = agent.nllb(&args).expect("ran");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // The files are where the lab has them, and pins and sockets where an agent of a lab has its own.
    let text = fs::read_to_string(&file).expect("written");
    let text = text.replace(": /var/lib/rancher", &format!(": {}/var/lib/rancher", root.display()));
    let places = format!(
        "datapath: {{ bpffs: {}, cgroup: {} }}\nadmin: {{ socket: {} }}\nstate: {{ file: {}/table.json }}\n",
        agent.bpffs().display(),
        lab.node(0).cgroup().display(),
        agent.socket().display(),
        lab.directory().display(),
    );
    agent.write(&(text + &places)).expect("configured");
    agent.restart().expect("started");

    let address: SocketAddr = (Ipv4Addr::LOCALHOST, 6444).into();
    let client = lab.client(0).expect("a client");
    for _ in 0..10 {
        assert!(is_direct(&whoami(&lab, &client, address), address));
    }
    let traffic = load(&lab, &client, address);
    none_fails(&client, traffic, 100);
    let victim = lab.control_plane(0);
    victim.drain(Duration::from_secs(5)).expect("told");
    agent.await_state(victim.tls(), "draining").expect("seen");
    none_fails(&client, traffic, 100);
}
