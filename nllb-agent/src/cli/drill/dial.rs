//! The connects of a drill's own, made as any client on this node makes them.

use super::ledger::{Attempt, Held, Ledger, PACE};
use super::plan::{Plan, Subject, Way};
use crate::cli::Failure;
use crate::datapath::monotonic_ns;
use crate::exit::Exit;
use crate::status::Status;
use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};

/// How many connections are kept open to a backend whose connections will be closed.
const HELD: usize = 4;
/// How many connects may be spent on these: one that others are preferred to gets none.
const TRIES: usize = 64;
/// How long a connect may take before it is known what is usual.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time on the clock of a drill.
pub(super) fn now() -> Duration {
    Duration::from_nanos(monotonic_ns())
}

/// The plan with the one address for each backend through which this process reaches the backends as other
/// clients do. A translated connection has a backend at its other end, so one look is enough.
///
/// # Errors
/// When there is none: what this process would measure is not what clients meet.
pub(super) async fn translated(plan: Plan, status: &Status) -> Result<Plan, Failure> {
    let Plan { pool, members, subjects } = plan;
    let mut looks: HashMap<Way, Result<(), String>> = HashMap::new();
    let mut chosen = Vec::new();
    for Subject { backend, ways } in subjects {
        let mut why = Vec::new();
        let mut good = None;
        for way in ways {
            let look = match looks.entry(way) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(look(way, &members).await),
            };
            match look {
                Ok(()) => {
                    good = Some(way);
                    break;
                }
                Err(error) => why.push(format!("{}: {error}", way.address)),
            }
        }
        let Some(way) = good else { return Err(untranslated(&pool, &why, status)) };
        chosen.push(Subject { backend, ways: vec![way] });
    }
    Ok(Plan { pool, members, subjects: chosen })
}

/// Whether a connect goes where it should.
async fn look(way: Way, members: &BTreeSet<SocketAddr>) -> Result<(), String> {
    let (_, peer) = connect(way.address, PATIENCE).await?;
    // A backend's own address is left alone as long as that one is well.
    if way.is_own || (peer != way.address && members.contains(&peer)) {
        return Ok(());
    }
    Err(format!("{peer} answered itself"))
}

fn untranslated(pool: &str, why: &[String], status: &Status) -> Failure {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("unknown");
    let (why, attached) = (why.join("; "), status.datapath.cgroup.display());
    Failure::new(
        Exit::Datapath,
        &format!(
            "no connect of this process to pool {pool} is translated ({why}), so nothing was done: \
             run it on the host and in a cgroup below {attached}; this process is in {own}"
        ),
    )
}

/// Connects; who is at the other end, or why nobody.
async fn connect(
    address: SocketAddr,
    patience: Duration,
) -> Result<(TcpStream, SocketAddr), String> {
    let said = |error: io::Error| error.kind().to_string();
    match timeout(patience, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream.peer_addr().map(|peer| (stream, peer)).map_err(said),
        Ok(Err(error)) => Err(said(error)),
        Err(_) => Err("deadline exceeded".to_owned()),
    }
}

/// Connects one after another for as long as anybody waits for it.
pub(super) async fn keep_dialling(
    address: SocketAddr,
    patience: Duration,
    ledger: &RefCell<Ledger>,
) -> Infallible {
    loop {
        let began = now();
        ledger.borrow_mut().begin(began);
        let outcome = connect(address, patience).await.map(|(_, peer)| peer);
        let ended = now();
        ledger.borrow_mut().note(Attempt { began, ended, outcome });
        sleep((began + PACE).saturating_sub(ended)).await;
    }
}

/// Connections to this backend, as many as chance gives.
pub(super) async fn hold(
    address: SocketAddr,
    backend: SocketAddr,
    patience: Duration,
) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..TRIES {
        if held.len() == HELD {
            break;
        }
        match connect(address, patience).await {
            Ok((stream, peer)) if peer == backend => held.push(stream),
            Ok(_) | Err(_) => {}
        }
    }
    held
}

/// Waits for the end of a connection, opens another one in its stead and keeps that.
pub(super) async fn reopen(
    mut stream: TcpStream,
    address: SocketAddr,
    patience: Duration,
    news: UnboundedSender<Held>,
) {
    while let Ok(1..) = stream.read(&mut [0; 64]).await {}
    // Nobody listens once the drill is over.
    let _told = news.send(Held::Lost(now()));
    let _kept = loop {
        match connect(address, patience).await {
            Ok((stream, _)) => break stream,
            Err(_) => sleep(PACE).await,
        }
    };
    let _told = news.send(Held::Reopened(now()));
    future::pending::<()>().await;
}
