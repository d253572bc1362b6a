//! `nllb status`: asks the running agent and shows the answer.

mod table;

use super::ask::{AskError, Question, ask};
use super::{Failure, Output};
use crate::admin::STATUS_PATH;
use crate::status::Status;
use hyper::Method;
use std::io;
use std::path::Path;

pub(super) fn run(socket: &Path, output: Output, out: &mut dyn io::Write) -> Result<(), Failure> {
    let question = Question { method: Method::GET, path: STATUS_PATH, body: String::new() };
    let body = ask(socket, question)?;
    match output {
        Output::Json => {
            // Read and written anew: indented, and whatever the agent knows more is kept.
            let document: serde_json::Value =
                serde_json::from_slice(&body).map_err(AskError::from)?;
            writeln!(out, "{document:#}")?;
        }
        Output::Table => {
            let status: Status = serde_json::from_slice(&body).map_err(AskError::from)?;
            write!(out, "{}", table::render(&status))?;
        }
    }
    Ok(())
}
