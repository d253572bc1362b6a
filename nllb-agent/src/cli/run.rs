//! `nllb run`: the agent, until a signal ends it.

use super::{Failure, RunArgs};
use crate::config::{Cgroup, CloseSockets};
use crate::confine::{self, Confinement};
use crate::datapath::packet::PacketSocket;
use crate::driver::{self, RunError, Unresolved};
use crate::exit::Exit;
use crate::limits;
use crate::telemetry;
use nllb_core::vip::VipPlan;

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    let RunArgs { config: file, log_level, log_format, no_seccomp } = args;
    let log = telemetry::install(log_level, *log_format)
        .map_err(|error| Failure::new(Exit::Configuration, &error))?;
    if let Err(error) = limits::raise_descriptors() {
        tracing::warn!(%error, "cannot raise the limit of descriptors; fewer connections are relayed");
    }
    // Who may not, is told by what fails for it.
    let _refused = limits::raise_locked_memory();
    confine::begin();
    let config = driver::load(file, Unresolved::Remember)
        .map_err(|error| Failure::new(Exit::Configuration, &error))?;
    for line in config.unresolved() {
        tracing::warn!("{line}");
    }
    // The right to it is given up next.
    let announcer = config.vip.as_ref().and_then(VipPlan::lease).and_then(|_| {
        let refused = |error: &std::io::Error| {
            tracing::warn!(%error, "takeovers of the VIP are not announced: add CAP_NET_RAW");
        };
        PacketSocket::open().inspect_err(refused).ok()
    });
    // Before the first thread.
    let datapath = &config.datapath;
    let others = datapath.close_sockets == CloseSockets::Auto || datapath.cgroup == Cgroup::Auto;
    let confinement = Confinement::enter(others, !no_seccomp);
    driver::run(file, config, log, confinement, announcer)
        .map_err(|error| Failure::new(exit(&error), &error))
}

const fn exit(error: &RunError) -> Exit {
    match error {
        RunError::Datapath(_) => Exit::Datapath,
        RunError::Table { .. } => Exit::Configuration,
        RunError::Runtime(_) | RunError::Setup { .. } => Exit::Unexpected,
    }
}
