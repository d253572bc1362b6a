//! The sources that are heard: a task for each, which ends when the configuration names it no more.

use std::collections::BTreeMap;
use std::future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use nllb_common::mix;
use nllb_core::{SourceId, SourceKind};
use socket2::{Domain, Socket, Type};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, spawn_local};
use tracing::warn;

use crate::config::{Config, ControlPlane, Kubernetes, Name, Service};
use crate::discovery::kubernetes::{self, Pace};
use crate::discovery::{self, News, Place};
use crate::driver::{load, node};
use crate::file_watch::{Changes, FileWatch};
use crate::reserved;

/// The sources that are heard.
pub(super) struct Sources {
    news: mpsc::Receiver<News>,
    sender: discovery::Sender,
    /// Makes every source that is looked at look now.
    nudge: watch::Sender<()>,
    files: Option<FileWatch>,
    tasks: BTreeMap<SourceId, (Source, AbortHandle)>,
}

/// How a source is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Looked(Place),
    Kubernetes(Kubernetes),
    /// A Service by this name.
    Service(Arc<str>, Kubernetes),
    /// The pods of this node.
    Pods {
        node: String,
        annotation: Arc<str>,
        kubernetes: Kubernetes,
    },
    /// The zone of this node.
    Zone {
        node: String,
        kubernetes: Kubernetes,
    },
}

impl Default for Sources {
    fn default() -> Self {
        let (sender, news) = mpsc::channel(discovery::DEPTH);
        let (nudge, _) = watch::channel(());
        Self { news, sender, nudge, files: None, tasks: BTreeMap::new() }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.tasks.values().for_each(|(_, task)| task.abort());
    }
}

/// The sources that a control plane names.
pub(super) fn wanted(plane: &ControlPlane) -> BTreeMap<SourceId, Source> {
    let ControlPlane { hosts: _, files, kubeconfigs, names, kubernetes } = plane;
    let files = files.iter().map(|file| Place::File(file.clone()));
    let kubeconfigs = kubeconfigs.iter().map(|file| Place::Kubeconfig(file.clone()));
    let names = names.iter().map(|Name { name, port }| Place::Name(name.clone(), *port));
    let looked = files.chain(kubeconfigs).chain(names);
    let looked = looked.map(|place| (place.id(), Source::Looked(place)));
    let id = SourceId { kind: SourceKind::Kubernetes, name: "".into() };
    let kubernetes = kubernetes.iter().map(|one| (id.clone(), Source::Kubernetes(one.clone())));
    looked.chain(kubernetes).collect()
}

/// What the cluster is asked for besides the control plane: Services, this node's pods, and its zone when it is wanted.
pub(super) fn asked(config: &Config, zone: bool) -> BTreeMap<SourceId, Source> {
    let kubernetes = config.control_plane.as_ref().and_then(|plane| plane.kubernetes.as_ref());
    let Some(kubernetes) = kubernetes else { return BTreeMap::new() };
    let of_service = |service: &Service| {
        let name = Arc::clone(&service.plan.name);
        let id = SourceId { kind: SourceKind::Service, name: Arc::clone(&name) };
        service.plan.given.is_none().then(|| (id, Source::Service(name, kubernetes.clone())))
    };
    let mut asked: BTreeMap<_, _> = config.services.iter().filter_map(of_service).collect();
    let annotation = config.sandboxes.as_ref().and_then(|sandboxes| sandboxes.annotation.as_ref());
    if let Some(annotation) = annotation {
        let annotation: Arc<str> = annotation.as_str().into();
        let id = SourceId { kind: SourceKind::Pods, name: Arc::clone(&annotation) };
        let node = node::name(config);
        asked.insert(id, Source::Pods { node, annotation, kubernetes: kubernetes.clone() });
    }
    if zone {
        let id = SourceId { kind: SourceKind::Node, name: "".into() };
        let (node, kubernetes) = (node::name(config), kubernetes.clone());
        asked.insert(id, Source::Zone { node, kubernetes });
    }
    asked
}

impl Sources {
    /// Hears the sources of this control plane, what else is asked for, and no others.
    pub(super) fn hear(
        &mut self,
        plane: &ControlPlane,
        asked: BTreeMap<SourceId, Source>,
        seed: u32,
    ) {
        self.watch_files(plane);
        let mut wanted = wanted(plane);
        wanted.extend(asked);
        self.run(wanted, seed);
    }

    /// The next news; waits for ever while nobody has any. Safe to cancel.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // Not while there is a sender, and there is one here.
            None => future::pending().await,
        }
    }

    /// Makes every source that is looked at look now.
    pub(super) fn nudge(&self) {
        self.nudge.send_replace(());
    }

    fn watch_files(&mut self, plane: &ControlPlane) {
        let files = plane.files.iter().chain(&plane.kubeconfigs).map(|file| file.as_path());
        let files: Vec<&Path> = files.collect();
        match &self.files {
            Some(watch) => watch.set(files),
            None if files.is_empty() => {}
            None => match FileWatch::new(files, self.nudge.clone()) {
                Ok(watch) => self.files = Some(watch),
                Err(error) => warn!(%error, "changes of lists of hosts are not seen"),
            },
        }
    }

    /// Runs these and ends all others. One that stays as it is goes on.
    fn run(&mut self, wanted: BTreeMap<SourceId, Source>, seed: u32) {
        self.tasks.retain(|id, (source, task)| {
            let stays = wanted.get(id) == Some(source) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, source) in wanted {
            if self.tasks.contains_key(&id) {
                continue;
            }
            let (sender, changes) = (self.sender.clone(), self.nudge.subscribe());
            let task = start(source.clone(), changes, sender, seed);
            self.tasks.insert(id, (source, task));
        }
    }
}

/// Where this host can dial the agent's own frontend.
fn own_way() -> SocketAddr {
    let [v6, v4] = reserved::API;
    let has_v6 = Socket::new(Domain::IPV6, Type::STREAM, None).is_ok();
    if has_v6 { v6 } else { v4 }
}

/// How the cluster is asked, and told.
pub(in crate::driver) fn settings_of(kubernetes: &Kubernetes, seed: u32) -> kubernetes::Settings {
    let identity = load::identity(kubernetes);
    let Kubernetes { kubeconfig: _, server_name, events: _ } = kubernetes;
    let (server_name, pace) = (server_name.clone(), Pace::default());
    kubernetes::Settings { address: own_way(), server_name, identity, pace, seed }
}

fn start(source: Source, changes: Changes, news: discovery::Sender, seed: u32) -> AbortHandle {
    match source {
        Source::Looked(place) => {
            spawn_local(discovery::watch(place, changes, news, seed)).abort_handle()
        }
        Source::Kubernetes(kubernetes) => {
            spawn_local(kubernetes::watch(settings_of(&kubernetes, seed), news)).abort_handle()
        }
        Source::Service(name, kubernetes) => {
            // Not all Services at the same time.
            let seed = name.bytes().fold(seed, |seed, byte| mix(seed ^ u32::from(byte)));
            let settings = settings_of(&kubernetes, seed);
            spawn_local(kubernetes::watch_service(name.to_string(), settings, news)).abort_handle()
        }
        Source::Zone { node, kubernetes } => {
            let settings = settings_of(&kubernetes, seed);
            spawn_local(kubernetes::follow_zone(node, settings, news)).abort_handle()
        }
        Source::Pods { node, annotation, kubernetes } => {
            let settings = settings_of(&kubernetes, mix(seed));
            spawn_local(kubernetes::watch_pods(node, annotation, settings, news)).abort_handle()
        }
    }
}
