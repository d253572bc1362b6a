//! `nllb log-level`: what the running agent logs, and another level for a while or until it ends.

use super::Failure;
use super::ask::{AskError, Question, ask};
use crate::admin::LOG_LEVEL_PATH;
use crate::config;
use crate::exit::Exit;
use crate::telemetry::{self, LogLevelBody, LogState};
use crate::units::millis;
use clap::Args;
use hyper::Method;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct LogLevelArgs {
    /// What is logged from now on: off, error, warn, info, debug, trace, or module=level,...; without it the
    /// level is shown.
    #[arg(value_parser = level)]
    level: Option<String>,
    /// Only for this long, like 10m; then it is again what `nllb run` was told.
    #[arg(long = "for", value_name = "DURATION", value_parser = time, requires = "level")]
    lasts: Option<Duration>,
    /// The agent's admin socket.
    #[arg(long, default_value = config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

fn level(text: &str) -> Result<String, String> {
    telemetry::check_level(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    let (least, most) = (*telemetry::FOR.start(), *telemetry::FOR.end());
    config::read_duration(text, least, most).map_err(|error| error.to_string())
}

pub(super) fn run(args: LogLevelArgs, out: &mut dyn io::Write) -> Result<(), Failure> {
    let LogLevelArgs { level, lasts, socket } = args;
    let (method, body) = match level {
        None => (Method::GET, String::new()),
        Some(level) => {
            let for_ms = lasts.map(millis);
            let body = serde_json::to_string(&LogLevelBody { level, for_ms });
            (Method::PUT, body.map_err(|error| Failure::new(Exit::Unexpected, &error))?)
        }
    };
    let answer = ask(&socket, Question { method, path: LOG_LEVEL_PATH, body })?;
    let state: LogState = serde_json::from_slice(&answer).map_err(AskError::from)?;
    let LogState { level, usual, back_in_ms } = state;
    match back_in_ms {
        Some(ms) => {
            // Whole seconds: nobody counts the rest.
            let left = Duration::from_secs(ms.saturating_add(500) / 1000);
            writeln!(out, "{level}, {usual} again in {}", config::show_duration(left))?;
        }
        None if level == usual => writeln!(out, "{level}")?,
        None => writeln!(out, "{level}, until the agent ends; usually {usual}")?,
    }
    Ok(())
}
