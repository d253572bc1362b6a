//! Looks at the backends, from this node and from a pod.

use super::pods;
use super::told::{Target, Told};
use crate::datapath::maps::Sockets;
use crate::datapath::vantage;
use crate::doctor::backends::Backend;
use crate::health_check::{Credentials, HealthCheck, Kind};
use crate::network;
use crate::probe::{Port, Prober};
use nllb_common::maps::{NO_BACKEND, names};
use nllb_core::Outcome;
use nllb_core::eligible::uncovered;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::panic;
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};

/// Limit of a probe besides the examination.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Keeps the programs off our sockets, where there are programs.
struct Exempt(Option<Sockets>);

impl Exempt {
    fn open(directory: &Path) -> Rc<Self> {
        Rc::new(Self(Sockets::open(&directory.join(names::SOCKS)).ok()))
    }

    fn socket(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let Some(sockets) = &self.0 else { return Ok(()) };
        // Evidence is the agent's business.
        Ok(sockets.bypass(&socket, NO_BACKEND, 0)?)
    }
}

/// Examines all of them at once.
pub(super) fn look(
    told: &Told,
    targets: &[Target],
    from_pid: Option<u32>,
) -> io::Result<Vec<Backend>> {
    let directory = told.directory();
    let (mut backends, from_pod) = thread::scope(|scope| {
        let from_pod = scope.spawn(|| from_pod(&directory, targets, from_pid));
        let backends = on_a_runtime(|| all(&directory, targets))?;
        let from_pod = from_pod.join().unwrap_or_else(|died| panic::resume_unwind(died));
        io::Result::Ok((backends, from_pod))
    })?;
    let Some((whose, outcomes)) = from_pod else { return Ok(backends) };
    for (backend, outcome) in backends.iter_mut().zip(outcomes) {
        // Where the node does not get, a pod would not either.
        if backend.seen.tcp.is_ok() {
            backend.from_pod = Some((whose.clone(), outcome));
        }
    }
    Ok(backends)
}

fn on_a_runtime<T, F: Future<Output = T>>(work: impl FnOnce() -> F) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, async { work().await }))
}

/// Runs these in parallel, and gives what comes of them in their order.
async fn together<T: 'static, F: Future<Output = T> + 'static>(
    work: impl Iterator<Item = F>,
) -> Vec<T> {
    let mut tasks = JoinSet::new();
    for (index, work) in work.enumerate() {
        tasks.spawn_local(async move { (index, work.await) });
    }
    let mut done = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        // None is ever cancelled.
        done.push(ended.unwrap_or_else(|died| panic::resume_unwind(died.into_panic())));
    }
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

async fn all(directory: &Path, targets: &[Target]) -> Vec<Backend> {
    let own = network::own_addresses().unwrap_or_default();
    let exempt = Exempt::open(directory);
    let work = targets.iter().map(|target| {
        let one = One {
            address: target.address,
            check: target.check.clone(),
            is_own: own.contains(&target.address.ip()),
            exempt: Rc::clone(&exempt),
        };
        one.look()
    });
    let mut backends = together(work).await;
    for (backend, target) in backends.iter_mut().zip(targets) {
        backend.uncovered = not_for(backend, target);
    }
    backends
}

/// The frontends that a backend's certificate is not for.
fn not_for(backend: &Backend, target: &Target) -> Vec<String> {
    let Some(certificate) = &backend.seen.certificate else { return Vec::new() };
    let frontends = target.frontends.iter().filter_map(|(name, coverage, addresses)| {
        let reason = uncovered(certificate, coverage, addresses)?;
        Some(format!("frontend {name}: {reason}"))
    });
    frontends.collect()
}

/// A backend under examination.
struct One {
    address: SocketAddr,
    check: HealthCheck,
    /// Whether it is on this host.
    is_own: bool,
    exempt: Rc<Exempt>,
}

impl One {
    async fn look(self) -> Backend {
        let Self { address, check, is_own, exempt } = self;
        let exempt = |socket: BorrowedFd<'_>, _: Port| exempt.socket(socket);
        let known = check.credentials.client.is_some() || check.credentials.token.is_some();
        let prober = Prober::new(check.clone());
        let anonymous = async {
            let asks = known && check.is_api && matches!(check.kind, Kind::Https(_));
            let prober = Prober::new(without_credentials(&check));
            if asks { Some(prober.probe(address, None, exempt).await.outcome) } else { None }
        };
        let (seen, anonymous) = tokio::join!(prober.examine(address, exempt), anonymous);
        let on_loopback = if is_own && seen.tcp == Err(Outcome::Refused) {
            let loopback: IpAddr = match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            let check =
                HealthCheck { kind: Kind::Tcp, port: None, health_port: None, ..check.clone() };
            let loopback = SocketAddr::new(loopback, address.port());
            let report = Prober::new(check).probe(loopback, None, exempt).await;
            Some(report.outcome == Outcome::Ready)
        } else {
            None
        };
        Backend {
            address,
            question: check.to_string(),
            known,
            // One that is not reached has nothing to say.
            anonymous: anonymous.filter(|_| matches!(seen.tls, Some(Ok(_)))),
            seen,
            on_loopback,
            uncovered: Vec::new(),
            from_pod: None,
        }
    }
}

fn without_credentials(check: &HealthCheck) -> HealthCheck {
    let credentials = Credentials { client: None, token: None, ..check.credentials.clone() };
    HealthCheck { credentials, timeout: TIMEOUT, ..check.clone() }
}

/// Probes every backend from a pod.
fn from_pod(
    directory: &Path,
    targets: &[Target],
    from_pid: Option<u32>,
) -> Option<(String, Vec<Outcome>)> {
    let (namespace, whose) = pods::find(from_pid)?;
    let probed = vantage::within(Some(&namespace), || {
        let exempt = Exempt::open(directory);
        on_a_runtime(|| {
            together(targets.iter().map(|target| {
                let check = HealthCheck { timeout: TIMEOUT, ..target.check.clone() };
                let (address, exempt) = (target.address, Rc::clone(&exempt));
                async move {
                    let exempt = |socket: BorrowedFd<'_>, _: Port| exempt.socket(socket);
                    Prober::new(check).probe(address, None, exempt).await.outcome
                }
            }))
        })
    });
    let local = |error: io::Error| {
        targets.iter().map(|_| Outcome::Local { reason: error.to_string() }).collect()
    };
    Some((whose, probed.unwrap_or_else(local)))
}
