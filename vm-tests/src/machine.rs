//! An agent of the whole guest: attached to the root of its cgroups, in its own network namespace, with its
//! own places for everything. Servers listen on addresses that the guest has beside its loopback ones.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nllb_agent::datapath::attach::Hook;
use nllb_agent::status::Status;
use nllb_lab::lab::{VIP_V4, VIP_V6};
use nllb_lab::{Agent, Client, Connect, Outcome, Place, netns};

/// Where the servers are.
pub(crate) const SERVERS: [SocketAddrV4; 2] = [
    SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 6443),
    SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 2), 6443),
];
/// What clients dial.
pub(crate) const VIP: SocketAddrV4 = SocketAddrV4::new(VIP_V4, 443);

/// Servers, a client and an agent.
pub(crate) struct Machine {
    pub(crate) agent: Agent,
    pub(crate) client: Client,
}

impl Machine {
    /// With an agent that runs and is proven.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let mut machine = Self::prepare(name)?;
        machine.agent.restart()?;
        Ok(machine)
    }

    /// With an agent that does not run yet.
    pub(crate) fn prepare(name: &str) -> Result<Self> {
        let directory = PathBuf::from("/run").join(name);
        fs::create_dir_all(&directory)?;
        let client = Client::start(&Place::default())?;
        for server in SERVERS {
            // It stays when a check ends, and the next one finds it.
            let address = format!("addr replace {}/32 dev lo", server.ip());
            netns::ip(None, &[address])?;
            client.listen_tcp(server.into(), &server.to_string())?;
        }
        let agent = Agent::of_machine(&directory);
        agent.write(&configuration(&directory))?;
        Ok(Self { agent, client })
    }

    /// Dials, and asks who is there.
    pub(crate) fn dial(&self, connect: Connect) -> Result<Outcome> {
        self.client.connect(&Connect { ask: nllb_lab::Ask::Greeting, ..connect })
    }

    /// Every kind of connect that this kernel has leads to a server, as the agent counts.
    pub(crate) fn translates(&mut self) -> Result<Status> {
        let before = self.agent.status()?;
        let mapped = Connect { mapped: true, ..Connect::to(VIP.into()) };
        let loopback = Connect::to((Ipv4Addr::LOCALHOST, 7443).into());
        let mut kinds = vec![Connect::to(VIP.into()), loopback];
        if has_ipv6() {
            kinds.extend([mapped, Connect::to((VIP_V6, 443).into())]);
        }
        let dials = kinds.len();
        for connect in kinds {
            let dialled = connect.address;
            let outcome = self.dial(connect)?;
            let peer =
                outcome.peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
            let is_server = |server: SocketAddrV4| peer == Some(server.into());
            ensure!(outcome.ok && SERVERS.into_iter().any(is_server), "{dialled}: {outcome:?}");
            ensure!(
                outcome.server == peer.map(|peer| peer.to_string()),
                "the peer is not who answers: {outcome:?}"
            );
        }
        let counted = before.counters["translated"] + u64::try_from(dials)?;
        let status = self.agent.await_status("as many translations", |status| {
            status.counters["translated"] >= counted && status.obstacles().is_empty()
        })?;
        let links = &status.datapath.links;
        for hook in [Hook::SockOps, Hook::Connect4, Hook::Connect6].map(Hook::label) {
            ensure!(links.iter().any(|link| link.hook == hook), "no {hook}: {links:?}");
        }
        self.agent.await_status("no connection left", |status| {
            status
                .backends()
                .all(|(_, backend)| backend.evidence.as_ref().is_none_or(|seen| seen.active == 0))
        })
    }
}

/// Whether the kernel was started with it.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

fn configuration(directory: &Path) -> String {
    let servers: Vec<_> = SERVERS.iter().map(|server| format!("\"{server}\"")).collect();
    let v6 = (Ipv6Addr::LOCALHOST, 7443);
    format!(
        "apiVersion: nllb.dev/v1alpha1\n\
         kind: AgentConfiguration\n\
         frontends:\n\
         - {{ name: kubernetes, kind: vip, pool: servers, addresses: [\"{VIP}\", \"[{VIP_V6}]:443\"] }}\n\
         - {{ name: local, kind: loopback, pool: servers, addresses: [\"127.0.0.1:7443\", \"[{}]:{}\"] }}\n\
         pools:\n\
         - name: servers\n  \
           endpoints: [{}]\n  \
           probe: {{ kind: tcp, interval: 200ms }}\n\
         datapath: {{ bpffs: /sys/fs/bpf/nllb, cgroup: auto }}\n\
         admin: {{ socket: {} }}\n\
         state: {{ file: {} }}\n\
         selfTestInterval: 500ms\n",
        v6.0,
        v6.1,
        servers.join(", "),
        directory.join("admin.sock").display(),
        directory.join("table.json").display(),
    )
}

/// Sets what the kernel offers as a file.
pub(crate) fn write(path: &str, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("cannot write {value} to {path}"))
}
