//! What each peer costs while nothing fails.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use nix::sched::CpuSet;

use super::balancer::{Balancer, Programs};
use super::figures::{Cost, Metric, Round, Shares};
use super::peer::Peer;
use crate::bench::order::Order;
use crate::bench::worker::{BATCH, Task, Worker};
use crate::lab::Lab;
use crate::usage::{self, Spent};

/// Rounds before any is counted: caches, neighbour entries and routes are there then.
const WARM_UP: u64 = 1;
/// The parts of a round in which everybody has a turn.
const SLICES: usize = 10;
const CONNECTS: usize = 6 * BATCH;
const FIRST_BYTES: usize = 48;
const REQUESTS: usize = 48;
const DOWNLOAD: u64 = 32 << 20;

/// A peer on its node, and the client beside it.
struct Side {
    peer: Peer,
    balancer: Balancer,
    balancer_ids: Vec<u32>,
    worker: Worker,
    targets: Vec<SocketAddr>,
    server_name: String,
}

/// Measures so many rounds; `cpu` is the client's, and `everywhere` is where peers may run.
pub(super) fn measure(
    peers: &[Peer],
    programs: &Programs,
    rounds: u64,
    cpu: Option<usize>,
    everywhere: CpuSet,
) -> Result<Vec<Cost>> {
    let lab = Lab::builder().nodes(peers.len()).build().context("cannot build the lab")?;
    crate::bench::set_affinity(&everywhere)?;
    let mut sides = Vec::new();
    for (node, peer) in peers.iter().enumerate() {
        sides.push(Side::start(&lab, node, *peer, programs, cpu)?);
    }
    let common = Common {
        servers: lab.control_planes().iter().filter_map(crate::lab::ControlPlane::id).collect(),
        packets: packet_threads()?,
        authority: lab.authority().pem().to_owned(),
    };
    let mut order = Order::new(sides.len());
    let mut costs: Vec<_> = peers.iter().map(|peer| cost(*peer, programs, rounds)).collect();
    for round in 0..WARM_UP + rounds {
        eprintln!("nllb-lab: the cost of {} ways, {} of {rounds}", sides.len(), round + 1);
        let done = common.round(&mut sides, &mut order)?;
        if round >= WARM_UP {
            costs.iter_mut().zip(done).for_each(|(cost, round)| cost.rounds.push(round));
        }
    }
    for (cost, side) in costs.iter_mut().zip(&sides) {
        cost.rss_mib = Some(side.balancer.rss_mib()?).filter(|_| !side.balancer_ids.is_empty());
    }
    Ok(costs)
}

fn cost(peer: Peer, programs: &Programs, rounds: u64) -> Cost {
    let version = programs.version(peer);
    let connects = rounds * (SLICES * CONNECTS) as u64;
    let bytes = rounds * SLICES as u64 * DOWNLOAD;
    Cost { peer, version, rounds: Vec::new(), rss_mib: None, connects, bytes }
}

impl Side {
    fn start(
        lab: &Lab,
        node: usize,
        peer: Peer,
        programs: &Programs,
        cpu: Option<usize>,
    ) -> Result<Self> {
        let balancer = Balancer::start(lab, node, peer, programs)?;
        let targets = peer.targets(lab);
        Ok(Self {
            peer,
            balancer_ids: balancer.processes()?,
            balancer,
            worker: Worker::start(&lab.node(node).place(), cpu)?,
            // Every server's certificate has its own address, the VIP and the loopback addresses.
            server_name: if peer == Peer::Direct {
                "kubernetes".to_owned()
            } else {
                targets[0].ip().to_string()
            },
            targets,
        })
    }
}

/// What all sides have in common.
struct Common {
    servers: Vec<u32>,
    packets: Vec<u32>,
    authority: String,
}

/// What is gathered of one side in a round.
#[derive(Default)]
struct Gathered {
    times: Vec<u64>,
    shares: Shares,
}

impl Common {
    fn round(&self, sides: &mut [Side], order: &mut Order) -> Result<Vec<Round>> {
        let connects = self.task(sides, order, |_| Task::Connect(CONNECTS))?;
        let first_bytes = self.task(sides, order, |_| Task::FirstByte(FIRST_BYTES))?;
        let requests = self.task(sides, order, |side| Task::Requests {
            requests: REQUESTS,
            server_name: side.server_name.clone(),
            authority: self.authority.clone(),
        })?;
        let downloads = self.task(sides, order, |_| Task::Download(DOWNLOAD))?;
        let all = connects.into_iter().zip(first_bytes).zip(requests).zip(downloads);
        Ok(all.map(|(((c, f), r), d)| round([&c, &f, &r, &d])).collect())
    }

    /// Every side's slices of one task, by turns.
    fn task(
        &self,
        sides: &mut [Side],
        order: &mut Order,
        task: impl Fn(&Side) -> Task,
    ) -> Result<Vec<Gathered>> {
        let mut gathered: Vec<_> = sides.iter().map(|_| Gathered::default()).collect();
        for _ in 0..SLICES {
            for index in order.next() {
                let (side, gathered) = (&mut sides[index], &mut gathered[index]);
                let before = self.shares(side)?;
                let times = side.worker.perform(&side.targets, task(side));
                gathered.times.extend(times.with_context(|| side.peer.to_string())?);
                gathered.shares.add(self.shares(side)?.since(before));
            }
        }
        Ok(gathered)
    }

    fn shares(&self, side: &Side) -> Result<Shares> {
        Ok(Shares {
            client: Spent::by(&[side.worker.id()])?,
            balancer: Spent::by(&side.balancer_ids)?,
            servers: Spent::by(&self.servers)?,
            packets: Spent::by(&self.packets)?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits than an f64")]
fn round([connects, first, requests, downloads]: [&Gathered; 4]) -> Round {
    let median_us = |times: &[u64]| {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map_or(f64::NAN, |ns| *ns as f64 / 1e3)
    };
    let megabytes = SLICES as f64 * DOWNLOAD as f64 / 1e6;
    let seconds = downloads.times.iter().sum::<u64>() as f64 / 1e9;
    let values = Metric::ALL.map(|metric| match metric {
        Metric::Connect => median_us(&connects.times),
        Metric::FirstByte => median_us(&first.times),
        Metric::Request => median_us(&requests.times),
        Metric::Throughput => megabytes / seconds,
        Metric::CpuPerConnects => connects.shares.seconds() / (SLICES * CONNECTS) as f64 * 1e4,
        Metric::CpuPerGigabyte => downloads.shares.seconds() / megabytes * 1e3,
    });
    Round { values, connects: connects.shares, downloads: downloads.shares }
}

/// The kernel's threads that take packets when nobody else does.
fn packet_threads() -> Result<Vec<u32>> {
    let mut threads = Vec::new();
    for id in usage::family(2)? {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        threads.extend(name.starts_with("ksoftirqd/").then_some(id));
    }
    Ok(threads)
}
