//! Every file in `tests/bad_config` is refused with the one line that its first line gives; and what
//! the documents show is accepted.
//!
//! `UPDATE_EXPECTED=1 cargo test -p nllb-agent --test bad_config` writes the first lines anew.
//! `$DIR` in a file stands for a directory with the files that `fixtures` makes.

use nllb_agent::driver::{Unresolved, load};
use std::fs;
use std::path::{Path, PathBuf};

const MARK: &str = "# refused: ";

#[test]
fn every_bad_configuration_is_refused_with_one_clear_line() {
    let dir = tempfile::tempdir().expect("a directory");
    fixtures(dir.path());
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 24, "{} cases", cases.len());
    for case in cases {
        let text = fs::read_to_string(&case).expect("readable");
        let (first, body) = text.split_once('\n').expect("a first line");
        let line = refusal(dir.path(), &text);
        let expected = format!("{MARK}{line}");
        if update {
            fs::write(&case, format!("{expected}\n{body}")).expect("writable");
        } else if first != expected {
            wrong.push(format!("{}\n  wants {first}\n  gives {expected}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error =
        load(Path::new("/nowhere/agent.yaml"), Unresolved::Refuse).expect_err("no such file");
    assert_eq!(
        error.to_string(),
        "/nowhere/agent.yaml: cannot be read (No such file or directory (os error 2)): \
         check the path and its permissions"
    );
}

#[test]
fn the_documents_examples_are_what_the_agent_reads() {
    let dir = tempfile::tempdir().expect("a directory");
    fixtures(dir.path());
    let document = include_str!("../../docs/configuration.md");
    let examples = document.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut count = 0;
    for example in examples {
        let name = dir.path().display().to_string();
        let text = example
            .replace("/etc/kubernetes/pki/ca.crt", &format!("{name}/ca.crt"))
            .replace("/etc/kubernetes/kubelet.conf", &format!("{name}/kubeconfig-good"))
            .replace("/var/lib/nllb/token", &format!("{name}/token"));
        let file = dir.path().join("agent.yaml");
        fs::write(&file, text).expect("writable");
        load(&file, Unresolved::Refuse).expect("as documented");
        count += 1;
    }
    assert!(count >= 2, "{count} examples");
}

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_config");
    let mut cases: Vec<PathBuf> = fs::read_dir(dir)
        .expect("the directory of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    cases.sort();
    cases
}

/// The error with the temporary directory cut out.
fn refusal(dir: &Path, text: &str) -> String {
    let name = dir.display().to_string();
    let file = dir.join("agent.yaml");
    fs::write(&file, text.replace("$DIR", &name)).expect("writable");
    let line = match load(&file, Unresolved::Refuse) {
        Ok(_) => "nothing, it is accepted".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(!line.contains('\n'), "more than one line: {line}");
    line.replace(&format!("{name}/agent.yaml"), "agent.yaml").replace(&name, "$DIR")
}

fn fixtures(dir: &Path) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    let certificate = params.self_signed(&key).expect("a certificate");
    let write = |name: &str, content: &str| fs::write(dir.join(name), content).expect("writable");
    write("ca.crt", &certificate.pem());
    write("client.crt", &certificate.pem());
    write("client.key", &key.serialize_pem());
    write("readme.txt", "no certificate here\n");
    write("empty", "\n");
    write("token", "secret\n");
    write("token.new", "secret\n");
    std::os::unix::fs::symlink("ca.crt", dir.join("link-to-ca.crt")).expect("a link");
    write(
        "kubeconfig-good",
        "clusters: [{name: a, cluster: {server: 'https://10.0.0.13:6443', certificate-authority: ca.crt}}]\n",
    );
    write("kubeconfig-no-clusters", "clusters: []\n");
    write("kubeconfig-http", "clusters: [{name: a, cluster: {server: 'http://10.0.0.1:6443'}}]\n");
    write(
        "kubeconfig-insecure",
        "clusters: [{name: a, cluster: {server: 'https://10.0.0.1', insecure-skip-tls-verify: true}}]\n",
    );
    write("kubeconfig-not-yaml", "clusters: [\n");
    write(
        "kubeconfig-no-ca-file",
        "clusters: [{name: a, cluster: {server: 'https://10.0.0.1:6443', certificate-authority: pki/ca.crt}}]\n",
    );
}
