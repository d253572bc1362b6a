//! The command line. Every command ends in an exit code that scripts can rely on.

mod ask;
mod check_config;
mod doctor;
mod drain;
mod drill;
mod events;
mod explain;
mod init;
mod log_level;
mod manual;
mod paint;
mod run;
mod status;
mod top;
mod ui;
mod uninstall;
mod version;
mod vip;

use crate::exit::Exit;
use crate::telemetry::LogFormat;
use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Node-local load balancer for the Kubernetes control plane.
#[derive(Debug, Parser)]
#[command(name = "nllb", version, propagate_version = true)]
#[command(after_help = "Exit codes: 0 ok, 1 unexpected, 2 configuration, 3 degraded, \
    4 panic, 5 data path (kernel, privileges, attachment), 6 agent not reachable, 7 refused, \
    8 no distribution found, 9 more than one, 10 did not pass.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent: probe the API servers and keep the BPF maps true.
    Run(RunArgs),
    /// Check a configuration and say what is wrong with it, by line and key.
    CheckConfig {
        /// The configuration.
        file: PathBuf,
    },
    /// Write the configuration that fits this host's Kubernetes distribution and role.
    Init(init::InitArgs),
    /// Show how this node stands, in one line first, and what the running agent knows.
    Status(status::StatusArgs),
    /// Show on a terminal what goes on, drawn anew each second; q ends it.
    Top(top::TopArgs),
    /// Serve a page to this host's browsers that shows the same, until Ctrl-C.
    Ui(ui::UiArgs),
    /// Say what would become of a connect from here or elsewhere, and why.
    Explain(explain::ExplainArgs),
    /// Look for what is wrong on this node, and say how to mend it.
    Doctor(doctor::DoctorArgs),
    /// Send no new connections to a backend until `nllb undrain`; those that are open stay.
    Drain(DrainArgs),
    /// Use a drained backend again.
    Undrain(UndrainArgs),
    /// Rehearse the loss of each backend on this node, and hold what clients feel against an SLA.
    Drill(drill::DrillArgs),
    /// Show what happened: failovers, recoveries, connections that were ended, and why and how long.
    Events(events::EventsArgs),
    /// Show or change what the running agent logs.
    LogLevel(log_level::LogLevelArgs),
    /// Whether routers should send the control-plane VIP to this node.
    Vip {
        /// What is asked.
        #[command(subcommand)]
        command: vip::VipCommand,
    },
    /// Remove every pin and link, so that nothing is translated any more.
    Uninstall(UninstallArgs),
    /// Show the version, and what this kernel can do.
    Version {
        /// How it is shown.
        #[arg(short, long, default_value = "table", value_enum)]
        output: Output,
    },
    /// Print completions for a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Write manual pages into a directory.
    Man {
        /// The directory; made when it is not there.
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The configuration; a change of it is applied at once.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What is logged: error, warn, info, debug, trace, or module=level,...
    #[arg(long, env = "NLLB_LOG", default_value = "info", value_name = "LEVEL")]
    log_level: String,
    /// How it is logged.
    #[arg(long, env = "NLLB_LOG_FORMAT", default_value = "text", value_enum)]
    log_format: LogFormat,
    /// Do not limit system calls to those that the agent needs: for a host on which it needs others.
    #[arg(long, env = "NLLB_NO_SECCOMP", value_parser = FalseyValueParser::new())]
    no_seccomp: bool,
}

#[derive(Debug, Args)]
struct DrainArgs {
    /// Its address and port, or its address where that is enough.
    backend: String,
    /// Close the connections that are still open after this time, like 5m.
    #[arg(long, value_name = "DURATION", value_parser = drain::close_after)]
    close_after: Option<Duration>,
    /// Also when no other backend of its pool may get connections.
    #[arg(long)]
    force: bool,
    /// The agent's admin socket.
    #[arg(long, default_value = crate::config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

#[derive(Debug, Args)]
struct UndrainArgs {
    /// As for `nllb drain`.
    backend: String,
    /// The agent's admin socket.
    #[arg(long, default_value = crate::config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// The whole document.
    Json,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct UninstallArgs {
    /// Take the directory from this configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the pins.
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    run_from(std::env::args_os())
}

/// Runs a command line; the first word is the program's name.
#[must_use]
pub fn run_from<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let terminal = io::stdout().is_terminal();
    execute(args, terminal, &mut io::stdout(), &mut io::stderr()).into()
}

/// The same with the streams given, and whether `out` is a terminal.
fn execute<I, T>(args: I, terminal: bool, out: &mut dyn io::Write, err: &mut dyn io::Write) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let result = match Cli::try_parse_from(args) {
        Ok(Cli { command }) => dispatch(command, terminal, out, err),
        Err(error) => return usage(&error, out, err),
    };
    match result {
        Ok(exit) => exit,
        Err(Failure { exit, line }) => {
            // Nobody is left to be told when standard error is closed.
            let _told = writeln!(err, "nllb: {line}");
            exit
        }
    }
}

fn dispatch(
    command: Command,
    terminal: bool,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Result<Exit, Failure> {
    let done = match command {
        Command::Run(args) => run::run(&args),
        Command::CheckConfig { file } => check_config::run(&file, out),
        Command::Init(args) => init::run(args, out, err),
        Command::Status(args) => return status::run(args, terminal, out, err),
        Command::Top(args) => top::run(args, terminal),
        Command::Ui(args) => ui::run(args, out, err),
        Command::Explain(args) => explain::run(args, out),
        Command::Doctor(args) => return doctor::run(&args, terminal, out),
        Command::Drain(args) => drain::drain(args, out),
        Command::Undrain(args) => drain::undrain(args, out),
        Command::Drill(args) => return drill::run(args, out, err),
        Command::Events(args) => events::run(args, out, err),
        Command::LogLevel(args) => log_level::run(args, out),
        Command::Vip { command } => vip::run(command, out, err),
        Command::Uninstall(UninstallArgs { config, bpffs }) => uninstall::run(config, bpffs, out),
        Command::Version { output } => version::run(output, out),
        Command::Completion { shell } => manual::completion(shell, out),
        Command::Man { directory } => manual::pages(&directory, out),
    };
    done.map(|()| Exit::Success)
}

/// Help and version are answers; everything else is a wrong command line.
fn usage<'a>(error: &clap::Error, out: &'a mut dyn io::Write, err: &'a mut dyn io::Write) -> Exit {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only two kinds are not mistakes")]
    let (stream, exit) = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => (out, Exit::Success),
        _ => (err, Exit::Configuration),
    };
    // As above.
    let _told = write!(stream, "{}", error.render());
    exit
}

/// Why a command failed, in one line.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    line: String,
}

impl Failure {
    fn new(exit: Exit, error: &dyn std::fmt::Display) -> Self {
        Self { exit, line: error.to_string() }
    }

    /// Without signals a command could not be ended in good order.
    #[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
    fn of_signals(error: io::Error) -> Self {
        Self { exit: Exit::Unexpected, line: format!("cannot listen for signals: {error}") }
    }
}

impl From<io::Error> for Failure {
    /// The only I/O of the commands themselves is their output.
    fn from(error: io::Error) -> Self {
        Self { exit: Exit::Unexpected, line: format!("cannot write the output: {error}") }
    }
}

#[cfg(test)]
mod tests;
