//! The image in a container on a node of the lab, with the rights that the manifests give it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use nllb_agent::status::SystemCalls;
use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Configuration, Lab, cgroup, netns};

use crate::{both, has_or_say, manifests, serves, succeed, write_script};

#[test]
fn with_the_daemon_set_s_rights_the_image_balances_and_ends_connections_in_pods() {
    if !has_or_say("podman") || !has_or_say("buildah") {
        return;
    }
    let Some(lab) = Lab::builder().pods(1).build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&Configuration::of(&lab)).expect("written");
    let mut podman = Podman::new(&lab);
    podman.option("--cap-drop=all");
    for capability in manifests::capabilities() {
        podman.option(&format!("--cap-add={capability}"));
    }
    agent.run_program(&podman.script(&lab));
    let status = agent.restart().expect("started");
    assert_eq!(status.closing.unreached, Vec::<String>::new(), "{:?}", status.closing);
    assert_eq!(status.confinement.system_calls, SystemCalls::Filtered);
    assert_eq!(status.confinement.problems, Vec::<String>::new());
    let kept = status.confinement.capabilities.iter().map(|name| name.trim_start_matches("CAP_"));
    let kept: BTreeSet<_> = kept.map(str::to_owned).collect();
    assert_eq!(kept, manifests::capabilities().into_iter().collect());
    serves(&lab);
    agent.terminate().expect("ended");
}

#[test]
fn the_static_program_finds_names_in_the_hosts_file_and_by_dns() {
    let Some(lab) = Lab::builder().control_planes(1).build_or_skip() else { return };
    if !has_or_say("podman") || !has_or_say("buildah") {
        return;
    }
    let server = lab.control_plane(0).tls();
    let kubeconfig = lab.directory().join("kubeconfig");
    let configuration = format!(
        "apiVersion: nllb.dev/v1alpha1\nkind: AgentConfiguration\n\
         frontends: [{{ name: a, kind: vip, addresses: [\"{VIP_V4}:443\"] }}]\n\
         pools: [{{ name: a, kubeconfig: {}, probe: {{ insecureSkipVerify: true }} }}]\n",
        kubeconfig.display()
    );
    let file = lab.directory().join("named.yaml");
    fs::write(&file, configuration).expect("written");
    // Which takes a while, and the name server does not wait for ever.
    archive();
    let _dns = name_server(&lab, server.ip().to_string().parse().expect("IPv4"));
    for (name, known) in
        [("in-hosts.example", true), ("by-dns.example", true), ("nowhere.example", false)]
    {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{ name: c, cluster: {{ server: \"https://{name}:{}\" }} }}]\n\
             contexts: [{{ name: c, context: {{ cluster: c, user: u }} }}]\n\
             users: [{{ name: u, user: {{}} }}]\n",
            server.port()
        );
        fs::write(&kubeconfig, text).expect("written");
        let mut podman = Podman::new(&lab);
        podman.option(&format!("--add-host=in-hosts.example:{}", server.ip()));
        podman.option("--dns=127.0.0.53");
        let script = podman.script(&lab);
        let check = || Command::new(script).arg("check-config").arg(&file).output();
        let output = netns::run_in(lab.node(0).netns(), check).expect("a namespace").expect("run");
        let said = both(&output);
        assert_eq!(output.status.success(), known, "{name}: {said}");
        let expected = if known { "ok, 1 frontend, 1 pool, 1 endpoint" } else { name };
        assert!(said.contains(expected), "{name}: {said}");
    }
}

#[test]
fn the_image_says_what_is_in_it() {
    if !nllb_lab::lab::available_or_say() || !has_or_say("buildah") {
        return;
    }
    let archive = archive();
    let directory = tempfile::tempdir().expect("a directory");
    let mut tar = Command::new("tar");
    succeed(tar.arg("-xf").arg(archive).arg("-C").arg(directory.path()));
    let blobs = directory.path().join("blobs/sha256");
    let blobs: Vec<_> = fs::read_dir(&blobs).expect("blobs").flatten().map(|b| b.path()).collect();
    let documents = blobs.iter().filter_map(|blob| {
        serde_json::from_slice::<serde_json::Value>(&fs::read(blob).expect("readable")).ok()
    });
    let config = documents.into_iter().find(|document| document.get("rootfs").is_some());
    let config = config.expect("the image's configuration")["config"].clone();
    assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/bin/nllb"]));
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    let sbom = labels["dev.nllb.sbom"].as_str().expect("a path").trim_start_matches('/');
    let layer = blobs.iter().find(|blob| listing(blob).contains(sbom)).expect("a layer");
    let files: BTreeSet<_> = listing(layer).lines().map(str::to_owned).collect();
    let files: Vec<_> = files.iter().filter(|file| !file.ends_with('/')).collect();
    let expected = [
        "etc/nsswitch.conf",
        "usr/bin/nllb",
        "usr/share/doc/nllb/LICENSE-APACHE",
        "usr/share/doc/nllb/LICENSE-GPL2",
        "usr/share/doc/nllb/LICENSE-MIT",
        sbom,
    ];
    assert_eq!(files, expected);
    let mut tar = Command::new("tar");
    let text = succeed(tar.arg("-xzOf").arg(layer).arg(sbom));
    let sbom: serde_json::Value = serde_json::from_str(&text).expect("a document");
    let names = sbom["components"].as_array().expect("a list");
    for package in ["aya", "aya-ebpf", "nllb-core", "rustls", "tokio"] {
        assert!(names.iter().any(|component| component["name"] == package), "{package}");
    }
}

fn listing(archive: &Path) -> String {
    let output = Command::new("tar").arg("-tzf").arg(archive).output().expect("started");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The image, built once.
fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nllb.tar");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        println!("{}", succeed(cargo.args(["xtask", "image", "--dev", "-o"]).arg(&path)));
        path
    })
}

/// A command line of podman. Its own filter of system calls follows the same rules as those that the runtimes
/// of Kubernetes have for `RuntimeDefault`.
struct Podman {
    text: String,
}

impl Podman {
    /// With the places that the DaemonSet has from its host. Podman keeps all of its own in the lab's
    /// directory.
    fn new(lab: &Lab) -> Self {
        let own = lab.directory().join("podman");
        let cgroups = cgroup::mount_point().expect("a mount");
        let storage = format!(
            "--root {0}/root --runroot {0}/run --storage-driver vfs --cgroup-manager cgroupfs",
            own.display()
        );
        let lab = lab.directory().display();
        let text = format!(
            "#!/bin/sh\nset -e\n\
             if [ -z \"$NLLB_APART\" ]; then exec env NLLB_APART=1 unshare --mount \"$0\" \"$@\"; fi\n\
             mount --make-rslave /\n\
             # Podman takes a hybrid hierarchy for one of version 1.\n\
             mount --bind {cgroups} /sys/fs/cgroup\n\
             image=$(podman {storage} load --quiet --input {archive} | sed 's/.*: //')\n\
             exec podman {storage} run --rm --quiet --network=host --cgroups=disabled \
             --ulimit=nofile=4096:4096 --ulimit=nproc=1000:1000 \
             --read-only --security-opt=no-new-privileges \
             --volume={lab}:{lab} --volume=/sys/fs/bpf:/sys/fs/bpf \
             --volume=/sys/fs/cgroup:{cgroups}:ro --volume=/run/netns:/run/netns:ro,rslave",
            cgroups = cgroups.display(),
            archive = archive().display(),
        );
        Self { text }
    }

    fn option(&mut self, option: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, " {option}");
    }

    fn script(self, lab: &Lab) -> PathBuf {
        let path = lab.directory().join("podman.sh");
        write_script(&path, &format!("{} \"$image\" \"$@\"\n", self.text));
        path
    }
}

/// Answers for `by-dns.example` on the node, until nobody asks any more.
fn name_server(lab: &Lab, address: std::net::Ipv4Addr) -> thread::JoinHandle<()> {
    let bind = || UdpSocket::bind("127.0.0.53:53").expect("bound");
    let socket = netns::run_in(lab.node(0).netns(), bind).expect("a namespace");
    socket.set_read_timeout(Some(Duration::from_secs(600))).expect("limited");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = answer(&buffer[..length], address);
            // Whoever asked may be gone.
            let _ = socket.send_to(&answer, from);
        }
    })
}

/// An answer with one address, none for another type, or "no such name".
fn answer(question: &[u8], address: std::net::Ipv4Addr) -> Vec<u8> {
    let name = b"\x06by-dns\x07example\x00";
    let asked = &question[12..];
    let is_known = asked.starts_with(name);
    let is_a = is_known && asked[name.len()..].starts_with(&[0, 1]);
    let end = 12 + asked.iter().position(|byte| *byte == 0).expect("a name") + 5;
    let code = if is_known { 0 } else { 3 };
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
