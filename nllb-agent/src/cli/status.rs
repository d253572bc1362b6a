//! `nllb status`: asks the running agent and shows the answer, once or again and again.
//!
//! The exit code is the verdict's, whatever the form of the answer, so that a script needs no parser.

mod absent;
pub(super) mod table;
mod watch;

use super::Failure;
use super::ask::{AskError, Question, ask};
use super::paint::Paint;
use crate::admin::STATUS_PATH;
use crate::exit::Exit;
use crate::status::{Status, Verdict};
use clap::Args;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use table::Detail;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// How it is shown.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Format,
    /// Show it again every so many seconds, 2 when none is given, until Ctrl-C.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
    /// The agent's admin socket.
    #[arg(long, default_value = crate::config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// The directory of the pins, looked at when no agent answers.
    #[arg(long, default_value = crate::config::DEFAULT_BPFFS, value_name = "DIR")]
    bpffs: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One screen for people.
    Table,
    /// The same with everything that a person may ask for.
    Wide,
    /// The whole document.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What is shown of an answer, and how the command ends with it.
struct Page {
    text: String,
    exit: Exit,
}

pub(super) fn run(
    args: StatusArgs,
    terminal: bool,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Result<Exit, Failure> {
    let StatusArgs { output, watch, socket, bpffs } = args;
    if let Some(seconds) = watch {
        return watch::Watch { socket, bpffs, output, terminal, seconds }.run(out, err);
    }
    let answer = ask(&socket, Question::get(STATUS_PATH));
    let answer = answer.map_err(|error| absent::explained(error, &bpffs))?;
    let Page { text, exit } = page(&answer, output, Paint::of(terminal))?;
    out.write_all(text.as_bytes())?;
    Ok(exit)
}

/// The agent's answer as it is shown.
fn page(answer: &[u8], output: Format, paint: Paint) -> Result<Page, Failure> {
    let detail = match output {
        Format::Table => Detail::Screen,
        Format::Wide => Detail::Wide,
        // Read and written anew: indented, and whatever the agent knows more is kept.
        Format::Json => return document(answer, |document| Ok(format!("{document:#}\n"))),
        Format::Yaml => {
            return document(answer, |document| {
                serde_saphyr::to_string(document)
                    .map_err(|error| Failure::new(Exit::Unexpected, &error))
            });
        }
    };
    let status: Status = serde_json::from_slice(answer).map_err(AskError::from)?;
    let text = table::render(&status, detail, paint);
    Ok(Page { text, exit: exit(status.verdict.state) })
}

fn document(
    answer: &[u8],
    write: impl FnOnce(&Value) -> Result<String, Failure>,
) -> Result<Page, Failure> {
    let document: Value = serde_json::from_slice(answer).map_err(AskError::from)?;
    let state = document["verdict"]["state"].clone();
    let verdict: Verdict = serde_json::from_value(state).map_err(AskError::from)?;
    Ok(Page { text: write(&document)?, exit: exit(verdict) })
}

const fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Healthy => Exit::Success,
        Verdict::Degraded => Exit::Degraded,
        Verdict::Panic => Exit::Panic,
        Verdict::NotAttached => Exit::Datapath,
    }
}
