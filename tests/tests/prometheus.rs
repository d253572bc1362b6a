//! A real Prometheus scrapes an agent: what the dashboard and the alert rules ask is answered.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nllb_lab::dashboard::deployed;
use nllb_lab::dashboard::model::{Dashboard, Target, Variables};
use nllb_lab::lab::say_skipped;
use nllb_lab::prometheus::{self, Prometheus, When, get};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Client, Configuration, ConnectLoop, Lab, Traffic, tools};

/// Long enough for two scrapes on a busy machine, and within the test's patience.
const VARIABLES: Variables<'_> = Variables { rate_interval: "30s", range: "10m" };

#[test]
fn what_the_dashboard_and_the_alert_rules_ask_is_answered() {
    let Some(program) = prometheus::program() else {
        return say_skipped("no prometheus here; cargo xtask setup as root unpacks it");
    };
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("prepared");
    let kubeconfig = agent.write_kubeconfig().expect("written");
    agent.configure(&with_everything(&lab, &kubeconfig)).expect("written");
    agent.restart().expect("an agent");
    let prometheus = Prometheus::start(&program, &lab, &deployed("rules.yaml")).expect("it starts");
    let client = lab.client(0).expect("a client");
    load(&lab, &client);
    // So that there is a failover, and an alert that is pending or fires.
    let victim = lab.control_plane(1);
    victim.power_off().expect("off");
    agent.await_state(victim.tls(), "unhealthy").expect("seen");

    // What was held there was closed, since others answer.
    for stage in ["verdict", "close"] {
        answered(
            &prometheus,
            &format!("nllb_failover_stage_seconds_count{{stage=\"{stage}\"}} > 0"),
        );
    }

    let dashboard = Dashboard::read(&deployed("dashboard.json")).expect("readable");
    let targets: Vec<&Target> = dashboard.panels.iter().flat_map(|panel| &panel.targets).collect();
    assert!(targets.len() > 25, "{}", targets.len());
    for target in targets {
        let query = target.query(VARIABLES);
        assert!(!query.contains('$'), "a variable that nobody knows: {query}");
        answered(&prometheus, &query);
    }
    let rules = std::fs::read_to_string(deployed("rules.yaml")).expect("readable");
    let selectors = selectors(&rules);
    assert!(selectors.len() > 10, "{selectors:?}");
    for selector in selectors {
        answered(&prometheus, &selector);
    }
    let rules = wait_until("the rules", || {
        let rules = prometheus.rules()?;
        Ok(rules.iter().all(|rule| rule.health != "unknown").then_some(rules))
    })
    .expect("evaluated");
    assert!(rules.len() > 10, "{rules:?}");
    assert!(rules.iter().all(|rule| rule.health == "ok"), "{rules:?}");
}

#[test]
fn the_metrics_of_a_running_agent_are_as_prometheus_wants_them() {
    let Some(promtool) = tools::find("promtool", "prometheus") else {
        return say_skipped("no promtool here; cargo xtask setup as root unpacks it");
    };
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab)).expect("an agent");
    agent.await_state(lab.control_plane(0).tls(), "healthy").expect("probed");
    let metrics = get(lab.node(0).netns(), prometheus::AGENT, "/metrics").expect("metrics");
    assert!(metrics.contains("\nnllb_backend_state{"), "{metrics}");
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut check = check.stderr(Stdio::piped()).spawn().expect("started");
    // Taken, so that it ends.
    let mut input = check.stdin.take().expect("a pipe");
    input.write_all(metrics.as_bytes()).expect("written");
    drop(input);
    let output = check.wait_with_output().expect("ended");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// Whatever has series of its own: a Service, guests, and a VIP of which this node is no member.
fn with_everything(lab: &Lab, kubeconfig: &Path) -> Configuration {
    let planes = || lab.control_planes().iter();
    let list = |items: Vec<String>| items.join(", ");
    let hosts = list(planes().map(|plane| format!("'{}'", plane.v4())).collect());
    let endpoints = list(planes().map(|plane| format!("'{}'", plane.tls())).collect());
    let kubeconfig = kubeconfig.display();
    let service = format!(
        "{{name: elsewhere, addresses: [10.96.0.53], ports: [443/tcp], endpoints: [{endpoints}], probe: {{kind: tcp}}}}"
    );
    Configuration {
        endpoints: Vec::new(),
        control_plane: Some(format!("hosts: [{hosts}], kubernetes: {{kubeconfig: {kubeconfig}}}")),
        rest: vec![
            format!("services: [{service}]"),
            "sandboxes: { interfaces: [\"pod*\"] }".to_owned(),
            "vip: { addresses: [\"10.86.0.100\"], interface: eth0 }".to_owned(),
        ],
        ..Configuration::of(lab)
    }
}

/// Connects now and then, and connections that are held to every server.
fn load(lab: &Lab, client: &Client) {
    // On a busy machine a server may have no turn for long.
    let patience = Duration::from_secs(20);
    let a_loop = ConnectLoop { interval: Duration::from_millis(50), at_once: 1, patience };
    let request_interval = Duration::from_millis(200);
    let traffic = Traffic { loops: vec![a_loop], request_interval, ..lab.traffic() };
    let traffic = client.traffic(&traffic).expect("traffic");
    let servers: Vec<_> = lab.control_planes().iter().map(|it| it.name().to_owned()).collect();
    client.traffic_hold(traffic, &servers).expect("held");
}

/// Waits for a series: rates want two scrapes, and what follows from a failover is scraped after it.
fn answered(prometheus: &Prometheus, query: &str) {
    let some = || Ok((!prometheus.query(query, When::Now)?.is_empty()).then_some(()));
    wait_until(query, some).expect("data");
}

/// What the expressions of rules take from Prometheus, without what they make of it: a rule that finds
/// nothing wrong gives nothing, and what it looks at has to be there all the same.
fn selectors(rules: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_series = |at: usize| {
        let rest = &rules[at..];
        let begins = rest.starts_with("nllb_") || rest.starts_with("up{");
        begins && !rules[..at].ends_with(is_name)
    };
    let begins = (0..rules.len()).filter(|at| rules.is_char_boundary(*at) && is_series(*at));
    let selectors = begins.map(|at| {
        let name: String = rules[at..].chars().take_while(|c| is_name(*c)).collect();
        let rest = &rules[at + name.len()..];
        let matchers = rest.starts_with('{').then(|| rest.split_inclusive('}').next());
        name + matchers.flatten().unwrap_or_default()
    });
    selectors.collect()
}
