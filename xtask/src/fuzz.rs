//! `cargo xtask fuzz`: the targets of `tests/fuzz` under libFuzzer, several at a time.
//!
//! The stable compiler puts in the counters that libFuzzer reads, so neither a nightly toolchain nor cargo-fuzz is
//! needed. There is no sanitizer: hardly any code that is reached here can touch memory in a wrong way, and every input
//! would take twice as long.

mod corpus;
mod run;

use std::{
    env, fs,
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    setup::machine,
    workspace::{Workspace, say, succeeds},
};
use run::{Limit, Report};

/// Its manifest, which is that of a workspace of its own.
pub(crate) const MANIFEST: &str = "tests/fuzz/Cargo.toml";
/// Where it is built and run, below the target directory.
const SIDE: &str = "fuzz";
/// As cargo-fuzz has it, without what only a sanitizer needs.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];
/// How long each target runs when nobody says so, and in `cargo xtask test`.
const SECONDS: u64 = 60;

/// What reads the words of others.
struct Target {
    name: &'static str,
    /// Octets of the longest input: as much as shows something, since a long one takes long.
    longest: u32,
    /// Where inputs are besides its own seeds.
    seeds: &'static [&'static str],
}

const TARGETS: [Target; 10] = [
    Target { name: "configuration", longest: 4096, seeds: &["nllb-agent/tests/bad_config"] },
    Target { name: "kubeconfig", longest: 4096, seeds: &[] },
    Target { name: "endpoint_slice", longest: 4096, seeds: &[] },
    Target { name: "probe_answer", longest: 4096, seeds: &[] },
    Target { name: "dns_answer", longest: 1024, seeds: &[] },
    Target { name: "sentinel_frames", longest: 1024, seeds: &[] },
    Target { name: "event_record", longest: 1024, seeds: &[] },
    Target { name: "table_on_disk", longest: 4096, seeds: &[] },
    Target { name: "admin_request", longest: 1024, seeds: &[] },
    Target { name: "packet", longest: 512, seeds: &[] },
];

#[derive(Args)]
pub(crate) struct Options {
    /// Only these; all when none is named.
    targets: Vec<String>,
    /// How long each runs.
    #[arg(long, value_name = "N", default_value_t = SECONDS, conflicts_with = "runs")]
    seconds: u64,
    /// How many inputs each runs, however long that takes.
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// Afterwards writes to `tests/fuzz/corpus` as few inputs as reach all that is reached.
    #[arg(long)]
    keep: bool,
}

/// All of them, for a minute each. True when none found anything.
pub(crate) fn check(workspace: &Workspace) -> Result<bool> {
    // Set-up has installed both if it may.
    if let Some(missing) = ["c++", "xz"].into_iter().find(|program| !machine::is_program(program)) {
        say(&format!("no {missing} in PATH: the fuzz targets are skipped"));
        return Ok(true);
    }
    run_all(workspace, &chosen(&[])?, Limit::Seconds(SECONDS))
}

pub(crate) fn command(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let Options { targets, seconds, runs, keep } = options;
    let limit = runs.map_or(Limit::Seconds(*seconds), Limit::Runs);
    let chosen = chosen(targets)?;
    let passed = run_all(workspace, &chosen, limit)?;
    if *keep && passed {
        for target in chosen {
            corpus::keep(&Place::of(workspace, target)?)?;
        }
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let known = |name: &String| {
        let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        let found = TARGETS.iter().find(|target| target.name == name);
        found.with_context(|| format!("no target is called {name}: use {}", known.join(", ")))
    };
    names.iter().map(known).collect()
}

/// Where a target and its inputs are.
struct Place {
    target: &'static Target,
    program: PathBuf,
    /// What it has found so far, on this machine.
    found: PathBuf,
    /// What is committed: readable seeds, and the corpus, unpacked.
    given: Vec<PathBuf>,
    /// The corpus as it is committed.
    packed: PathBuf,
    /// The corpus, unpacked.
    kept: PathBuf,
    log: PathBuf,
    /// The beginning of the name of an input that breaks something.
    broken: String,
}

impl Place {
    /// Its program, told which target it is.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(format!("--target={}", self.target.name));
        command
    }

    fn of(workspace: &Workspace, target: &'static Target) -> Result<Self> {
        let side = workspace.side_target(SIDE);
        let name = target.name;
        let fuzz = workspace.root.join("tests/fuzz");
        let kept = side.join("kept").join(name);
        let own = fuzz.join("seeds").join(name);
        let more = target.seeds.iter().map(|directory| workspace.root.join(directory));
        Ok(Self {
            target,
            program: side.join(host()?).join("release/nllb-fuzz"),
            found: side.join("found").join(name),
            given: [own, kept.clone()].into_iter().chain(more).collect(),
            packed: fuzz.join("corpus").join(format!("{name}.tar.xz")),
            kept,
            log: side.join("log").join(name),
            broken: format!("{}/broken/{name}-", side.display()),
        })
    }

    /// Makes the directories, and unpacks what is committed.
    fn prepare(&self) -> Result<()> {
        let broken = Path::new(&self.broken).parent();
        for directory in
            [Some(self.found.as_path()), self.log.parent(), broken].into_iter().flatten()
        {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        corpus::unpack(&self.packed, &self.kept)
    }
}

/// Builds and runs them, as many at a time as there are processors. True when none found anything.
fn run_all(workspace: &Workspace, targets: &[&'static Target], limit: Limit) -> Result<bool> {
    if !builds(workspace)? {
        return Ok(false);
    }
    let places: Vec<Place> =
        targets.iter().map(|target| Place::of(workspace, target)).collect::<Result<_>>()?;
    places.iter().try_for_each(Place::prepare)?;
    let waiting = Mutex::new(places.iter());
    let next = || waiting.lock().ok()?.next();
    let at_a_time = thread::available_parallelism().map_or(1, NonZero::get).min(places.len());
    let work = || -> Result<bool> {
        let mut passed = true;
        while let Some(place) = next() {
            let report = run::run(place, limit)?;
            passed &= report.passed;
            tell(place, &report);
        }
        Ok(passed)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_fold(true, |passed, worker| match worker.join() {
            Ok(one) => Ok(passed & one?),
            Err(_panic) => bail!("a worker has ended"),
        })
    })
}

fn tell(place: &Place, report: &Report) {
    let Place { target, log, .. } = place;
    let name = target.name;
    println!("{name:16} {report}");
    if !report.passed {
        say(&format!("{name}: the end of {}:\n{}", log.display(), report.end));
    }
}

fn builds(workspace: &Workspace) -> Result<bool> {
    let mut command =
        workspace.cargo(["build", "--quiet", "--release", "--manifest-path", MANIFEST]);
    command
        // With a target named, build scripts and macros are built without these flags.
        .args(["--target", &host()?, "--target-dir"])
        .arg(workspace.side_target(SIDE))
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    succeeds(&mut command)
}

/// The kind of machine that this compiler builds for by itself.
fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("rustc cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say for which machine it builds")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_the_program_is_run_and_has_seeds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let listed = fs::read_to_string(root.join("tests/fuzz/src/targets.rs")).expect("readable");
        let entries = listed.lines().filter_map(|line| line.trim().strip_prefix("(\""));
        let names: Vec<_> = entries.filter_map(|entry| entry.split('"').next()).collect();
        assert_eq!(names, TARGETS.each_ref().map(|target| target.name));
        for name in names {
            let seeds = fs::read_dir(root.join("tests/fuzz/seeds").join(name)).expect("seeds");
            assert!(seeds.count() > 2, "{name}");
        }
    }

    #[test]
    fn a_name_that_is_not_known_is_answered_with_those_that_are() {
        let error = chosen(&["config".to_owned()]).err().expect("no such target").to_string();
        assert!(error.starts_with("no target is called config: use configuration, "), "{error}");
        assert_eq!(chosen(&["kubeconfig".to_owned()]).expect("known").len(), 1);
    }
}
