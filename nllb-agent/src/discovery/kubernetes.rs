//! The API servers as the cluster itself knows them: the EndpointSlices of the Service `kubernetes`,
//! and the Service with its VIPs and ports. Other Services are known in the same way, this node's pods and its zone.
//!
//! The watch dials one address, which the kernel translates, so it fails over like any client of the
//! node; whom it meets it verifies by `server_name`.
//!
//! What this node has to tell the cluster goes the same way (`events`).
//!
//! One task; it ends when nobody takes its news, and dropping it closes its connections. Each kind of
//! object has a connection of its own (`follow`), and `joint` makes the news of both one source's.

mod backoff;
mod client;
mod events;
mod follow;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;
mod identity;
mod joint;
mod lease;
mod node;
mod objects;
mod trouble;

use super::{News, Sender};
use follow::Follower;
use joint::{Content, Joint, Offer, Offered, Part, Whole};
use nllb_core::guests::PodAddress;
use nllb_core::{Listing, SourceId, SourceKind};
use objects::any_service::{AnyService, AnySlice};
use objects::pod::Pod;
use objects::{EndpointSlice, Service};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub use events::{NodeEvent, NotTaken};
pub use identity::{Identity, IdentityError, SERVICE_ACCOUNT};
pub use lease::{LeaseClient, LeaseName, Reason, Sight, watch_lease};
pub use node::follow_zone;

/// The name that every API server's certificate carries.
pub const SERVER_NAME: &str = "kubernetes.default.svc";

/// Whom to ask, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is dialled.
    pub address: SocketAddr,
    /// The name that the certificate must carry, usually [`SERVER_NAME`].
    pub server_name: String,
    /// Whom to trust and who to be.
    pub identity: Identity,
    /// When to try again.
    pub pace: Pace,
    /// Spreads the waits of different nodes.
    pub seed: u32,
}

/// How long what may take, and when to try again.
#[derive(Clone, Debug)]
pub struct Pace {
    /// The wait after a failure or the end of a watch; it doubles. Each is spread over half of itself.
    pub first: Duration,
    /// The longest of these waits.
    pub longest: Duration,
    /// A watch that lasts so long was a success: the next wait is the first one again.
    pub settled: Duration,
    /// Limit of a connect, of a handshake, of an answer.
    pub answer: Duration,
    /// A watch without a byte for so long is given up. The API server sends a bookmark a minute.
    pub silence: Duration,
    /// How long a watch is asked to last, at least and at most, in whole seconds below 295.
    pub watch: (Duration, Duration),
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            settled: Duration::from_secs(30),
            answer: Duration::from_secs(10),
            silence: Duration::from_secs(150),
            watch: (Duration::from_secs(180), Duration::from_secs(290)),
        }
    }
}

/// Whose objects are meant: a Service's, by its namespace and name, or a node's in all namespaces, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whose {
    /// Empty for all namespaces.
    namespace: String,
    name: String,
}

/// Watches the Service `kubernetes` until nobody takes the news any more. Needs a runtime with I/O and
/// timers.
pub async fn watch(settings: Settings, news: Sender) {
    let whose = Whose { namespace: "default".to_owned(), name: "kubernetes".to_owned() };
    let source = SourceId { kind: SourceKind::Kubernetes, name: "".into() };
    // What waits here is newer when it waits in its socket.
    let (parts, said) = mpsc::channel(1);
    let (one, other) = apart(settings);
    let hosts: Follower<EndpointSlice, _> =
        Follower::new(one, whose.clone(), parts.clone(), Content::Hosts);
    let vips: Follower<Service, _> = Follower::new(other, whose, parts, Content::Vips);
    tokio::select! {
        () = join::<Listing>(said, source, &news) => {}
        () = news.closed() => {}
        ((), ()) = async { tokio::join!(hosts.run(), vips.run()) } => {}
    }
}

/// Watches another Service, `namespace/name`, likewise.
pub async fn watch_service(service: String, settings: Settings, news: Sender) {
    let source = SourceId { kind: SourceKind::Service, name: service.as_str().into() };
    let Some((namespace, name)) = service.split_once('/') else { return };
    let whose = Whose { namespace: namespace.to_owned(), name: name.to_owned() };
    let (parts, said) = mpsc::channel(1);
    let (one, other) = apart(settings);
    let endpoints: Follower<AnySlice, _> =
        Follower::new(one, whose.clone(), parts.clone(), Offer::Endpoints);
    let addresses: Follower<AnyService, _> = Follower::new(other, whose, parts, Offer::Addresses);
    tokio::select! {
        () = join::<Offered>(said, source, &news) => {}
        () = news.closed() => {}
        ((), ()) = async { tokio::join!(endpoints.run(), addresses.run()) } => {}
    }
}

/// Watches the pods of a node likewise, of which those are sandboxed whose annotation of this name is `true`.
pub async fn watch_pods(node: String, annotation: Arc<str>, settings: Settings, news: Sender) {
    let source = SourceId { kind: SourceKind::Pods, name: Arc::clone(&annotation) };
    let (parts, said) = mpsc::channel(1);
    let whose = Whose { namespace: String::new(), name: node };
    let pods: Follower<Pod, Vec<PodAddress>> = Follower::new(settings, whose, parts, |pods| pods);
    tokio::select! {
        () = join::<Option<Vec<PodAddress>>>(said, source, &news) => {}
        () = news.closed() => {}
        () = pods.seeking(annotation).run() => {}
    }
}

/// Settings for two watches that do not try in the same moments.
fn apart(settings: Settings) -> (Settings, Settings) {
    let other = Settings { seed: nllb_common::mix(settings.seed), ..settings.clone() };
    (settings, other)
}

/// Makes one source's news of what two watches say.
async fn join<W: Whole>(
    mut said: mpsc::Receiver<Part<W::Content>>,
    source: SourceId,
    news: &Sender,
) {
    let mut joint: Joint<W> = Joint::default();
    while let Some(part) = said.recv().await {
        for what in joint.take(part) {
            if news.send(News { source: source.clone(), what }).await.is_err() {
                return;
            }
        }
    }
}
