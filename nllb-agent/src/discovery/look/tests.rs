//! Sources that change, fail and come back, over real files and a real name server.

use super::super::dns::tests::Server;
use super::*;
use crate::file_watch::FileWatch;
use nllb_core::SourceKind;
use std::fs;
use std::path::Path;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Far longer than anything here takes.
const AMPLE: Duration = Duration::from_secs(40);

struct Watched {
    news: mpsc::Receiver<News>,
    task: JoinHandle<()>,
    _files: FileWatch,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    fn start(place: Place, file: &Path, resolver: Resolver) -> Self {
        let (change, changes) = watch::channel(());
        let files = FileWatch::new([file], change).expect("watched");
        let (sender, news) = mpsc::channel(1);
        let id = SourceId { kind: SourceKind::File, name: "x".into() };
        let looker = Looker { place, resolver };
        let task = tokio::spawn(keep_looking(id, looker, changes, sender, 1));
        Self { news, task, _files: files }
    }

    async fn next(&mut self) -> What {
        timeout(AMPLE, self.news.recv()).await.expect("in time").expect("news").what
    }

    /// The next list.
    async fn list(&mut self) -> Vec<String> {
        loop {
            if let What::Listed(listing) | What::Partly { listing, .. } = self.next().await {
                return listing.sightings.iter().map(said).collect();
            }
        }
    }

    /// What is wrong next.
    async fn failure(&mut self) -> String {
        loop {
            if let What::Failed { reason } | What::Partly { reason, .. } = self.next().await {
                return reason;
            }
        }
    }
}

fn said(sighting: &Sighting) -> String {
    match sighting.port {
        Some(port) => format!("{}:{port}", sighting.ip),
        None => sighting.ip.to_string(),
    }
}

/// Replaces the file in one step.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, file).expect("renamed");
}

#[tokio::test]
async fn a_file_is_read_when_it_comes_changes_and_is_mended() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("hosts");
    let mut watched = Watched::start(Place::File(file.clone()), &file, Resolver::system());
    assert!(watched.failure().await.contains("cannot be read"));
    write(&file, "10.0.0.11\n10.0.0.12:8443\n");
    assert_eq!(watched.list().await, ["10.0.0.11", "10.0.0.12:8443"]);
    write(&file, "10.0.0.11\nnobody\n");
    loop {
        if let What::Partly { listing, reason } = watched.next().await {
            assert_eq!(listing.sightings.iter().map(said).collect::<Vec<_>>(), ["10.0.0.11"]);
            break assert!(reason.contains("line 2"), "{reason}");
        }
    }
    write(&file, "10.0.0.13\n");
    while watched.list().await != ["10.0.0.13"] {}
    fs::remove_file(&file).expect("removed");
    assert!(watched.failure().await.contains("cannot be read"));
}

#[tokio::test]
async fn a_name_is_asked_for_again_when_its_answer_is_no_longer_good_and_after_failures() {
    let server = Server::start().await;
    server.tell(&["10.0.0.11"], 1);
    let place = Place::Name("cp.example.org".to_owned(), Some(6443));
    let mut watched = Watched::start(place, Path::new("/nowhere/at/all"), server.resolver());
    assert_eq!(watched.list().await, ["10.0.0.11:6443"]);
    server.tell(&["10.0.0.12"], 1);
    while watched.list().await != ["10.0.0.12:6443"] {}
    server.fail();
    assert!(watched.failure().await.contains("SERVFAIL"));
    server.tell(&["10.0.0.13"], 1);
    while watched.list().await != ["10.0.0.13:6443"] {}
}

#[tokio::test]
async fn every_server_of_a_kubeconfig_is_a_host_and_its_names_are_resolved() {
    let server = Server::start().await;
    server.tell(&["10.0.0.11", "10.0.0.12"], 60);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("kubeconfig");
    let cluster = |server: &str| format!("{{name: x, cluster: {{server: '{server}'}}}}");
    let text = |servers: &[&str]| {
        let clusters: Vec<_> = servers.iter().map(|server| cluster(server)).collect();
        format!("clusters: [{}]\n", clusters.join(", "))
    };
    write(&file, &text(&["https://cp.example.org:6443", "https://[fd00::13]:8443"]));
    let place = Place::Kubeconfig(file.clone());
    let mut watched = Watched::start(place, &file, server.resolver());
    assert_eq!(watched.list().await, ["10.0.0.11:6443", "10.0.0.12:6443", "fd00::13:8443"]);
    write(&file, &text(&["https://10.0.0.14:6443"]));
    while watched.list().await != ["10.0.0.14:6443"] {}
    write(&file, &text(&["http://10.0.0.14:6443"]));
    assert!(watched.failure().await.contains("clusters[0].cluster.server"));
    write(&file, "clusters: [\n");
    while !watched.failure().await.contains("YAML") {}
}

#[test]
fn failures_are_followed_by_ever_longer_waits_up_to_a_minute() {
    let mut waits = Waits { jitter: Jitter::new(7), failures: 0 };
    let failed = || Err("no answer".to_owned());
    for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        let wait = waits.after(&failed()).expect("again").as_secs_f64();
        let expected = f64::from(expected);
        assert!((expected * 0.75..=expected * 1.25).contains(&wait), "{wait} for {expected}");
    }
    assert_eq!(waits.after(&Ok(Looked::default())), None, "until it changes");
    assert!(waits.after(&failed()).expect("again") < Duration::from_secs(2));
}
