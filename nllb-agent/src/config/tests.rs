//! What a good configuration becomes; bad ones are in `tests/bad_config`.

mod questions;
mod services;
mod vip;

use super::*;
use crate::health_check::Material;
use nllb_common::maps::Policy;
use nllb_core::settings::{
    Coverage, FrontendKind, OnEmpty, RebalanceSettings, ScopeSetting, VersionSkew,
};

fn parse(text: &str, discovered: &Discovered) -> Config {
    let discover = |_: Wanted<'_>| Ok(discovered.clone());
    Config::parse(Path::new("agent.yaml"), text, &discover).expect("a good configuration")
}

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|text| text.parse().expect("an address")).collect()
}

#[test]
fn a_short_configuration_gets_the_documented_defaults() {
    let config = parse(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends:
  - {name: local, kind: loopback, addresses: ['127.0.0.1:7443', '[::1]:7443']}
  - {name: nodes, kind: node-address}
pools:
  - {name: apiserver, endpoints: ['10.0.0.11:6443'], probe: {insecureSkipVerify: true}}
",
        &Discovered::default(),
    );
    let Config {
        frontends,
        pools,
        services,
        sandboxes,
        control_plane,
        datapath,
        admin,
        http,
        lease,
        self_test_interval,
        state,
        node,
        vip,
    } = &config;
    assert_eq!((control_plane, services, vip), (&None, &Vec::new(), &None));
    assert_eq!(sandboxes, &None);
    assert_eq!((pools[0].hosts, pools[0].discovered), (None, false));
    assert_eq!(frontends[0].scope, ScopeSetting::Host);
    assert_eq!(frontends[1].scope, ScopeSetting::All);
    assert_eq!(frontends[1].addresses, addresses(&["10.0.0.11:6443"]));
    assert_eq!(frontends[0].on_empty, OnEmpty::PassThrough);
    assert_eq!(frontends[0].coverage, Coverage::Address);
    assert_eq!(pools[0].health, nllb_core::HealthSettings::default());
    assert_eq!((pools[0].latency_bands, pools[0].rebalance), (true, None));
    assert_eq!((frontends[0].version_skew, &frontends[0].min_version), (VersionSkew::Off, &None));
    assert_eq!(frontends[0].policy, Policy::Random);
    assert_eq!(state.file.as_deref(), Some(Path::new(DEFAULT_STATE_FILE)));
    assert_eq!(state.journal.as_deref(), Some(Path::new(DEFAULT_JOURNAL)));
    assert_eq!(node, &Node::default());
    assert_eq!(datapath.close_sockets, CloseSockets::Auto);
    assert_eq!(pools[0].check.to_string(), "https /readyz");
    assert_eq!(pools[0].check.timeout, Duration::from_secs(2));
    assert_eq!(datapath.bpffs, Path::new("/sys/fs/bpf/nllb"));
    assert_eq!((&datapath.cgroup, datapath.log_level), (&Cgroup::Auto, LogLevel::Off));
    assert_eq!(admin.socket, Path::new(DEFAULT_SOCKET));
    assert_eq!(http.listen, addresses(&["127.0.0.1:7473"])[0]);
    assert_eq!((*lease, *self_test_interval), (Duration::from_secs(3), Duration::from_secs(5)));
}

#[test]
fn everything_that_is_written_reaches_the_settings() {
    let config = parse(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends:
  - name: kubernetes
    kind: vip
    addresses: ['10.96.0.1:443', '[fd00:10:96::1]:443']
    pool: apiserver
    scope: host
    onEmpty: fail
    serverName: kubernetes
    policy: least-connections
    versionSkew: prefer-newest
    minVersion: 1.30
pools:
  - name: apiserver
    endpoints: ['10.0.0.11:6443', '[::ffff:10.0.0.12]:6443']
    probe:
      path: /livez?verbose
      timeout: 500ms
      interval: 3s
      jitter: 0
      confirmInterval: 50ms
      maxBackoff: 1m
      rise: 3
      fall: 1
      pingInterval: 250ms
      freshEvery: 20
      sentinel: true
      insecureSkipVerify: true
    drain: {closeAfter: 5m}
    rebalance: {sharePerMinute: 0.05, floor: 4}
    latencyBands: false
datapath: {bpffs: /bpf, cgroup: /sys/fs/cgroup/unified/x, logLevel: debug, closeSockets: auto}
state: {file: off}
node: {name: worker-1.example.com, kubeletVersion: v1.29.3}
admin: {socket: /tmp/nllb.sock}
http: {listen: '[::1]:7000'}
lease: 1s
selfTestInterval: 500ms
",
        &Discovered::default(),
    );
    let settings = config.settings();
    let frontend = &settings.frontends[0];
    assert_eq!(frontend.kind, FrontendKind::Vip);
    assert_eq!(frontend.addresses, addresses(&["10.96.0.1:443", "[fd00:10:96::1]:443"]));
    assert_eq!((frontend.scope, frontend.on_empty), (ScopeSetting::Host, OnEmpty::Fail));
    assert_eq!(frontend.coverage, Coverage::ServerName("kubernetes".to_owned()));
    let pool = &settings.pools[0];
    assert_eq!(pool.endpoints, addresses(&["10.0.0.11:6443", "10.0.0.12:6443"]));
    let health = &pool.health;
    assert_eq!((health.rise, health.fall), (3, 1));
    assert_eq!(health.max_backoff, Duration::from_secs(60));
    assert_eq!((health.sentinel, health.fresh_every), (true, 20));
    assert_eq!(health.ping_interval, Duration::from_millis(250));
    assert_eq!(health.drain_close_after, Some(Duration::from_secs(300)));
    let rebalance = RebalanceSettings { share_per_minute: 0.05, floor: 4 };
    assert_eq!((pool.latency_bands, pool.rebalance), (false, Some(rebalance)));
    let version = |text: &str| Some(text.parse().expect("a version"));
    assert_eq!(frontend.policy, Policy::LeastConnections);
    assert_eq!(frontend.version_skew, VersionSkew::PreferNewest);
    assert_eq!(frontend.min_version, version("1.30"));
    assert_eq!(settings.kubelet_version, version("v1.29.3"));
    assert_eq!(config.node.name.as_deref(), Some("worker-1.example.com"));
    assert_eq!(config.state, State { file: None, journal: None });
    assert_eq!(config.pools[0].check.to_string(), "https /livez?verbose");
    assert_eq!(config.datapath.cgroup, Cgroup::Path("/sys/fs/cgroup/unified/x".into()));
    assert_eq!(config.datapath.log_level, LogLevel::Debug);
    assert_eq!(config.self_test_interval, Duration::from_millis(500));
}

#[test]
fn a_kubeconfig_adds_endpoints_and_fills_the_credentials_left_open() {
    let token = Material::Inline(b"from the kubeconfig".to_vec());
    let discovered = Discovered {
        endpoints: addresses(&["10.0.0.11:6443", "10.0.0.12:6443"]),
        credentials: Credentials {
            authority: Some(Material::Inline(b"ca".to_vec())),
            server_name: Some("kubernetes".to_owned()),
            client: None,
            token: Some(token.clone()),
            insecure_skip_verify: false,
        },
        unresolved: vec!["a line".to_owned()],
    };
    let config = parse(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends:
  - {name: kubernetes, kind: vip, addresses: ['10.96.0.1:443']}
pools:
  - name: apiserver
    endpoints: ['10.0.0.12:6443']
    kubeconfig: /etc/kubernetes/kubelet.conf
    probe: {serverName: other}
",
        &discovered,
    );
    let pool = &config.pools[0];
    assert_eq!(pool.endpoints, addresses(&["10.0.0.12:6443", "10.0.0.11:6443"]));
    let Credentials { authority, server_name, client, token: found, insecure_skip_verify } =
        &pool.check.credentials;
    assert_eq!(authority, &Some(Material::Inline(b"ca".to_vec())));
    assert_eq!(server_name.as_deref(), Some("other"));
    assert_eq!((client, found), (&None, &Some(token)));
    assert!(!insecure_skip_verify);
    assert_eq!(config.unresolved().collect::<Vec<_>>(), ["a line"]);
    assert_eq!(config.sources().collect::<Vec<_>>(), ["/etc/kubernetes/kubelet.conf"]);
}

#[test]
fn a_control_plane_gives_its_hosts_to_pools_that_name_nobody_or_a_port() {
    let config = parse(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
controlPlane:
  hosts: ['10.0.0.11', '10.0.0.12:8443']
  files: [/etc/nllb/hosts]
  kubeconfigs: [/etc/kubernetes/kubelet.conf]
  names: [CP.example.org, 'cp.example.net.:6443']
  kubernetes: {}
frontends:
  - {name: kubernetes, kind: vip, pool: apiserver}
  - {name: supervisor, kind: loopback, addresses: ['127.0.0.1:9345'], pool: supervisor}
  - {name: nodes, kind: node-address, pool: apiserver}
  - {name: others, kind: node-address, addresses: ['10.0.0.99:9345'], pool: supervisor}
pools:
  - {name: apiserver, probe: {insecureSkipVerify: true}}
  - {name: supervisor, endpoints: ['10.0.0.13:9999'], port: 9345, probe: {insecureSkipVerify: true}}
  - {name: alone, endpoints: ['10.0.0.14:6443'], probe: {insecureSkipVerify: true}}
",
        &Discovered::default(),
    );
    let plane = config.control_plane.as_ref().expect("a control plane");
    let kubernetes = plane.kubernetes.as_ref().expect("asked");
    assert_eq!(kubernetes.server_name, "kubernetes.default.svc");
    assert_eq!((&kubernetes.kubeconfig, kubernetes.events), (&None, false));
    let name = |name: &str, port| Name { name: name.to_owned(), port };
    assert_eq!(plane.names, [name("cp.example.org", None), name("cp.example.net.", Some(6443))]);
    let settings = config.settings();
    let pools: Vec<_> =
        settings.pools.iter().map(|pool| (pool.discovered, &pool.endpoints)).collect();
    assert_eq!(pools[0], (true, &addresses(&["10.0.0.11:6443", "10.0.0.12:8443"])));
    let supervisor = addresses(&["10.0.0.13:9999", "10.0.0.11:9345", "10.0.0.12:9345"]);
    assert_eq!(pools[1], (true, &supervisor));
    assert_eq!(pools[2], (false, &addresses(&["10.0.0.14:6443"])));
    assert_eq!(settings.frontends[2].addresses, [], "every endpoint, whoever comes");

    let plan = config.plan(Vec::new());
    assert_eq!(plan.vip_frontend.as_deref(), Some("kubernetes"));
    assert_eq!(plan.frontends.into_iter().collect::<Vec<_>>(), addresses(&["127.0.0.1:9345"]));
    assert_eq!(plan.hosts.len(), 2);
    let fixed = plan.pools.iter().map(|pool| pool.hosts.map(|hosts| hosts.fixed));
    assert_eq!(fixed.collect::<Vec<_>>(), [Some(None), Some(Some(9345)), None]);
    // The file of a control plane is not the configuration's: a change of it asks for no reload.
    assert_eq!(config.sources().count(), 0);
}

#[test]
fn pools_with_the_hosts_of_a_control_plane_borrow_the_credentials_that_the_cluster_is_asked_with() {
    let [ca, token] = ["ca", "token"].map(|text| Some(Material::Inline(text.into())));
    let server_name = Some("kubernetes".to_owned());
    let identity = Credentials {
        authority: ca.clone(),
        server_name,
        token: token.clone(),
        ..Credentials::default()
    };
    let text = |kubernetes: &str| {
        format!(
            "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
controlPlane: {{hosts: ['10.0.0.11'], {kubernetes}}}
frontends:
  - {{name: nodes, kind: node-address, pool: apiserver}}
pools:
  - {{name: apiserver, probe: {{serverName: other}}}}
  - {{name: supervisor, profile: supervisor}}
  - {{name: more, profile: custom, port: 1, probe: {{kind: tcp}}}}
  - {{name: blind, profile: supervisor, probe: {{insecureSkipVerify: true}}}}
  - {{name: apart, kubeconfig: /other, port: 1}}
"
        )
    };
    let discover = |wanted: Wanted<'_>| {
        let mut found = Discovered { credentials: identity.clone(), ..Discovered::default() };
        if let Wanted::Kubeconfig { .. } = wanted {
            found.credentials.authority = Some(Material::Inline(b"other".to_vec()));
        }
        Ok(found)
    };
    let parse = |text: &str| Config::parse(Path::new("agent.yaml"), text, &discover);
    let config = parse(&text("kubernetes: {kubeconfig: /k}")).expect("good");
    let of = |pool: usize| config.pools[pool].check.credentials.clone();
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(of(0), Credentials { server_name: named("other"), ..identity.clone() });
    // Nobody but an API server knows the agent, nor carries its name.
    assert_eq!(of(1), Credentials { authority: ca, ..Credentials::default() });
    assert_eq!(of(2), Credentials::default());
    assert_eq!(of(3), Credentials { insecure_skip_verify: true, ..Credentials::default() });
    assert_eq!(of(4).authority, Some(Material::Inline(b"other".to_vec())));
    let borrows: Vec<_> = config.pools.iter().map(|pool| pool.borrows).collect();
    assert_eq!(borrows, [true, true, false, false, false]);
    assert_eq!(
        config.sources().collect::<Vec<_>>(),
        ["/other", "/k"],
        "a change asks for a reload"
    );

    let refused = parse(&text("files: [/f]")).expect_err("nobody to trust").to_string();
    assert!(refused.contains("pools[0].probe.caFile: missing"), "{refused}");
    let unusable = |_: Wanted<'_>| Err("/k: no good".to_owned());
    let refused = Config::parse(Path::new("agent.yaml"), &text("kubernetes: {}"), &unusable);
    let refused = refused.expect_err("unusable").to_string();
    assert!(
        refused.contains("pools[0].probe.caFile") && refused.contains("/k: no good"),
        "{refused}"
    );
}

#[test]
fn hosts_that_are_given_make_a_pool_that_does_not_change_by_itself() {
    let config = parse(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
controlPlane: {hosts: ['10.0.0.11', 'fd00::12']}
frontends: [{name: nodes, kind: node-address}]
pools: [{name: apiserver, probe: {insecureSkipVerify: true}}]
",
        &Discovered::default(),
    );
    assert!(!config.pools[0].discovered);
    let expected = addresses(&["10.0.0.11:6443", "[fd00::12]:6443"]);
    assert_eq!(config.settings().frontends[0].addresses, expected);
}

#[test]
fn rebalancing_is_on_as_soon_as_its_section_is_there() {
    let config = parse(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends:
  - {name: kubernetes, kind: vip, addresses: ['10.96.0.1:443']}
pools:
  - {name: apiserver, endpoints: ['10.0.0.11:6443'], rebalance: {}, drain: {closeAfter: off},
     probe: {insecureSkipVerify: true, sentinel: false}}
",
        &Discovered::default(),
    );
    let pool = &config.pools[0];
    assert_eq!(pool.rebalance, Some(RebalanceSettings::default()));
    assert_eq!((pool.health.drain_close_after, pool.health.sentinel), (None, false));
}

#[test]
fn the_journal_is_beside_the_table_unless_it_is_said_where() {
    let journal = |state: &str| {
        let text = format!(
            "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends: [{{name: kubernetes, kind: vip, addresses: ['10.96.0.1:443']}}]
pools: [{{name: apiserver, endpoints: ['10.0.0.11:6443'], probe: {{insecureSkipVerify: true}}}}]
state: {{{state}}}
"
        );
        let journal = parse(&text, &Discovered::default()).state.journal;
        journal.map(|path| path.display().to_string())
    };
    assert_eq!(journal("file: /v/t").as_deref(), Some("/v/journal.jsonl"));
    assert_eq!(journal("file: /v/t, journal: /w/j").as_deref(), Some("/w/j"));
    assert_eq!(journal("file: off, journal: /w/j").as_deref(), Some("/w/j"));
    assert_eq!(journal("file: /v/t, journal: off"), None);
}

#[test]
fn a_kubeconfig_is_read_for_its_pool_and_with_the_table_that_is_kept() {
    let discover = |wanted: Wanted<'_>| {
        let Wanted::Kubeconfig { file, pool, known } = wanted else { unreachable!("{wanted:?}") };
        Err(format!("{} {pool} {known:?}", file.display()))
    };
    let text = "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends: [{name: kubernetes, kind: vip, addresses: ['10.96.0.1:443']}]
pools: [{name: apiserver, kubeconfig: /k}]
state: {file: /t}
";
    let error = Config::parse(Path::new("agent.yaml"), text, &discover).expect_err("as told");
    assert!(error.to_string().ends_with("/k apiserver Some(\"/t\")"), "{error}");
}
