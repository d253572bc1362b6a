//! Checks of each connect that the kernel's record of the socket names the server it went to.
//!
//! A record can only be read by a process that holds the socket, so this runs in the client.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nllb_agent::datapath::maps::Sockets;
use nllb_common::maps::SocketRecord;
use socket2::{Domain, Protocol, Socket, Type};

use super::connect::name;
use super::protocol::{Attribution, AttributionReport, Target};
use crate::sys;

/// Every so often a thread takes a new socket.
const REUSES: u64 = 16;
/// Every so often it goes straight to a server.
const DIRECT_EVERY: u64 = 4;
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs it to its end.
pub(super) fn run(plan: &Attribution) -> Result<AttributionReport> {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..plan.threads).map(|_| scope.spawn(|| work(plan, &next))).collect();
        let mut total = AttributionReport::default();
        for worker in workers {
            let report = worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            add(&mut total, report?);
        }
        Ok(total)
    })
}

fn add(total: &mut AttributionReport, report: AttributionReport) {
    let AttributionReport { translated, direct, reused, errors, wrong } = report;
    total.translated += translated;
    total.direct += direct;
    total.reused += reused;
    for (error, count) in errors {
        *total.errors.entry(error).or_default() += count;
    }
    total.wrong.extend(wrong);
}

fn work(plan: &Attribution, next: &AtomicU64) -> Result<AttributionReport> {
    let sockets = Sockets::open(&plan.records)?;
    let mut report = AttributionReport::default();
    let mut held: Option<Socket> = None;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= plan.connects {
            return Ok(report);
        }
        let socket = match held.take() {
            Some(socket) if !number.is_multiple_of(REUSES) => {
                sys::connect_unspec(socket.as_fd()).context("cannot dissolve the association")?;
                report.reused += 1;
                socket
            }
            _ => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_read_timeout(Some(GREETING_TIMEOUT))?;
                socket
            }
        };
        let straight = number.is_multiple_of(DIRECT_EVERY).then(|| {
            let index = usize::try_from(number / DIRECT_EVERY).unwrap_or_default();
            &plan.targets[index % plan.targets.len()]
        });
        let address = straight.map_or(plan.frontend, |target| target.address);
        if let Err(error) = socket.connect(&address.into()) {
            *report.errors.entry(name(&error)).or_default() += 1;
            continue;
        }
        *(if straight.is_some() { &mut report.direct } else { &mut report.translated }) += 1;
        let record = sockets.record(&socket)?;
        if let Err(what) = check(&socket, straight, record, &plan.targets) {
            report.wrong.push(what);
        }
        held = Some(socket);
    }
}

fn check(
    socket: &Socket,
    straight: Option<&Target>,
    record: Option<SocketRecord>,
    targets: &[Target],
) -> Result<(), String> {
    let peer = socket.peer_addr().map_err(|error| format!("no peer: {error}"))?;
    let peer = peer.as_socket();
    let mut greeting = String::new();
    BufReader::new(socket)
        .read_line(&mut greeting)
        .map_err(|error| format!("no greeting from {peer:?}: {error}"))?;
    let greeting = greeting.trim_end();
    let target = targets.iter().find(|target| Some(target.address) == peer);
    let target = target.ok_or_else(|| format!("a torn address: {peer:?}"))?;
    if target.name != greeting {
        return Err(format!("{greeting} at {peer:?}"));
    }
    match (straight, record) {
        (Some(_), None) => Ok(()),
        (Some(_), Some(record)) => Err(format!("direct to {peer:?}, yet recorded: {record:?}")),
        (None, Some(record)) if record.backend == target.backend => Ok(()),
        (None, record) => Err(format!("{greeting} at {peer:?} has the record {record:?}")),
    }
}
