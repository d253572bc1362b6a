//! What translation costs in the kernel: each program's own time, all processors at once, and many
//! frontends.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sched::CpuSet;
use serde_json::{Value, json};

use super::figures::Quartiles;
use crate::agent::{Agent, Configuration};
use crate::bench::measure::program_id;
use crate::bench::order::Order;
use crate::bench::programs::{Programs, per_call};
use crate::bench::report::round;
use crate::bench::worker::{BATCH, Task, Worker};
use crate::cgroup;
use crate::lab::Lab;
use crate::place::Place;

/// The goals.
pub(super) const GOAL_ALL_CORES: f64 = 0.97;
pub(super) const GOAL_FLAT: f64 = 1.10;

/// Numbers of frontends: entries of the kernel's table.
pub(super) const FRONTENDS: [usize; 3] = [1, 16, 256];
const BACKENDS: usize = 16;
/// Connects of a round, and of a processor.
const CONNECTS: usize = 60 * BATCH;

pub(super) struct Kernel {
    pub(super) cores: usize,
    /// Connects per second of all processors, translated to direct.
    pub(super) all_cores: Quartiles,
    /// Nanoseconds of `connect4` and of `sock_ops` per call, by the number of frontends.
    pub(super) frontends: Vec<(usize, Quartiles, Quartiles)>,
}

/// Measures so many rounds.
pub(super) fn measure(rounds: u64, cpu: Option<usize>) -> Result<Kernel> {
    let lab = Lab::builder().control_planes(BACKENDS).build().context("cannot build the lab")?;
    let mut agent = Agent::prepare(&lab, 0)?;
    agent.run_shipped()?;
    agent.configure(&with_frontends(&lab, FRONTENDS[0]))?;
    agent.restart().context("cannot start the agent")?;
    let (cores, all_cores) = all_cores(&lab, rounds)?;
    let frontends = frontends(&lab, &mut agent, rounds, cpu)?;
    Ok(Kernel { cores, all_cores, frontends })
}

/// Connects at the same time on every processor, direct and translated by turns.
#[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits than an f64")]
fn all_cores(lab: &Lab, rounds: u64) -> Result<(usize, Quartiles)> {
    let everywhere = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let cpus: Vec<usize> = cpus(everywhere.trim()).context("strange list of processors")?;
    let outside = cgroup::mount_point()?.join(lab.name()).join("direct");
    cgroup::create(&outside)?;
    let direct = Place { cgroup: Some(outside), ..lab.node(0).place() };
    let servers: Vec<_> = lab.control_planes().iter().map(|server| server.tls()).collect();
    let mut sides = Vec::new();
    for (place, targets) in [(direct, servers), (lab.node(0).place(), vec![frontend(0)])] {
        let workers = cpus.iter().map(|cpu| Worker::start(&place, Some(*cpu)));
        sides.push((workers.collect::<Result<Vec<_>>>()?, targets));
    }
    let (mut order, mut ratios) = (Order::new(sides.len()), Vec::new());
    for number in 0..=rounds {
        let mut rates = [0.0; 2];
        for index in order.next() {
            let (workers, targets) = &mut sides[index];
            let begun = Instant::now();
            for worker in workers.iter_mut() {
                worker.begin(targets, Task::Connect(CONNECTS))?;
            }
            for worker in workers.iter_mut() {
                worker.end()?;
            }
            rates[index] = (CONNECTS * workers.len()) as f64 / begun.elapsed().as_secs_f64();
        }
        // The first warms up.
        ratios.extend((number > 0).then_some(rates[1] / rates[0]));
    }
    Ok((cpus.len(), Quartiles::of(ratios)))
}

/// The programs' time with few and with many frontends, each of which is dialled.
fn frontends(
    lab: &Lab,
    agent: &mut Agent,
    rounds: u64,
    cpu: Option<usize>,
) -> Result<Vec<(usize, Quartiles, Quartiles)>> {
    let mut worker = Worker::start(&lab.node(0).place(), cpu)?;
    let mut order = Order::new(FRONTENDS.len());
    let mut times = FRONTENDS.map(|_| (Vec::new(), Vec::new()));
    // The first is what the agent was started with.
    let mut current = 0;
    for _ in 0..rounds.div_ceil(2) {
        for index in order.next() {
            // What is in force already would not be read as a new configuration.
            let status = if index == current {
                agent.status()?
            } else {
                agent.reload(&with_frontends(lab, FRONTENDS[index]))?
            };
            current = index;
            let ids = [program_id(&status, "connect4")?, program_id(&status, "sock_ops")?];
            let programs = Programs::open(&ids)?;
            let targets: Vec<_> = (0..FRONTENDS[index]).map(frontend).collect();
            worker.connect(&targets, CONNECTS)?;
            let (used, _) = programs.during(|| worker.connect(&targets, 4 * CONNECTS))?;
            times[index].0.push(per_call(used[0]));
            times[index].1.push(per_call(used[1]));
        }
    }
    let quartiles = |(number, (connect, ops)): (usize, (Vec<f64>, Vec<f64>))| {
        (number, Quartiles::of(connect), Quartiles::of(ops))
    };
    Ok(FRONTENDS.into_iter().zip(times).map(quartiles).collect())
}

fn with_frontends(lab: &Lab, number: usize) -> Configuration {
    let vip = (0..number).map(frontend).collect();
    Configuration { vip, loopback: Vec::new(), ..Configuration::of(lab) }
}

/// An address of the Services' network.
fn frontend(index: usize) -> SocketAddr {
    let [high, low] = u16::try_from(index + 1).unwrap_or(u16::MAX).to_be_bytes();
    (Ipv4Addr::new(10, 96, high, low), 443).into()
}

/// `0-3,6` and the like.
fn cpus(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    let most = CpuSet::count();
    Some(cpus.into_iter().filter(|cpu| *cpu < most).collect())
}

impl Kernel {
    /// The dearest of the numbers of frontends to the cheapest, by their medians.
    pub(super) fn flatness(&self) -> f64 {
        let medians = || self.frontends.iter().map(|(_, connect, _)| connect.median);
        medians().fold(f64::NAN, f64::max) / medians().fold(f64::NAN, f64::min)
    }

    pub(super) fn json(&self) -> Value {
        let each = self.frontends.iter().map(|(number, connect, ops)| {
            json!({
                "frontends": number,
                "backends": BACKENDS,
                "connect4_ns": connect.json(1),
                "sock_ops_ns": ops.json(1),
            })
        });
        json!({
            "cores": self.cores,
            "connects_per_second_to_direct": self.all_cores.json(4),
            "by_frontends": each.collect::<Vec<_>>(),
            "by_frontends_max_to_min": round(self.flatness(), 3),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(cpus("0"), Some(vec![0]));
        assert_eq!(cpus("0-2,4"), Some(vec![0, 1, 2, 4]));
        assert_eq!(cpus("x"), None);
    }

    #[test]
    fn frontends_have_addresses_of_their_own() {
        let addresses: std::collections::BTreeSet<_> = (0..256).map(frontend).collect();
        assert_eq!(addresses.len(), 256);
    }
}
