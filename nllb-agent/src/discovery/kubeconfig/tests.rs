//! Kubeconfigs as distributions write them, and broken ones.

use super::*;

/// A CA and the same in base64.
fn authority() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    let data = encode(pem.as_bytes());
    (pem, data)
}

fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0usize, |word, byte| word << 8 | usize::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let symbol = ALPHABET[word >> (18 - 6 * place) & 63];
            out.push(if place <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    out
}

fn line(text: &str) -> String {
    let problem = read(text, Path::new("/nowhere/kubeconfig"), &|_| Vec::new(), resolve)
        .expect_err("a bad kubeconfig");
    problem.to_string()
}

#[test]
fn every_clusters_server_is_an_endpoint_and_the_current_context_gives_the_credentials() {
    let (ca, data) = authority();
    let text = format!(
        "apiVersion: v1
kind: Config
current-context: b
clusters:
- name: one
  cluster: {{server: 'https://10.0.0.11:6443'}}
- name: two
  cluster: {{server: 'https://[fd00::12]:6443/', certificate-authority-data: {data}, tls-server-name: kubernetes}}
- name: three
  cluster: {{server: 'https://10.0.0.13', extensions: []}}
- name: again
  cluster: {{server: 'https://10.0.0.11:6443'}}
contexts:
- name: a
  context: {{cluster: one, user: nobody}}
- name: b
  context: {{cluster: two, user: admin}}
users:
- name: nobody
  user: {{token: wrong}}
- name: admin
  user: {{token: secret, client-certificate-data: Zm9v, client-key-data: YmFy}}
"
    );
    let read = read(&text, Path::new("/etc/kubernetes/config"), &|_| Vec::new(), resolve)
        .expect("a good kubeconfig");
    let endpoints: Vec<String> = read.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["10.0.0.11:6443", "[fd00::12]:6443", "10.0.0.13:443"]);
    let identity = ClientIdentity {
        certificate: Material::Inline(b"foo".to_vec()),
        key: Material::Inline(b"bar".to_vec()),
    };
    assert_eq!(
        read.credentials,
        Credentials {
            authority: Some(Material::Inline(ca.into_bytes())),
            server_name: Some("kubernetes".to_owned()),
            client: Some(identity),
            token: Some(Material::Inline(b"secret".to_vec())),
            insecure_skip_verify: false,
        }
    );
}

#[test]
fn relative_files_start_at_the_kubeconfig_and_the_token_file_wins() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("ca.crt"), authority().0).expect("written");
    let text = "clusters: [{name: a, cluster: {server: 'https://1.2.3.4:1', certificate-authority: ca.crt}}]
users: [{name: u, user: {token: old, tokenFile: token}}]
";
    std::fs::write(dir.path().join("config"), text).expect("written");
    let loaded = load(&dir.path().join("config"), &|_| Vec::new()).expect("a good kubeconfig");
    let Credentials { authority, token, .. } = loaded.credentials;
    assert_eq!(authority, Some(Material::File(dir.path().join("ca.crt"))));
    assert_eq!(token, Some(Material::File(dir.path().join("token"))));
}

#[test]
fn what_is_wrong_is_named_by_key_with_what_to_do() {
    assert_eq!(
        line("clusters: []"),
        "clusters: the list is empty: name a kubeconfig that has a cluster"
    );
    assert_eq!(
        line("clusters: [{name: a, cluster: {server: 'http://1.2.3.4:1'}}]"),
        "clusters[0].cluster.server: \"http://1.2.3.4:1\" is not a server: write it like https://10.0.0.11:6443"
    );
    assert_eq!(
        line(
            "clusters: [{name: a, cluster: {server: 'https://1.2.3.4:1', certificate-authority-data: '*'}}]"
        ),
        "clusters[0].cluster.certificate-authority-data: this is not base64: copy the data again"
    );
    assert_eq!(
        line(
            "clusters: [{name: a, cluster: {server: 'https://1.2.3.4:1', certificate-authority-data: Zm9v}}]"
        ),
        "clusters[0].cluster.certificate-authority-data: no certificate in PEM is there: copy the cluster's CA again"
    );
    assert_eq!(
        line(
            "clusters: [{name: a, cluster: {server: 'https://1.2.3.4:1', certificate-authority: ca}}]"
        ),
        "clusters[0].cluster.certificate-authority: \"/nowhere/ca\" cannot be read (No such file or directory (os error 2)): check the path and its permissions"
    );
    assert_eq!(
        line(
            "clusters: [{name: a, cluster: {server: 'https://1.2.3.4:1'}}]\nusers: [{name: u, user: {client-key-data: Zm9v}}]"
        ),
        "users[0].user.client-certificate: missing: a client certificate and its key go together"
    );
    assert_eq!(
        line("clusters:\n- name: a\n  cluster: 7\n"),
        "line 3: clusters[0].cluster: \"7\" is not a mapping: write one"
    );
}

#[test]
fn a_server_whose_name_is_not_resolved_is_named() {
    // An empty label fails in the resolver's own syntax check: no question leaves the host.
    let line = line("clusters: [{name: a, cluster: {server: 'https://a..b:6443'}}]");
    let start = "clusters[0].cluster.server: \"https://a..b:6443\" cannot be resolved (";
    assert!(line.starts_with(start), "{line}");
    assert!(line.ends_with("): use an IP address, or fix DNS"), "{line}");
}

#[test]
fn known_addresses_stand_in_for_a_server_that_nobody_resolves() {
    let text = "clusters:
- {name: a, cluster: {server: 'https://a..b:6443'}}
- {name: b, cluster: {server: 'https://10.0.0.13:6443'}}
";
    let known = |port| match port {
        6443 => vec!["10.0.0.11:6443".parse().expect("an address")],
        _ => Vec::new(),
    };
    let Kubeconfig { endpoints, unresolved, .. } =
        read(text, Path::new("/etc/k"), &known, resolve).expect("good enough");
    let addresses: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.11:6443", "10.0.0.13:6443"]);
    let [unresolved] = &unresolved[..] else { panic!("one server: {unresolved:?}") };
    let start = "/etc/k: clusters[0].cluster.server: \"https://a..b:6443\" cannot be resolved (";
    assert!(unresolved.to_string().starts_with(start), "{unresolved}");
    let text = text.replace("a..b:6443", "a..b");
    let error = read(&text, Path::new("/etc/k"), &known, resolve)
        .expect_err("nothing is known of port 443");
    assert!(matches!(error, KubeconfigProblem::Resolve { .. }), "{error}");
}

#[test]
fn the_identity_of_a_kubeconfig_needs_no_resolver_and_no_plug_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("kubeconfig");
    let (_, data) = authority();
    let with = |user: &str| {
        let text = format!(
            "clusters:
- name: one
  cluster: {{server: 'https://nobody.invalid', certificate-authority-data: {data}}}
users:
- name: admin
  user: {user}
"
        );
        std::fs::write(&file, text).expect("a file");
        identity(&file)
    };
    let credentials = with("{tokenFile: token}").expect("an identity");
    assert_eq!(credentials.token, Some(Material::File(directory.path().join("token"))));
    for (user, key) in [
        ("{exec: {command: aws, args: [eks]}}", "exec"),
        ("{auth-provider: {name: gcp}}", "auth-provider"),
    ] {
        let line = with(user).expect_err("a plug-in").to_string();
        let expected = format!("users[0].user.{key}: the agent runs no plug-ins: use a kubeconfig");
        assert!(line.contains(&expected) && line.starts_with(&*file.to_string_lossy()), "{line}");
    }
}

#[test]
fn an_error_is_one_line_whatever_the_file_holds() {
    let text = "clusters: [{name: a, cluster: {server: \"https://a\\e[2J\\n@b\"}}]";
    let problem = read(text, Path::new("/k"), &|_| Vec::new(), resolve).expect_err("no server");
    let error = KubeconfigError { file: "/k".into(), problem };
    assert_eq!(
        error.to_string(),
        "/k: clusters[0].cluster.server: \"https://a\\u{1b}[2J\\n@b\" is not a server: \
         write it like https://10.0.0.11:6443"
    );
}
