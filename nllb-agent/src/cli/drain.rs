//! `nllb drain` and `nllb undrain`: what the running agent is to do with a backend, and what it did.

use super::ask::{AskError, Question, ask};
use super::{DrainArgs, Failure, UndrainArgs};
use crate::admin::{DRAIN_PATH, UNDRAIN_PATH};
use crate::config;
use crate::drain::{Done, DrainBody, UndrainBody};
use crate::exit::Exit;
use crate::units::millis;
use hyper::Method;
use serde::Serialize;
use std::io;
use std::path::Path;
use std::time::Duration;

pub(super) fn drain(args: DrainArgs, out: &mut dyn io::Write) -> Result<(), Failure> {
    let DrainArgs { backend, close_after, force, socket } = args;
    let close_after_ms = close_after.map(millis);
    let done = order(&socket, DRAIN_PATH, &DrainBody { backend, close_after_ms, force })?;
    let Done { backend, changed, connections, close_after_ms, note } = done;
    let again = if changed { "" } else { " already" };
    let stay = match connections {
        0 => "no connection is open".to_owned(),
        1 => "1 connection stays".to_owned(),
        many => format!("{many} connections stay"),
    };
    let end = match (connections, close_after_ms.map(Duration::from_millis)) {
        (0, _) => String::new(),
        (_, Some(after)) => format!(", closed after {}", config::show_duration(after)),
        (1, None) => " until it ends".to_owned(),
        (_, None) => " until they end".to_owned(),
    };
    writeln!(out, "draining {backend}{again}; {stay}{end}")?;
    remark(note, out)
}

pub(super) fn undrain(args: UndrainArgs, out: &mut dyn io::Write) -> Result<(), Failure> {
    let UndrainArgs { backend, socket } = args;
    let done = order(&socket, UNDRAIN_PATH, &UndrainBody { backend })?;
    let Done { backend, changed, connections: _, close_after_ms: _, note } = done;
    if changed {
        writeln!(out, "{backend} is used again as soon as it is ready")?;
    } else {
        writeln!(out, "{backend} was not drained")?;
    }
    remark(note, out)
}

/// A duration of `--close-after`, by the rules of `drain.closeAfter` in the configuration.
pub(super) fn close_after(text: &str) -> Result<Duration, String> {
    config::close_after(text).map_err(|problem| problem.to_string())
}

fn order(socket: &Path, path: &'static str, body: &impl Serialize) -> Result<Done, Failure> {
    let body =
        serde_json::to_string(body).map_err(|error| Failure::new(Exit::Unexpected, &error))?;
    let answer = ask(socket, Question { method: Method::POST, path, body })?;
    Ok(serde_json::from_slice(&answer).map_err(AskError::from)?)
}

fn remark(note: Option<String>, out: &mut dyn io::Write) -> Result<(), Failure> {
    if let Some(note) = note {
        writeln!(out, "{note}")?;
    }
    Ok(())
}
