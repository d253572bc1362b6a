//! `nllb events`: what happened, from the running agent or else from the journal on disk; with `--follow` also
//! what happens next, for as long as somebody looks, whether agents come or go.

mod cursor;
mod line;

use super::ask::{AskError, Question, ask};
use super::{Failure, Output};
use crate::config;
use crate::exit::Exit;
use crate::journal::{Entry, Events, disk};
use crate::probe::unix_ms;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

pub(super) use cursor::Cursor;

/// How long the agent may keep a question until there is something to tell; shorter than its answer is waited
/// for.
pub(super) const WAIT_SECONDS: u64 = 3;
/// The pause between two questions that came to nothing.
const PAUSE: Duration = Duration::from_millis(200);
/// The pause while no agent answers.
const PAUSE_WITHOUT_AGENT: Duration = Duration::from_secs(1);
/// What `--since` may be.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Go on and show what happens, also across restarts of the agent.
    #[arg(short, long)]
    follow: bool,
    /// Only what is not older than this, like 10m or 24h.
    #[arg(long, value_name = "DURATION", value_parser = since)]
    since: Option<Duration>,
    /// Only what is about this backend: its address, with or without port.
    #[arg(long, value_name = "ADDRESS", value_parser = backend)]
    backend: Option<Meant>,
    /// How it is shown; json is one object per line.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Output,
    /// The agent's admin socket.
    #[arg(long, default_value = config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// The journal on disk, which is read when no agent answers.
    #[arg(long, default_value = config::DEFAULT_JOURNAL, value_name = "FILE")]
    journal: PathBuf,
}

/// A backend as it is written on the command line.
#[derive(Clone, Copy, Debug)]
enum Meant {
    Host(IpAddr),
    Backend(SocketAddr),
}

impl Meant {
    fn is(self, backend: SocketAddr) -> bool {
        match self {
            Self::Host(ip) => backend.ip() == ip,
            Self::Backend(address) => backend == address,
        }
    }
}

fn backend(text: &str) -> Result<Meant, String> {
    let host = || text.trim_matches(['[', ']']).parse::<IpAddr>();
    match text.parse::<SocketAddr>() {
        Ok(address) => {
            Ok(Meant::Backend(SocketAddr::new(address.ip().to_canonical(), address.port())))
        }
        Err(_) => match host() {
            Ok(ip) => Ok(Meant::Host(ip.to_canonical())),
            Err(_) => Err("not an address: write it like 10.0.0.11 or 10.0.0.11:6443".to_owned()),
        },
    }
}

fn since(text: &str) -> Result<Duration, String> {
    config::read_duration(text, Duration::from_secs(1), LONGEST).map_err(|error| error.to_string())
}

pub(super) fn run(
    args: EventsArgs,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Result<(), Failure> {
    let EventsArgs { follow, since, backend, output, socket, journal } = args;
    let oldest_ms = since.map(|since| {
        let ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        unix_ms().saturating_sub(ms)
    });
    let mut shown = Shown { cursor: Cursor::after(0), oldest_ms, backend, output, out };
    // What came before is told by whoever can; after that the agent alone is asked.
    let (mut wait, mut is_first, mut is_lost) = (0, true, false);
    loop {
        let path = shown.cursor.question(wait);
        match ask(&socket, Question::get(&path)).map_err(Failure::from) {
            Ok(body) => {
                let Events { entries, newest: _, more } =
                    shown.cursor.read(&body).map_err(AskError::from)?;
                if std::mem::take(&mut is_lost) {
                    writeln!(err, "nllb: an agent answers again")?;
                }
                let nothing = entries.is_empty() && !more;
                shown.all(entries)?;
                if !more && !follow {
                    return Ok(());
                }
                wait = if more { 0 } else { WAIT_SECONDS };
                if nothing {
                    thread::sleep(PAUSE);
                }
            }
            Err(failure) if failure.exit == Exit::Unreachable && is_first => {
                let lines = on_disk(&journal, failure)?;
                let then =
                    if follow { "; what happens from now on is shown when one does" } else { "" };
                let file = journal.display();
                writeln!(
                    err,
                    "nllb: no agent answers on {}: read from {file}{then}",
                    socket.display()
                )?;
                shown.all(lines)?;
                if !follow {
                    return Ok(());
                }
                is_lost = true;
            }
            Err(failure) if failure.exit == Exit::Unreachable && follow => {
                if !std::mem::replace(&mut is_lost, true) {
                    writeln!(err, "{}; waiting for one", failure.line)?;
                }
                thread::sleep(PAUSE_WITHOUT_AGENT);
            }
            Err(failure) => return Err(failure),
        }
        is_first = false;
    }
}

/// Every entry of the journal on disk; `failure` says why no agent tells them.
fn on_disk(journal: &std::path::Path, failure: Failure) -> Result<Vec<Value>, Failure> {
    if !journal.exists() && !disk::older(journal).exists() {
        let Failure { exit, line } = failure;
        let line = format!("{line}; nor is there a journal {}", journal.display());
        return Err(Failure { exit, line });
    }
    let mut entries = Vec::new();
    let read = disk::read(journal, |_, line| entries.extend(serde_json::from_str(line).ok()));
    read.map_err(|ignored| Failure::new(Exit::Unreachable, &ignored))?;
    Ok(entries)
}

/// What was shown so far, and how the rest is.
struct Shown<'a> {
    cursor: Cursor,
    oldest_ms: Option<i64>,
    backend: Option<Meant>,
    output: Output,
    out: &'a mut dyn io::Write,
}

impl Shown<'_> {
    fn all(&mut self, entries: Vec<Value>) -> Result<(), Failure> {
        for value in entries {
            self.one(&value)?;
        }
        // Whoever follows wants to see it now, also through a pipe.
        Ok(self.out.flush()?)
    }

    fn one(&mut self, value: &Value) -> Result<(), Failure> {
        self.cursor.pass(value);
        // One of a newer agent is shown as it is.
        let entry: Option<Entry> = serde_json::from_value(value.clone()).ok();
        let time_ms = value["timeMs"].as_i64().unwrap_or_default();
        if self.oldest_ms.is_some_and(|oldest| time_ms < oldest) {
            return Ok(());
        }
        if let Some(meant) = self.backend {
            let about = |entry: &Entry| entry.what.is_about(|backend| meant.is(backend));
            if !entry.as_ref().is_some_and(about) {
                return Ok(());
            }
        }
        match self.output {
            Output::Json => writeln!(self.out, "{value}")?,
            Output::Table => {
                let word = value["what"].as_str().unwrap_or_default();
                writeln!(self.out, "{}", line::of(time_ms, word, entry.as_ref(), value))?;
            }
        }
        Ok(())
    }
}

/// An entry of the agent in words, for who shows it otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    pub(super) seq: u64,
    /// When, in unix milliseconds.
    pub(super) time_ms: i64,
    pub(super) what: String,
    /// Of which backend or pool; empty where it is of neither.
    pub(super) whose: String,
    /// The rest of it.
    pub(super) text: String,
}

impl Told {
    pub(super) fn of(value: &Value) -> Self {
        // One of a newer agent is shown as it is.
        let entry: Option<Entry> = serde_json::from_value(value.clone()).ok();
        let (whose, text) = line::words(entry.as_ref(), value);
        Self {
            seq: value["seq"].as_u64().unwrap_or_default(),
            time_ms: value["timeMs"].as_i64().unwrap_or_default(),
            what: value["what"].as_str().unwrap_or_default().to_owned(),
            whose,
            text,
        }
    }
}

#[cfg(test)]
mod tests;
