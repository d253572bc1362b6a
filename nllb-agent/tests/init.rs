//! Every tree in `tests/init` leads to the configuration and to the words that stand beside it; and
//! `nllb check-config` takes the configuration as it is.
//!
//! A tree is a text file: `-- PATH --` begins a file of the host. Before the path `authority`, `certificate` (with the
//! addresses in it behind the path), `pair` (PATH.crt and PATH.key) and `identity` (both in one file) have one made;
//! `link PATH TARGET` is a symbolic link, `directory PATH` is one. `$CA`, `$CERTIFICATE` and `$KEY` stand for PEM in base64. A first line
//! `args:` has arguments.
//!
//! `UPDATE_EXPECTED=1 cargo test -p nllb-agent --test init` writes what is expected anew.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nllb_agent::init::{Tree, look};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[test]
fn every_tree_leads_to_a_configuration_that_is_accepted() {
    let cases = cases();
    assert!(cases.len() >= 12, "{} cases", cases.len());
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut wrong = Vec::new();
    for case in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let args = plant(&case, dir.path());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = init(dir.path(), &args);
        let config = String::from_utf8(output.stdout).expect("text");
        let said = String::from_utf8(output.stderr).expect("text");
        let said = format!("{said}exit code {}\n", output.status.code().expect("an exit code"));
        for (extension, given) in [("yaml", &config), ("said", &said)] {
            let file = case.with_extension(extension);
            if update && !given.is_empty() {
                fs::write(&file, given).expect("writable");
            }
            let expected = fs::read_to_string(&file).unwrap_or_default();
            if *given != expected {
                wrong.push(format!("{}\n{given}", file.display()));
            }
        }
        if !config.is_empty() {
            let checked = check_config(dir.path(), &config);
            let line = String::from_utf8_lossy(&checked.stderr).into_owned();
            if !checked.status.success() {
                wrong.push(format!("{}: {line}", case.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_is_for_root_only_and_never_replaced_unless_told_to() {
    let dir = tempfile::tempdir().expect("a directory");
    plant(&data("k3s-agent.txt"), dir.path());
    let file = dir.path().join("agent.yaml");
    let path = file.to_str().expect("text");
    let run = |args: &[&str]| {
        let output = init(dir.path(), &[&["-o", path], args].concat());
        (output.status.code(), String::from_utf8(output.stderr).expect("text"), output.stdout)
    };
    let (code, said, out) = run(&[]);
    assert_eq!((code, out.as_slice()), (Some(0), &b""[..]));
    assert!(said.ends_with(&format!("\nwrote {path}\n")), "{said}");
    let written = fs::read(&file).expect("written");
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);

    fs::write(&file, "mine").expect("written");
    let (code, said, _) = run(&[]);
    assert_eq!(code, Some(7));
    let line =
        format!("nllb: {path} is there already: name another file, or replace it with --force\n");
    assert!(said.ends_with(&line), "{said}");
    assert_eq!(fs::read(&file).expect("still there"), b"mine");

    assert_eq!(run(&["--force"]).0, Some(0));
    assert_eq!(fs::read(&file).expect("written"), written);
    let left: Vec<_> = fs::read_dir(dir.path())
        .expect("a directory")
        .map(|entry| entry.expect("one").file_name())
        .collect();
    assert_eq!(
        left.iter().filter(|name| name.to_string_lossy().starts_with("agent.yaml")).count(),
        1,
        "{left:?}"
    );

    let output = init(dir.path(), &["-o", "/nowhere/agent.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("/nowhere/agent.yaml cannot be written (No such file"), "{said}");
}

#[test]
fn none_and_several_distributions_are_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let last = |output: &Output| {
        let said = String::from_utf8(output.stderr.clone()).expect("text");
        (output.status.code(), said.lines().last().unwrap_or_default().to_owned())
    };
    let (code, line) = last(&init(dir.path(), &[]));
    assert_eq!(code, Some(8));
    assert!(
        line.starts_with("nllb: no Kubernetes distribution was found (none of /var/lib/k0s/"),
        "{line}"
    );

    plant(&data("rke2-agent.txt"), dir.path());
    plant(&data("kubeadm-worker.txt"), dir.path());
    let (code, line) = last(&init(dir.path(), &[]));
    assert_eq!(code, Some(9));
    assert_eq!(
        line,
        "nllb: more than one distribution was found: rke2 (/var/lib/rancher/rke2/agent/kubelet.kubeconfig), kubeadm \
         (/etc/kubernetes/kubelet.conf): say which with --distribution"
    );
    let title = |args: &[&str]| {
        let said = String::from_utf8(init(dir.path(), args).stderr).expect("text");
        said.lines().next().unwrap_or_default().to_owned()
    };
    assert!(title(&["--distribution", "kubeadm"]).starts_with("found: kubeadm worker ("));
    let (code, line) = last(&init(dir.path(), &["--distribution", "talos"]));
    assert_eq!(code, Some(8));
    assert!(
        line.starts_with(
            "nllb: talos was not found (none of /etc/kubernetes/kubeconfig-kubelet): "
        ),
        "{line}"
    );
    // Of two, the one that runs.
    fs::create_dir_all(dir.path().join("sys/fs/cgroup/system.slice/rke2-agent.service"))
        .expect("made");
    assert!(title(&[]).starts_with("found: RKE2 agent ("));
}

#[test]
fn a_file_that_is_missing_or_holds_nonsense_stops_nothing() {
    for case in cases() {
        let dir = tempfile::tempdir().expect("a directory");
        plant(&case, dir.path());
        for file in files(dir.path()) {
            let content = fs::read(&file).expect("readable");
            for nonsense in [None, Some("{[\0"), Some("- - -\n"), Some("a: {b: [c]}\n")] {
                match nonsense {
                    None => fs::remove_file(&file).expect("removed"),
                    Some(text) => fs::write(&file, text).expect("written"),
                }
                let tree = Tree::open(dir.path()).expect("a tree");
                if let Ok(plan) = look(&tree, None, &[]) {
                    assert!(plan.render().contains("\nfrontends:\n"), "{}", file.display());
                    assert!(!plan.hosts.is_empty() || !plan.names.is_empty(), "{}", file.display());
                }
            }
            fs::write(&file, content).expect("restored");
        }
    }
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .flat_map(|entry| match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn the_documents_show_what_it_says() {
    let documents = [
        ("k0s", "k0s-worker-with-nllb.txt"),
        ("k3s", "k3s-agent.txt"),
        ("rke2", "rke2-agent.txt"),
        ("microk8s", "microk8s-worker.txt"),
        ("kubeadm", "kubeadm-worker.txt"),
        ("talos", "talos-control-plane.txt"),
    ];
    for (document, tree) in documents {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../docs/distributions/{document}.md"));
        let text = fs::read_to_string(&file).expect("the document");
        let (_, shown) = text.split_once("# nllb init ").expect("the command");
        let (command, shown) = shown.split_once('\n').expect("its output");
        let (shown, _) = shown.split_once("# nllb check-config").expect("the next command");

        let dir = tempfile::tempdir().expect("a directory");
        plant(&data(tree), dir.path());
        let written = dir.path().join("agent.yaml").display().to_string();
        let command =
            command.replace("--root /host ", "").replace("/etc/nllb/agent.yaml", &written);
        let output = init(dir.path(), &command.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(said.replace(&written, "/etc/nllb/agent.yaml"), shown, "{}", file.display());
    }
}

#[test]
fn a_root_that_is_none_and_a_distribution_that_is_none_are_refused() {
    let said = |root: &str, args: &[&str]| {
        let output = init(Path::new(root), args);
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let (code, line) = said("/nowhere", &[]);
    assert_eq!(code, Some(2));
    assert!(line.starts_with("nllb: --root /nowhere: No such file or directory"), "{line}");
    let (code, line) = said("/", &["--distribution", "k8s"]);
    assert_eq!(code, Some(2));
    assert!(line.contains("use auto, k0s, k3s, rke2, microk8s, kubeadm, talos"), "{line}");
}

fn nllb() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nllb"))
}

fn init(root: &Path, args: &[&str]) -> Output {
    nllb().arg("init").arg("--root").arg(root).args(args).output().expect("run")
}

/// Checks the configuration against the tree: what it names is below the directory.
fn check_config(root: &Path, config: &str) -> Output {
    let prefix = root.display().to_string();
    let keys = ["caFile", "clientCertificateFile", "clientKeyFile", "kubeconfig"];
    let named =
        |text: String, key: &&str| text.replace(&format!("{key}: /"), &format!("{key}: {prefix}/"));
    let text = keys.iter().fold(config.to_owned(), named);
    let file = root.join("agent.yaml");
    fs::write(&file, text).expect("written");
    nllb().arg("check-config").arg(&file).output().expect("run")
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/init").join(name)
}

fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir(data("")).expect("the directory of trees");
    let mut cases: Vec<PathBuf> = files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    cases.sort();
    cases
}

/// Makes the files of a tree below a directory; gives the arguments.
fn plant(case: &Path, root: &Path) -> Vec<String> {
    let text = fs::read_to_string(case).expect("readable");
    let pki = Pki::new();
    let (first, rest) = if text.starts_with("-- ") {
        ("", text.as_str())
    } else {
        text.split_once('\n').expect("two lines")
    };
    for section in format!("\n{rest}").split("\n-- ").skip(1) {
        let (head, content) =
            section.split_once(" --\n").or_else(|| section.split_once(" --")).expect("a head");
        let words: Vec<&str> = head.split(' ').collect();
        pki.make(root, &words, content);
    }
    first.trim_start_matches("args:").split_whitespace().map(str::to_owned).collect()
}

struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { authority: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    /// Certificate and key.
    fn pair(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("parameters");
        (params.signed_by(&key, &self.authority).expect("a certificate").pem(), key.serialize_pem())
    }

    fn make(&self, root: &Path, words: &[&str], content: &str) {
        let write = |path: &str, content: &str| {
            let file = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().expect("a parent")).expect("made");
            fs::write(file, content).expect("written");
        };
        match words {
            ["authority", path] => write(path, &self.authority.pem()),
            ["certificate", path, names @ ..] => write(path, &self.pair(names).0),
            ["pair", path] => {
                let (certificate, key) = self.pair(&[]);
                write(&format!("{path}.crt"), &certificate);
                write(&format!("{path}.key"), &key);
            }
            ["identity", path] => {
                let (certificate, key) = self.pair(&[]);
                write(path, &format!("{certificate}{key}"));
            }
            ["directory", path] => {
                fs::create_dir_all(root.join(path.trim_start_matches('/'))).expect("made");
            }
            ["link", path, target] => {
                let link = root.join(path.trim_start_matches('/'));
                fs::create_dir_all(link.parent().expect("a parent")).expect("made");
                symlink(target, link).expect("linked");
            }
            [path] => {
                let (certificate, key) = self.pair(&[]);
                let content = content
                    .replace("$CA", &STANDARD.encode(self.authority.pem()))
                    .replace("$CERTIFICATE", &STANDARD.encode(certificate))
                    .replace("$KEY", &STANDARD.encode(key))
                    // What a kubeconfig names is found from there when the configuration is checked.
                    .replace(
                        "client-certificate: /",
                        &format!("client-certificate: {}/", root.display()),
                    )
                    .replace("client-key: /", &format!("client-key: {}/", root.display()))
                    .replace(
                        "certificate-authority: /",
                        &format!("certificate-authority: {}/", root.display()),
                    );
                write(path, &content);
            }
            other => panic!("no such section: {other:?}"),
        }
    }
}
