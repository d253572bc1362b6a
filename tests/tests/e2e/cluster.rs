//! A control plane of the real thing: an API server on each host of a lab, and one or three etcd members.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use hyper::Method;
use nllb_lab::etcd;
use nllb_lab::lab::{own_names, say_skipped, shared_names};
use nllb_lab::pki::Keys;
use nllb_lab::process::Program;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab, netns, tools};

use crate::account;
use crate::admin::Admin;
use crate::server::{Server, Shared};

/// The token of somebody who may do anything.
const ADMIN: &str = "e2e-admin";

/// What a cluster shall be like.
pub(crate) struct Shape {
    /// How many etcd members, one on each of the first hosts.
    pub(crate) members: usize,
    /// More flags of the server on the host of this number.
    pub(crate) flags: fn(usize) -> Vec<String>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { members: 1, flags: |_| Vec::new() }
    }
}

/// Servers that serve, and the account of the agent.
pub(crate) struct Cluster {
    servers: Vec<Server>,
    members: Vec<Program>,
    // After those who use it.
    pub(crate) lab: Lab,
}

impl Cluster {
    /// Three servers that are ready; says why and gives none where there is no real API server.
    pub(crate) fn build(shape: &Shape) -> Option<Self> {
        let Some(assets) = tools::assets() else {
            say_skipped(&format!("{} is not set", tools::ASSETS));
            return None;
        };
        let lab = Lab::builder().without_servers().build_or_skip()?;
        Some(Self::start(&assets, lab, shape).expect("a cluster"))
    }

    fn start(assets: &Path, lab: Lab, shape: &Shape) -> Result<Self> {
        let program = assets.join("kube-apiserver");
        ensure!(program.is_file(), "{} is not there", program.display());
        let hosts = lab.control_planes();
        let etcd = etcd::program().context("no etcd: neither in the assets nor in PATH")?;
        let member_hosts = &hosts[..shape.members];
        let member = |host| etcd::start(&etcd, &lab, host, member_hosts);
        let members = member_hosts.iter().map(member).collect::<Result<Vec<_>>>()?;

        let files = lab.directory().join("kube");
        fs::create_dir(&files)?;
        let client = lab.authority().client("kube-apiserver")?;
        let Keys { public, private } = Keys::new()?;
        let contents = [
            ("ca.crt", lab.authority().pem()),
            ("etcd.crt", &client.certificate),
            ("etcd.key", &client.key),
            ("account.pub", &public),
            ("account.key", &private),
            ("tokens.csv", &format!("{ADMIN},admin,admin,system:masters\n")),
        ];
        for (name, content) in contents {
            fs::write(files.join(name), content).with_context(|| name.to_owned())?;
        }
        let etcd = member_hosts.iter().map(etcd::url).collect::<Vec<_>>().join(",");
        let shared = Shared { program, etcd, files };
        let server = |(index, host)| {
            let names = [shared_names(), own_names(index)].concat();
            let identity = lab.authority().server("kube-apiserver", &names)?;
            Server::new(&shared, host, &identity, &(shape.flags)(index))
        };
        let servers = hosts.iter().enumerate().map(server).collect::<Result<Vec<_>>>()?;
        let mut cluster = Self { servers, members, lab };
        // One after another: the first of all writes what the others find.
        (0..cluster.servers.len()).try_for_each(|index| cluster.serve(index))?;
        account::create(&cluster.admin(0)?)?;
        Ok(cluster)
    }

    /// The addresses of all servers.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.lab.control_planes().iter().map(nllb_lab::lab::ControlPlane::tls).collect()
    }

    /// Asks one server as somebody who may do anything.
    pub(crate) fn admin(&self, server: usize) -> Result<Admin> {
        self.asker(server, ADMIN)
    }

    /// Asks one server with a token.
    pub(crate) fn asker(&self, server: usize, token: &str) -> Result<Admin> {
        let host = self.lab.control_plane(server);
        Admin::new(host.netns(), host.tls(), self.lab.authority().pem(), token)
    }

    /// The process of one server.
    pub(crate) fn server(&mut self, server: usize) -> &mut Server {
        &mut self.servers[server]
    }

    /// Starts a server that does not run, and waits until it serves.
    pub(crate) fn serve(&mut self, server: usize) -> Result<()> {
        self.servers[server].start()?;
        let admin = self.admin(server)?;
        wait_until(&format!("API server {server}"), || {
            self.servers[server].ensure_running()?;
            // Until it listens nobody answers.
            let ready = matches!(admin.ask(Method::GET, "/readyz", None), Ok((200, _)));
            Ok(ready.then_some(()))
        })
    }

    /// A host vanishes without a word, and all that runs on it.
    pub(crate) fn power_off(&mut self, host: usize) -> Result<()> {
        self.lab.control_plane(host).unplug()?;
        self.servers[host].kill()?;
        if let Some(member) = self.members.get_mut(host) {
            member.kill()?;
        }
        self.lab.control_plane(host).power_off()
    }

    /// It comes back.
    pub(crate) fn power_on(&mut self, host: usize) -> Result<()> {
        self.lab.control_plane(host).plug()?;
        if let Some(member) = self.members.get_mut(host) {
            member.restart()?;
        }
        self.serve(host)
    }

    /// Ends every connection to the servers, so that whoever had one has to come again.
    pub(crate) fn break_connections(&self) -> Result<()> {
        for host in self.lab.control_planes() {
            let filter = format!("sport = :{}", host.tls().port());
            let status = netns::run_in(host.netns(), || {
                let mut command = Command::new("ss");
                command.args(["-t", "-K", &filter]).stdout(Stdio::null()).status()
            })?;
            ensure!(status.context("cannot run ss")?.success(), "ss cannot destroy sockets");
        }
        Ok(())
    }

    /// An agent that does not run yet, with a token of its account.
    pub(crate) fn agent(&self) -> Result<Agent> {
        let agent = Agent::prepare(&self.lab, 0)?;
        agent.write_kubeconfig()?;
        self.write_token(&agent)?;
        Ok(agent)
    }

    /// Gives the agent another token, as a kubelet does, by renaming.
    pub(crate) fn write_token(&self, agent: &Agent) -> Result<()> {
        let [new, token] = ["token.new", "token"].map(|name| agent.file().with_file_name(name));
        fs::write(&new, account::token(&self.admin(0)?)?)?;
        fs::rename(new, token).context("cannot write the token")
    }

    /// An agent's configuration: so many servers are given, the cluster itself says who the others are and
    /// what clients dial.
    pub(crate) fn configuration(&self, given: usize) -> Configuration {
        let hosts = self.lab.control_planes()[..given].iter();
        let hosts = hosts.map(|host| format!("'{}'", host.v4())).collect::<Vec<_>>().join(", ");
        let sources = format!("hosts: [{hosts}], kubernetes: {{kubeconfig: $AGENT/kubeconfig}}");
        Configuration {
            endpoints: Vec::new(),
            control_plane: Some(sources),
            vip: Vec::new(),
            pool: vec!["latencyBands: false".to_owned()],
            ..Configuration::of(&self.lab)
        }
    }
}
