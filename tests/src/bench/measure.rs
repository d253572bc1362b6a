//! The order in which things are measured.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use nllb_agent::status::Status;

use super::floor::Floor;
use super::order::Order;
use super::programs::{Programs, per_call};
use super::report::{KernelNs, Report};
use super::worker::{BATCH, Worker};
use crate::agent::Agent;
use crate::cgroup;
use crate::lab::{ControlPlane, Lab, VIP_V4};
use crate::place::Place;

/// Connects of each side, unless told otherwise.
pub(super) const SAMPLES: usize = 24_000;
/// Rounds before any is counted: caches, neighbour entries and routes are there then.
const WARM_UP: usize = 100;
/// The part of them that is made again for each phase with statistics: averages settle sooner than
/// percentiles.
const COUNTED: usize = 3;

const SIDES: usize = 3;
const DIRECT: usize = 0;
const UNMATCHED: usize = 1;

/// Measures connects on the first node of a lab.
pub(super) fn connect(
    lab: &Lab,
    agent: &Agent,
    cpu: Option<usize>,
    samples: usize,
) -> Result<Report> {
    let counted = (samples / COUNTED).max(BATCH);
    let backends: Vec<SocketAddr> = lab.control_planes().iter().map(ControlPlane::tls).collect();
    let vip = [SocketAddr::from((VIP_V4, 443))];
    // Beside the node's cgroup; all below the lab's is removed with the lab.
    let beside = |name: &str| -> Result<Place> {
        let cgroup = cgroup::mount_point()?.join(lab.name()).join(name);
        cgroup::create(&cgroup)?;
        Ok(Place { cgroup: Some(cgroup), ..lab.node(0).place() })
    };
    let mut outside = Worker::start(&beside("direct")?, cpu)?;
    let mut inside = Worker::start(&lab.node(0).place(), cpu)?;

    let mut times: [Vec<u64>; SIDES] = Default::default();
    let mut order = Order::new(SIDES);
    for round in 0..WARM_UP + samples.div_ceil(BATCH) {
        for side in order.next() {
            let batch = match side {
                DIRECT => outside.connect(&backends, BATCH),
                UNMATCHED => inside.connect(&backends, BATCH),
                _ => inside.connect(&vip, BATCH),
            }?;
            if round >= WARM_UP {
                times[side].extend(batch);
            }
        }
    }

    let kernel = kernel(&agent.status()?, &mut inside, &vip, &backends, counted)?;
    let empty = beside("floor")?;
    let floor = Floor::attach(empty.cgroup.as_deref().context("a place without a cgroup")?)?;
    let mut in_floor = Worker::start(&empty, cpu)?;
    let (floor_ns, _) = floor.programs().during(|| in_floor.connect(&backends, counted))?;

    let [direct, unmatched, translated] = times.map(super::report::Latency::of);
    Ok(Report {
        direct,
        unmatched,
        translated,
        kernel,
        floor_ns: per_call(floor_ns.first().copied().context("no floor")?),
        samples: samples.next_multiple_of(BATCH),
        counted,
        pinned: cpu.is_some(),
        cores: 1,
    })
}

/// A program of the agent's by its hook.
pub(super) fn program_id(status: &Status, hook: &str) -> Result<u32> {
    let mut links = status.datapath.links.iter();
    let link = links.find(|link| link.hook == hook);
    link.map(|link| link.program_id).with_context(|| format!("status has no link {hook}"))
}

/// One side at a time, with statistics on.
fn kernel(
    status: &Status,
    inside: &mut Worker,
    vip: &[SocketAddr],
    backends: &[SocketAddr],
    counted: usize,
) -> Result<KernelNs> {
    let id = |hook| program_id(status, hook);
    let programs = Programs::open(&[id("connect4")?, id("sock_ops")?])?;
    let (translated, _) = programs.during(|| inside.connect(vip, counted))?;
    let (unmatched, _) = programs.during(|| inside.connect(backends, counted))?;
    Ok(KernelNs {
        connect4_translated: per_call(translated[0]),
        connect4_unmatched: per_call(unmatched[0]),
        sock_ops: per_call(translated[1]),
        sock_ops_calls: translated[1].calls / u64::try_from(counted)?,
    })
}
