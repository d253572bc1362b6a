//! A support bundle has no secret in it, wherever secrets may be on a node.

use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// Planted all over; none of them may come out.
const SECRETS: [&str; 12] = [
    "token-file-5ecret-01",
    "kubeconfig-t0ken-02",
    "kubeconfig-passw0rd-03",
    "a3ViZWNvbmZpZy1rZXktMDQ",
    "exec-env-5ecret-05",
    "comment-5ecret-06",
    "unknown-value-5ecret-07",
    "unknown-key-5ecret-08",
    "url-passw0rd-09",
    "environment-5ecret-10",
    "a2V5LWZpbGUtc2VjcmV0MTE",
    "MIIEinlinekeysecret12",
];

const CONFIG: &str = "# comment-5ecret-06
apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends: [{name: kubernetes, kind: vip, addresses: ['10.96.0.1:443']}]
pools:
  - name: apiserver # rotated from comment-5ecret-06
    endpoints: ['127.0.0.1:$PORT']
    kubeconfig: $DIR/kubeconfig
    probe: {bearerTokenFile: $DIR/token, insecureSkipVerify: true}
datapath: {bpffs: $DIR/bpffs}
admin: {socket: $DIR/admin.sock}
state: {file: $DIR/table.json}
";
const UNKNOWN: &str = "token: unknown-value-5ecret-07
unknown-key-5ecret-08: {a: unknown-value-5ecret-07}
inline: |
  -----BEGIN PRIVATE KEY-----
  MIIEinlinekeysecret12
  -----END PRIVATE KEY-----
";
const KUBECONFIG: &str = "apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: 'https://$USER127.0.0.1:$PORT'}}]
users:
  - name: a
    user:
      token: kubeconfig-t0ken-02
  - name: b
    user:
      password: kubeconfig-passw0rd-03
      client-key-data: a3ViZWNvbmZpZy1rZXktMDQ
      exec: {command: x, env: [{name: A, value: exec-env-5ecret-05}]}
";

#[test]
fn no_planted_secret_is_in_the_bundle() {
    // Nobody listens there once it is dropped.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("a port").port().to_string();
    for (name, more, user) in [
        ("good", "", ""),
        ("unknown-keys", UNKNOWN, ""),
        ("password", "", "admin:url-passw0rd-09@"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let text = text.replace("$DIR", &dir.path().display().to_string());
            let text = text.replace("$PORT", &port).replace("$USER", user);
            fs::write(dir.path().join(name), text).expect("written");
        };
        write("agent.yaml", &format!("{CONFIG}{more}"));
        write("kubeconfig", KUBECONFIG);
        write("token", "token-file-5ecret-01\n");
        let output = doctor(dir.path());
        let out = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(10), "{name}: {output:?}");
        assert!(out.starts_with("HOST\n"), "{out}");
        let parts = unpack(&dir.path().join("bundle.tar.gz"));
        assert!(parts.len() >= 5, "{parts:?}");
        for (part, text) in &parts {
            println!("{part}: {} bytes", text.len());
            for secret in SECRETS {
                assert!(
                    !part.contains(secret) && !text.contains(secret),
                    "{secret} in {part}: {text}"
                );
            }
        }
        let configuration = &parts.iter().find(|(part, _)| part.ends_with("configuration.json"));
        let (_, text) = configuration.expect("a configuration");
        assert!(text.contains(&format!("127.0.0.1:{port}")), "what is no secret is there: {text}");
    }
}

fn doctor(dir: &Path) -> Output {
    let nllb = Command::new(env!("CARGO_BIN_EXE_nllb"))
        .args(["doctor", "--config"])
        .arg(dir.join("agent.yaml"))
        .arg("--bundle")
        .arg(dir.join("bundle.tar.gz"))
        .env("CLUSTER_API_TOKEN", "environment-5ecret-10")
        .output();
    nllb.expect("it runs")
}

/// Every member of an archive, by name.
fn unpack(file: &Path) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(file).expect("a bundle")));
    let entries = archive.entries().expect("an archive");
    let parts = entries.map(|entry| {
        let mut entry = entry.expect("a member");
        let name = entry.path().expect("a path").display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        (name, text)
    });
    parts.collect()
}
