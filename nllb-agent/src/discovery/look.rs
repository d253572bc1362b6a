//! Sources that are looked at: again when a file changes, when a DNS answer is no longer good, and after
//! a failure ever more seldom.

use super::dns::Resolver;
use super::{Looked, News, Sender, What, file, kubeconfig};
use crate::file_watch::Changes;
use nllb_core::{Jitter, Listing, Sighting, SourceId, SourceKind};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The first wait after a failure: a resolver or a mount that is late at boot is there soon.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// And the longest. Nobody waits for it: a network that returns asks for a look at once.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Width of the spread of each wait: a quarter either way.
const SPREAD: f64 = 0.5;
/// How long a look may take: a disk that hangs, name servers that are silent one after another.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file with one host a line.
    File(PathBuf),
    /// A kubeconfig, every server of which is a host.
    Kubeconfig(PathBuf),
    /// A DNS name, every address of which is a host, with this port when one is given.
    Name(String, Option<u16>),
}

impl Place {
    /// The source that it is.
    #[must_use]
    pub fn id(&self) -> SourceId {
        let id = |kind, name: String| SourceId { kind, name: name.into() };
        match self {
            Self::File(path) => id(SourceKind::File, path.display().to_string()),
            Self::Kubeconfig(path) => id(SourceKind::Kubeconfig, path.display().to_string()),
            Self::Name(name, None) => id(SourceKind::Dns, name.clone()),
            Self::Name(name, Some(port)) => id(SourceKind::Dns, format!("{name}:{port}")),
        }
    }
}

/// Looks at a source again and again and sends what it finds, until nobody listens. `changes` tells that
/// it may be worth to look now; `seed` spreads the waits of different nodes.
pub async fn watch(place: Place, changes: Changes, news: Sender, seed: u32) {
    let id = place.id();
    let looker = Looker { place, resolver: Resolver::system() };
    keep_looking(id, looker, changes, news, seed).await;
}

async fn keep_looking(
    id: SourceId,
    mut looker: Looker,
    mut changes: Changes,
    news: Sender,
    seed: u32,
) {
    let mut waits = Waits { jitter: Jitter::new(seed), failures: 0 };
    loop {
        changes.mark_unchanged();
        let looked = timeout(LONGEST_LOOK, looker.look()).await;
        let looked = looked.unwrap_or_else(|_| Err("it does not answer".to_owned()));
        let wait = waits.after(&looked);
        let what = told(looked);
        if news.send(News { source: id.clone(), what }).await.is_err() {
            return;
        }
        let changed = async {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        match wait {
            // Either is a reason to look.
            Some(wait) => drop(timeout(wait, changed).await),
            None => changed.await,
        }
    }
}

/// What is told of a look.
fn told(looked: Result<Looked, String>) -> What {
    match looked {
        Ok(Looked { sightings, wrong, good_for: _ }) => {
            let listing = Listing { sightings, vips: Vec::new() };
            match wrong {
                None => What::Listed(listing),
                Some(reason) => What::Partly { listing, reason },
            }
        }
        Err(reason) => What::Failed { reason },
    }
}

struct Looker {
    place: Place,
    resolver: Resolver,
}

impl Looker {
    async fn look(&mut self) -> Result<Looked, String> {
        match self.place.clone() {
            Place::File(path) => blocking(move || file::read(&path)).await,
            Place::Kubeconfig(path) => {
                let servers = blocking(move || kubeconfig::servers(&path)).await?;
                let servers = servers.into_iter().map(|(host, port)| (host, Some(port)));
                self.resolve(servers.collect()).await
            }
            Place::Name(name, port) => self.resolve(vec![(name, port)]).await,
        }
    }

    /// The addresses of all these hosts. Fails when nobody of them has any.
    async fn resolve(&mut self, hosts: Vec<(String, Option<u16>)>) -> Result<Looked, String> {
        let mut looked = Looked::default();
        self.resolver.retain(|name| hosts.iter().any(|(host, _)| host == name));
        for (host, port) in hosts {
            if let Ok(ip) = host.parse::<IpAddr>() {
                looked.sightings.push(Sighting::new(ip, port));
                continue;
            }
            let found = self.resolver.look_up(&host).await;
            looked.sightings.extend(found.addresses.iter().map(|ip| Sighting::new(*ip, port)));
            looked.wrong = looked.wrong.or(found.wrong);
            let good_for = looked.good_for.unwrap_or(found.good_for);
            looked.good_for = Some(good_for.min(found.good_for));
        }
        match &looked {
            Looked { sightings, wrong: Some(reason), .. } if sightings.is_empty() => {
                Err(reason.clone())
            }
            _ => Ok(looked),
        }
    }
}

/// How long to wait for the next look.
struct Waits {
    jitter: Jitter,
    failures: u32,
}

impl Waits {
    fn after(&mut self, looked: &Result<Looked, String>) -> Option<Duration> {
        let wait = match looked {
            Ok(Looked { wrong: None, good_for, .. }) => {
                self.failures = 0;
                (*good_for)?
            }
            Ok(Looked { wrong: Some(_), .. }) | Err(_) => {
                let wait = FIRST_RETRY * (1 << self.failures.min(6));
                self.failures = self.failures.saturating_add(1);
                wait.min(LAST_RETRY)
            }
        };
        // All nodes lose a resolver in one moment, and hear of a record with one TTL.
        Some(self.jitter.around(wait, SPREAD))
    }
}

/// Runs what may hang on a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let ended = spawn_blocking(work).await;
    ended.map_err(|died| io::Error::other(died).to_string())?
}

#[cfg(test)]
mod tests;
