//! A cluster in virtual time: thousands of nodes, each with the product's own machine, against a model of
//! a few API servers, to see what no lab can show: what all nodes together do to a server.
//!
//! The machine is told what happened and says what it wants, as by the driver; the choice of a backend
//! for each connection is the kernel program's own. Modelled are the network, the servers and the
//! clients. A run with the same arguments gives the same figures.

mod measure;
mod network;
mod node;
mod plot;
mod result;
mod scenario;
mod timeline;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};

pub(crate) use plot::COLOURS;
use result::Run;
use scenario::Scenario;

/// What is run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// How many nodes.
    #[arg(long, default_value_t = 5000)]
    nodes: usize,
    /// How many backends; several runs for several numbers.
    #[arg(long, value_delimiter = ',', default_values_t = [3, 5])]
    backends: Vec<usize>,
    /// Only this scenario; may be given several times.
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The form of the result on stdout.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// File for a plot, SVG.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// The form of the result.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// For programs.
    Json,
}

/// Runs the scenarios and prints the result. Fails when a goal is missed.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if cfg!(debug_assertions) && options.nodes > 500 {
        eprintln!("nllb-lab: this is a debug build; many nodes take long");
    }
    let scenarios = match options.scenario.as_slice() {
        [] => Scenario::value_variants(),
        some => some,
    };
    let cases: Vec<_> = options
        .backends
        .iter()
        .flat_map(|backends| scenarios.iter().map(|scenario| (*scenario, *backends)))
        .collect();
    let runs = run_all(&cases, options.nodes, options.seed)?;
    match options.output {
        Output::Table => print!("{}", result::table(&runs)),
        Output::Json => {
            let runs: Vec<_> = runs.iter().map(Run::json).collect();
            println!("{}", serde_json::to_string(&runs)?);
        }
    }
    if let Some(path) = &options.svg {
        plot::draw(&runs, path)?;
    }
    let met = runs.iter().all(|run| run.misses().is_empty());
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the cases on all processors; the results are in the order of the cases.
fn run_all(cases: &[(Scenario, usize)], nodes: usize, seed: u64) -> Result<Vec<Run>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some((index, (scenario, backends))) = take(cases, &next) {
            let run = run_one(scenario, backends, nodes, seed);
            if let Ok(mut done) = done.lock() {
                done.push((index, run));
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(cases.len());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().map_err(|_poison| anyhow!("a run ended in a panic"))?;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, run)| run).collect()
}

fn take<T: Copy>(cases: &[T], next: &AtomicUsize) -> Option<(usize, T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, *cases.get(index)?))
}

fn run_one(scenario: Scenario, backends: usize, nodes: usize, seed: u64) -> Result<Run> {
    let started = Instant::now();
    let script = scenario.script(backends, nodes);
    let (counts, events) = world::run(&script, nodes, seed)
        .with_context(|| format!("{} with {backends} backends", scenario.name()))?;
    let wall_seconds = started.elapsed().as_secs_f64();
    eprintln!("nllb-lab: {}, {backends} backends: {wall_seconds:.0} s", scenario.name());
    Ok(Run { scenario, backends, nodes, counts, script, events, wall_seconds })
}

#[cfg(test)]
mod tests;
