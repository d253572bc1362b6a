//! Faults for hours: random ones, under load, with promises that are held against what was seen.
//!
//! Time is cut into epochs. In each, servers, network and agent have the faults that the seed and the epoch's number
//! give them; then all heals, and the books are looked into. So an epoch can be played again alone.
//!
//! | promise | how it is seen |
//! |---|---|
//! | no connect goes to a server that has been out for a second while another is in | who answered each connect, the verdicts in the maps |
//! | no connect fails but for what was not known yet | each failure, the faults, the verdicts |
//! | what is broken is out of service within seconds | the faults, the verdicts |
//! | no connection is closed that does not go through a frontend, and none whose server had nothing | held connections of both kinds |
//! | a connection that is closed is opened again, and every server that is well is used again | the same; the status |
//! | the counts of connections are right | the sockets that the kernel lists |
//! | memory and descriptors do not grow | `/proc` |

mod books;
mod judge;
mod plan;
mod report;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use nllb_agent::exit::Exit;

use crate::bench::Output;
use crate::demo::preflight;
use report::{Epoch, Report};
use stage::{Seen, Stage};

/// Of a lab.
const SERVERS: usize = 3;

/// How long, and which faults.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How long; the epoch that has begun is finished.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Where chance begins; otherwise another one each time, which is told.
    #[arg(long)]
    seed: Option<u64>,
    /// The first epoch.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// So many epochs instead of minutes.
    #[arg(long)]
    epochs: Option<u64>,
    /// Where the agent's log is kept when a promise was broken.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    logs: PathBuf,
    /// The form of the result.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Output,
}

/// Runs it. Fails when a promise was broken.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Err(reason) = preflight::check() {
        eprintln!("nllb-lab: the soak {reason:#}");
        return Ok(Exit::Datapath.into());
    }
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut report = Report::new(seed);
    let deadline = Instant::now() + Duration::from_secs(options.minutes * 60);
    let goes_on = |done: u64| match options.epochs {
        Some(epochs) => done < epochs,
        None => done == 0 || Instant::now() < deadline,
    };
    eprintln!("nllb-lab: seed {seed}");
    let mut stage = Stage::build()?;
    let mut first = None;
    for number in (options.first..).take_while(|number| goes_on(number - options.first)) {
        let steps = plan::steps(seed, number, SERVERS);
        let Seen { evidence, refused } = stage.play(&steps)?;
        let mut violations = evidence.violations();
        let (books, unsettled) = stage.settle()?;
        violations.extend(unsettled);
        violations.extend(books.grown(first.get_or_insert(books)));
        let (connects, failed) = evidence.connects();
        let epoch = Epoch {
            number,
            steps,
            connects,
            failed,
            closed: evidence.closed_here(),
            refused,
            books,
            violations,
        };
        eprint!("{}", epoch.lines(seed));
        if !epoch.violations.is_empty() {
            let file = options.logs.join(format!("nllb-soak-{seed}-{number}.log"));
            stage.save_log(&file)?;
            eprintln!("  the agent's log: {}", file.display());
        }
        report.epochs.push(epoch);
    }
    match options.output {
        Output::Table => print!("{}", report.table()),
        Output::Json => println!("{}", serde_json::to_string(&report.json())?),
    }
    Ok(if report.is_good() { Exit::Success } else { Exit::Failed }.into())
}
