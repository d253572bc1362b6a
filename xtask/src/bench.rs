//! `cargo xtask bench`: measurements run in the lab, in a release build; here is only their door.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use crate::{setup, workspace::Workspace};

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The latency of connect(2), direct against translated, and the kernel programs' own time.
    Connect {
        /// The form of the result on stdout.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// What clients feel when servers fail: blackouts, failed connects, closed connections.
    Failover {
        /// How often each fault strikes.
        #[arg(long, value_name = "N")]
        runs: Option<u64>,
        /// Only this fault; may be given several times.
        #[arg(long, value_name = "NAME")]
        fault: Vec<OsString>,
        /// The form of the result on stdout.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// nllb beside Envoy, haproxy, nginx and kube-proxy's rules; exits with 10 when a goal is missed.
    Peers {
        /// How often each peer's cost is measured.
        #[arg(long, value_name = "N")]
        rounds: Option<u64>,
        /// How often each fault strikes each peer; 0 leaves the faults out.
        #[arg(long, value_name = "N")]
        runs: Option<u64>,
        /// How many labs of each peer are struck at the same time.
        #[arg(long, value_name = "N")]
        lanes: Option<u64>,
        /// Only this peer beside direct; may be given several times.
        #[arg(long, value_name = "NAME")]
        peer: Vec<OsString>,
        /// Only this fault; may be given several times.
        #[arg(long, value_name = "NAME")]
        fault: Vec<OsString>,
        /// Directory for the plots, SVG, and for the tables, where it has a `benchmarks.md`.
        #[arg(long, value_name = "DIRECTORY")]
        svg: Option<OsString>,
        /// The form of the result on stdout.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// A packet in the programs of sandboxed pods and of the control-plane VIP, and packets per second beside
    /// nftables; exits with 10 when a goal is missed.
    Packets {
        /// How often each figure is taken.
        #[arg(long, value_name = "N")]
        rounds: Option<u64>,
        /// The form of the result on stdout.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

/// The form of a result.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// For programs.
    Json,
}

impl Output {
    /// What a program of the lab is told of it.
    pub(crate) fn add_to(self, arguments: &mut Vec<OsString>) {
        match self {
            Self::Table => {}
            Self::Json => arguments.extend(["-o".into(), "json".into()]),
        }
    }
}

pub(crate) fn command(workspace: &Workspace, what: &Bench) -> Result<ExitCode> {
    let mut arguments: Vec<OsString> = vec!["bench".into()];
    let output = match what {
        Bench::Connect { output } => {
            arguments.push("connect".into());
            output
        }
        Bench::Packets { rounds, output } => {
            arguments.push("packets".into());
            arguments.extend(rounds.iter().map(|rounds| format!("--rounds={rounds}").into()));
            output
        }
        // These measure the program that is shipped, which is looked for beside the lab's.
        Bench::Failover { .. } | Bench::Peers { .. }
            if workspace.shipped_program(false)?.is_none() =>
        {
            return Ok(ExitCode::FAILURE);
        }
        Bench::Failover { runs, fault, output } => {
            arguments.push("failover".into());
            arguments.extend(runs.iter().map(|runs| format!("--runs={runs}").into()));
            arguments.extend(each("--fault", fault));
            output
        }
        Bench::Peers { rounds, runs, lanes, peer, fault, svg, output } => {
            setup::add_peers(workspace);
            arguments.push("peers".into());
            arguments.extend(rounds.iter().map(|rounds| format!("--rounds={rounds}").into()));
            arguments.extend(runs.iter().map(|runs| format!("--runs={runs}").into()));
            arguments.extend(lanes.iter().map(|lanes| format!("--lanes={lanes}").into()));
            arguments.extend(each("--peer", peer));
            arguments.extend(each("--fault", fault));
            arguments.extend(each("--svg", svg));
            let kept = workspace.side_target("bench-peers.json");
            arguments.extend(["--keep".into(), kept.into()]);
            output
        }
    };
    output.add_to(&mut arguments);
    workspace.become_program("nllb-lab", "nllb-lab", &arguments)
}

/// An option as often as it has values.
fn each<'a>(
    name: &'a str,
    values: impl IntoIterator<Item = &'a OsString>,
) -> impl Iterator<Item = OsString> {
    values.into_iter().flat_map(move |value| [name.into(), value.clone()])
}
