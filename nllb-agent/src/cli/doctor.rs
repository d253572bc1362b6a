//! `nllb doctor`: looks for what is wrong on this node, and says how to mend it.
//!
//! Here is only who looks where; what follows from it is decided in `crate::doctor`. Everything runs at once
//! and nothing waits for long, since a doctor is called when much is silent.

mod backends;
mod bundle;
mod kernel;
mod listeners;
mod pods;
mod processes;
mod table;
mod told;

use super::paint::Paint;
use super::{Failure, Output};
use crate::doctor::{Report, Verdict, attachment, configuration, guests, host, services, vip};
use crate::exit::Exit;
use crate::probe::unix_time;
use crate::status::Status;
use clap::Args;
use indicatif::ProgressBar;
use std::io;
use std::net::SocketAddr;
use std::panic;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use told::Told;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The configuration; else the running agent's, else /etc/nllb/agent.yaml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's admin socket; else the configuration's.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Look from the network namespace of this process as well; else of some pod.
    #[arg(long, value_name = "PID")]
    from_pid: Option<u32>,
    /// How it is shown.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Output,
    /// Write all that helps others to find the fault into this archive (tar.gz), without secrets.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

pub(super) fn run(
    args: &DoctorArgs,
    terminal: bool,
    out: &mut dyn io::Write,
) -> Result<Exit, Failure> {
    let DoctorArgs { config, socket, from_pid, output, bundle } = args;
    // Shown on a terminal alone.
    let progress = ProgressBar::new_spinner().with_message("reading the configuration");
    progress.enable_steady_tick(Duration::from_millis(100));
    let told = Told::read(config.as_deref(), socket.as_deref());
    let report = examine(&told, *from_pid, &progress)?;
    progress.set_message("writing the bundle");
    let written = bundle.as_ref().map(|file| bundle::write(file, &told, &report));
    progress.finish_and_clear();
    match output {
        Output::Json => {
            let document = serde_json::to_value(&report).map_err(io::Error::other)?;
            writeln!(out, "{document:#}")?;
        }
        Output::Table => table::write(&report, Paint::of(terminal), out)?,
    }
    written.transpose()?;
    Ok(match report.verdict {
        Verdict::Skip | Verdict::Pass => Exit::Success,
        Verdict::Warn => Exit::Degraded,
        Verdict::Fail => Exit::Failed,
    })
}

fn examine(told: &Told, from_pid: Option<u32>, progress: &ProgressBar) -> Result<Report, Failure> {
    let targets = told.targets();
    progress.set_message(format!("asking {} backends", targets.len()));
    let (backends, kernel) = thread::scope(|scope| {
        let kernel = scope.spawn(|| kernel::look(told));
        (backends::look(told, &targets, from_pid), kernel.join())
    });
    let backends = backends.map_err(|error| Failure {
        exit: Exit::Unexpected,
        line: format!("cannot start the runtime: {error}"),
    })?;
    let (host, attachment) = kernel.unwrap_or_else(|died| panic::resume_unwind(died));
    let mut checks = host::checks(&host);
    checks.extend(attachment::checks(&attachment));
    if let Ok(status) = &told.status {
        checks.extend(guests::checks(status.sandboxes.as_ref(), &status.frontends));
        checks.extend(vip::checks(seen_vip(status).as_ref()));
    }
    checks.extend(told.services().iter().flat_map(services::checks));
    let told_time = backends.iter().filter_map(|backend| {
        let answer = backend.seen.answer.as_ref()?.as_ref().ok()?;
        Some((backend.address, answer.ahead?))
    });
    checks.push(host::clock(&told_time.collect::<Vec<_>>()));
    let around =
        crate::doctor::backends::Around { now: unix_time(), kubelet: told.kubelet_version() };
    let of_backends = backends.iter().flat_map(|one| crate::doctor::backends::checks(one, &around));
    checks.extend(of_backends);
    checks.extend(configuration::checks(&told.configuration(&targets)));
    Ok(Report::new(checks))
}

/// The VIP, and whether an API server of this host can be reached by it.
fn seen_vip(status: &Status) -> Option<vip::Seen<'_>> {
    let vip = status.vip.as_ref()?;
    let is_member = |family: bool| {
        vip.members.iter().any(|member| member.own && member.address.is_ipv4() == family)
    };
    let addresses = vip.addresses.iter().filter(|ip| is_member(ip.is_ipv4()));
    let addresses = addresses.map(|ip| SocketAddr::new(*ip, vip.port));
    let unheard = addresses.filter(|address| !listeners::hears(*address)).collect();
    Some(vip::Seen { vip, ownership: status.vip_ownership.as_ref(), unheard })
}
