//! A watch on a node, with credentials in files that a test can change.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nllb_lab::Lab;
use nllb_lab::apiserver::{Api, Endpoint, Objects, Service, Stats};
use nllb_lab::discover::{Discovery, Options, Told};
use nllb_lab::lab::{ControlPlane, TOKEN, VIP_V4, VIP_V6};
use nllb_lab::wait::wait_until;

/// Where lists and watches of EndpointSlices go.
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) account: PathBuf,
}

impl Scene {
    /// A lab with so many servers and a service account on its node.
    pub(crate) fn build(control_planes: usize) -> Option<Self> {
        let lab = Lab::builder().control_planes(control_planes);
        // Often enough that a watch is never silent without being told to.
        let lab = lab.tune(|_, settings| {
            settings.modes.bookmark_interval = Duration::from_millis(300);
        });
        let lab = lab.build_or_skip()?;
        let account = lab.directory().join("account");
        fs::create_dir(&account).expect("a directory");
        fs::write(account.join("ca.crt"), lab.authority().pem()).expect("an authority");
        let scene = Self { lab, account };
        scene.write_token(TOKEN);
        Some(scene)
    }

    /// Replaces the token as a kubelet does, by renaming.
    pub(crate) fn write_token(&self, token: &str) {
        replace(&self.account.join("token"), token);
    }

    pub(crate) fn server(&self) -> &ControlPlane {
        self.lab.control_plane(0)
    }

    /// Watches the first server as the service account.
    pub(crate) fn watch(&self) -> Discovery {
        self.start(&Options::service_account(self.server().tls(), &self.account))
    }

    pub(crate) fn start(&self, options: &Options) -> Discovery {
        let log = self.lab.directory().join("discovery.log");
        Discovery::start(&self.lab.node(0).place(), options, &log).expect("a process")
    }

    /// The endpoints of the Service are these from now on.
    pub(crate) fn set_hosts(&self, endpoints: &[Endpoint]) {
        let objects = Objects::kubernetes(endpoints, &vips());
        self.lab.set_objects(objects).expect("told");
    }

    /// How EndpointSlices and Services go at the first server.
    pub(crate) fn set_api(&self, service: Service) {
        let change = |modes: &mut nllb_lab::apiserver::Modes| {
            (modes.slices, modes.services) = (service, service);
        };
        self.server().set_modes(change).expect("told");
    }

    pub(crate) fn refuse(&self, code: u16) {
        self.set_api(Service::all(Api::Refuse(code)));
    }

    pub(crate) fn serve(&self) {
        self.set_api(Service::default());
    }

    /// Waits until the first server was asked for EndpointSlices so many times more.
    pub(crate) fn await_tries(&self, more: u64) {
        let asked = |stats: &Stats| stats.requests.get(SLICES).copied().unwrap_or_default();
        let before = asked(&self.server().stats().expect("told"));
        wait_until("more tries", || {
            let now = asked(&self.server().stats()?);
            // A server that was started anew counts from zero.
            Ok((now >= before + more || (now < before && now >= more)).then_some(()))
        })
        .expect("it is tried again");
    }
}

pub(crate) fn replace(file: &Path, content: &str) {
    let new = file.with_extension("new");
    fs::write(&new, content).expect("a file");
    fs::rename(&new, file).expect("renamed");
}

pub(crate) fn host(last: u8) -> Endpoint {
    Endpoint::ready(SocketAddr::from(([10, 0, 0, last], 6443)))
}

fn vips() -> [IpAddr; 2] {
    [VIP_V4.into(), VIP_V6.into()]
}

/// Exactly these hosts and both VIPs.
pub(crate) fn lists<const N: usize>(expected: [&str; N]) -> impl Fn(&Told) -> bool {
    move |told| match told {
        Told::Listed { hosts, vips } => *hosts == expected && vips.len() == 2,
        Told::Failed(_) => false,
    }
}

pub(crate) fn fails(with: &str) -> impl Fn(&Told) -> bool {
    move |told| matches!(told, Told::Failed(reason) if reason.contains(with))
}

/// The reasons among these.
pub(crate) fn reasons(told: &[Told]) -> Vec<&str> {
    let reasons = told.iter().filter_map(|told| match told {
        Told::Failed(reason) => Some(reason.as_str()),
        Told::Listed { .. } => None,
    });
    reasons.collect()
}
