//! The sub-commands of `nllb-lab`. Each enters its place before it does anything else.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use nllb_agent::datapath::closing::{CloseSockets, Closer, Order};

use crate::lab::Lab;
use crate::place::Place;
use crate::{
    apiserver, balancer, bench, client, dashboard, demo, discover, fault, flood, guard, lab,
    resolver, sim, soak,
};

/// The processes of a lab.
#[derive(Parser)]
#[command(name = "nllb-lab", version)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build a lab, say its name, and keep it until standard input ends.
    Up {
        /// How many control-plane hosts.
        #[arg(long, default_value_t = 3)]
        control_planes: usize,
        /// How many nodes.
        #[arg(long, default_value_t = 1)]
        nodes: usize,
        /// How many pods on each node.
        #[arg(long, default_value_t = 0)]
        pods: usize,
    },
    /// Run an API server.
    Apiserver {
        /// File with its settings, JSON.
        #[arg(long)]
        config: PathBuf,
    },
    /// Connect as told on standard input.
    Client,
    /// Run `nllb` with these arguments.
    #[command(disable_help_flag = true)]
    Agent {
        /// The arguments of `nllb`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Let every call that changes maps, pins and links wait for a guard, and go on with these arguments.
    Guarded {
        /// Where the guard listens.
        socket: PathBuf,
        /// The arguments of this program.
        #[arg(last = true, required = true)]
        args: Vec<OsString>,
    },
    /// Resolve a name as musl's resolver does.
    Resolve {
        /// The name.
        name: String,
        /// Name servers, with their ports.
        #[arg(required = true)]
        servers: Vec<SocketAddr>,
    },
    /// Become another program.
    Exec {
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Show the product at work: servers fail and come back while a client dials the VIP.
    Demo(demo::Options),
    /// Draw the dashboard of deploy/monitoring from a run with servers that fail.
    Dashboard(dashboard::Options),
    /// Measure.
    Bench {
        /// What.
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Simulate a cluster of thousands of nodes in virtual time.
    Sim(sim::Options),
    /// Let random faults strike for hours, and hold what is promised against what is seen.
    Soak(soak::Options),
    /// Connect in batches as told on standard input, and give the times.
    BenchWorker {
        /// The only processor to use.
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// Connect once and say who answered.
    Dial {
        /// Where to.
        address: SocketAddr,
    },
    /// Connect and hold the socket inside the kernel until standard input ends.
    Stall {
        /// Where to.
        address: SocketAddr,
    },
    /// Ask again and again for a document, until standard input ends; then say how often, and how often somebody
    /// listened.
    Flood {
        /// A socket in the file system, or else an address.
        at: String,
        /// The document.
        path: String,
    },
    /// Balance over servers, as a distribution's own load balancer does.
    Balancer {
        /// Where to listen.
        listen: SocketAddr,
        /// The servers.
        #[arg(required = true)]
        servers: Vec<SocketAddr>,
    },
    /// Delay a host's frames, and lose some.
    Relay {
        /// The host's port on the bridge.
        #[arg(long)]
        port: String,
        /// What it does to them.
        #[command(flatten)]
        weakness: fault::relay::Weakness,
    },
    /// Watch the API server as the agent does, and say what it tells.
    Discover(discover::Options),
    /// End the sockets of a backend, as an agent would, and say what has come of it.
    Close {
        /// The directory of the pins.
        pins: PathBuf,
        /// Id of the backend.
        backend: u32,
        /// Its epoch.
        epoch: u32,
        /// Its address.
        address: SocketAddr,
    },
    /// Remove what labs left behind whose process has gone.
    Clean,
}

/// Runs the sub-command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nllb-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let Cli { place, command } = cli;
    place.enter()?;
    match command {
        Command::Up { control_planes, nodes, pods } => {
            let lab = Lab::builder().control_planes(control_planes).nodes(nodes).pods(pods);
            let lab = lab.build()?;
            println!("{}", lab.name());
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        }
        Command::Apiserver { config } => apiserver::run(&config)?,
        Command::Client => client::run()?,
        Command::Agent { args } => {
            let program = OsString::from("nllb");
            return Ok(nllb_agent::cli::run_from([program].into_iter().chain(args)));
        }
        Command::Guarded { socket, args } => {
            guard::hand_over(&socket)?;
            let program = std::env::current_exe()?.into_os_string();
            return Err(become_program(&[vec![program], args].concat()));
        }
        Command::Resolve { name, servers } => resolver::run(&name, &servers)?,
        Command::Exec { command } => return Err(become_program(&command)),
        Command::Demo(options) => return demo::run(options),
        Command::Dashboard(options) => return dashboard::run(&options),
        Command::Bench { what } => return bench::run(what),
        Command::Sim(options) => return sim::run(&options),
        Command::Soak(options) => return soak::run(&options),
        Command::BenchWorker { cpu } => bench::worker::run(cpu)?,
        Command::Dial { address } => demo::keep::dial(address)?,
        Command::Stall { address } => fault::stall::run(address)?,
        Command::Flood { at, path } => flood::run(&at, &path)?,
        Command::Balancer { listen, servers } => balancer::run(listen, servers)?,
        Command::Relay { port, weakness } => fault::relay::run(&port, weakness)?,
        Command::Discover(options) => discover::run(options)?,
        Command::Close { pins, backend, epoch, address } => {
            let closer = Closer::start(&pins, CloseSockets::Auto);
            let (kept, spread) = (true, Duration::ZERO);
            let order = Order {
                backend,
                epoch,
                address,
                kept,
                waiting: None,
                datagrams: true,
                count: None,
                spread,
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            println!("{:?} {:?}", closer.closing(), runtime.block_on(closer.close(order)));
        }
        Command::Clean => {
            for name in lab::clean()? {
                println!("removed {name}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns only if it cannot.
fn become_program(command: &[OsString]) -> anyhow::Error {
    let [program, args @ ..] = command else { return anyhow::anyhow!("no program") };
    let error = std::process::Command::new(program).args(args).exec();
    anyhow::Error::new(error).context(format!("cannot run {}", program.display()))
}
