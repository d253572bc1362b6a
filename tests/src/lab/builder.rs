//! What a lab shall have, and how it comes to be.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};

use super::layout::{self, Layout, own_names, shared_names};
use super::remains::{self, Remains};
use super::{ControlPlane, Lab, Node, TOKEN, available_or_say};
use crate::apiserver::{
    Endpoint, Modes, Objects, PLAIN_PORT, Port, Settings, Speaks, Startup, TLS_PORT, VERSION,
};
use crate::pki::Authority;

type Names = dyn Fn(usize) -> Vec<String>;
type Tune = dyn Fn(usize, &mut Settings);

/// What a lab shall have.
pub struct Builder {
    control_planes: usize,
    nodes: usize,
    pods: usize,
    servers: bool,
    names: Box<Names>,
    tunes: Vec<Box<Tune>>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            control_planes: 3,
            nodes: 1,
            pods: 0,
            servers: true,
            names: Box::new(|index| [shared_names(), own_names(index)].concat()),
            tunes: Vec::new(),
        }
    }

    /// How many control-plane hosts.
    #[must_use]
    pub fn control_planes(self, control_planes: usize) -> Self {
        Self { control_planes, ..self }
    }

    /// How many nodes.
    #[must_use]
    pub fn nodes(self, nodes: usize) -> Self {
        Self { nodes, ..self }
    }

    /// How many pods on each node.
    #[must_use]
    pub fn pods(self, pods: usize) -> Self {
        Self { pods, ..self }
    }

    /// Control-plane hosts alone: the test starts servers of its own on them.
    #[must_use]
    pub fn without_servers(self) -> Self {
        Self { servers: false, ..self }
    }

    /// What each server's certificate carries. Without it: [`shared_names`] and [`own_names`].
    #[must_use]
    pub fn names(self, names: impl Fn(usize) -> Vec<String> + 'static) -> Self {
        Self { names: Box::new(names), ..self }
    }

    /// Changes a server's settings before it starts; several changes happen in their order.
    #[must_use]
    pub fn tune(mut self, tune: impl Fn(usize, &mut Settings) + 'static) -> Self {
        self.tunes.push(Box::new(tune));
        self
    }

    /// One more port on every server.
    #[must_use]
    pub fn port(self, port: u16, speaks: Speaks) -> Self {
        let port = Port { listen: layout::listen(port), speaks };
        self.tune(move |_, settings| settings.ports.push(port.clone()))
    }

    /// How every server comes up. Without it they are ready at once.
    #[must_use]
    pub fn startup(self, startup: Startup) -> Self {
        self.tune(move |_, settings| settings.startup = startup)
    }

    /// Builds a lab for a test: says why and gives none where labs cannot be, panics if it fails.
    #[must_use]
    pub fn build_or_skip(self) -> Option<Lab> {
        if !available_or_say() {
            return None;
        }
        Some(self.build().expect("the lab can be built"))
    }

    /// Builds the lab and starts its servers. Needs root.
    pub fn build(self) -> Result<Lab> {
        let remains = Remains::new();
        let name = remains.name().to_owned();
        let directory = remains::directory(&name);
        fs::create_dir(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let layout = Layout {
            name: &name,
            control_planes: self.control_planes,
            nodes: self.nodes,
            pods: self.pods,
        };
        layout.build_network()?;
        let nodes = (0..self.nodes)
            .map(|index| Node::create(&name, index, self.pods))
            .collect::<Result<Vec<_>>>()?;
        let authority = Authority::new("lab")?;
        let planes = (0..self.control_planes)
            .map(|index| self.plane(&name, &directory, &authority, index))
            .collect::<Result<Vec<_>>>()?;
        // All are starting before the first is waited for.
        let started = if self.servers { planes.as_slice() } else { &[] };
        for plane in started {
            plane.spawn()?;
        }
        for plane in started {
            plane.await_listening()?;
        }
        let version = AtomicU64::new(1);
        Ok(Lab { planes, nodes, authority, directory, version, remains })
    }

    /// Every server as an endpoint, by both families.
    fn objects(&self) -> Objects {
        let endpoints = (0..self.control_planes).flat_map(|index| {
            let (v4, v6) = layout::plane_addresses(index);
            [(v4, TLS_PORT).into(), (v6, TLS_PORT).into()].map(Endpoint::ready)
        });
        let vips = [layout::VIP_V4.into(), layout::VIP_V6.into()];
        Objects::kubernetes(&endpoints.collect::<Vec<_>>(), &vips)
    }

    fn plane(
        &self,
        lab: &str,
        directory: &Path,
        authority: &Authority,
        index: usize,
    ) -> Result<ControlPlane> {
        let name = format!("cp{index}");
        let identity = authority.server(&name, &(self.names)(index))?;
        let mut settings = Settings {
            listen: layout::listen(TLS_PORT),
            listen_plain: layout::listen(PLAIN_PORT),
            ports: Vec::new(),
            certificate: identity.certificate,
            key: identity.key,
            client_authority: authority.pem().to_owned(),
            control: directory.join(format!("{name}.sock")),
            bearer_token: TOKEN.to_owned(),
            leases: directory.join("leases"),
            objects: self.objects(),
            version: VERSION.to_owned(),
            kubelet_version: VERSION.to_owned(),
            startup: Startup::default(),
            modes: Modes::default(),
            name,
        };
        for tune in &self.tunes {
            tune(index, &mut settings);
        }
        ControlPlane::new(lab, directory, index, settings)
    }
}
