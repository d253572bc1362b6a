//! Asks an agent for its documents, and gives it orders.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nllb_agent::admin::{HISTORY_PATH, STATUS_PATH};
use nllb_agent::status::{History, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Agent, backend};
use crate::wait::wait_until;

/// A stopped agent does not answer; do not wait for it for ever.
const PATIENCE: Duration = Duration::from_secs(20);

impl Agent {
    /// The status document.
    pub fn status(&self) -> Result<Status> {
        get(&self.socket(), STATUS_PATH)
    }

    /// Sends an order to `path` of its admin socket; the status of the answer, and the answer.
    pub fn order(&self, path: &str, order: &str) -> Result<(u16, String)> {
        post(&self.socket(), path, order)
    }

    /// The round trips of the last hour.
    pub fn history(&self) -> Result<History> {
        get(&self.socket(), HISTORY_PATH)
    }

    /// Waits until the status document is as wanted.
    pub fn await_status(&mut self, what: &str, good: impl Fn(&Status) -> bool) -> Result<Status> {
        self.await_document(what, good)
    }

    /// Waits until the status document is as wanted, that of another version too when it is taken for any JSON.
    pub fn await_document<T>(&mut self, what: &str, good: impl Fn(&T) -> bool) -> Result<T>
    where
        T: DeserializeOwned + Serialize,
    {
        let mut last = None;
        let found = wait_until(what, || {
            self.ensure_running()?;
            // Until it listens there is none; a bug there shows when the time is over.
            let Ok(status) = get(&self.socket(), STATUS_PATH) else {
                return Ok(None);
            };
            if good(&status) {
                return Ok(Some(status));
            }
            last = Some(status);
            Ok(None)
        });
        found.with_context(|| {
            let last = serde_json::to_string(&last).unwrap_or_default();
            format!("last status: {last}\nlog:\n{}", self.log())
        })
    }

    /// Waits until the verdict on a server is this one.
    pub fn await_state(&mut self, server: std::net::SocketAddr, state: &str) -> Result<Status> {
        self.await_status(&format!("{server} {state}"), |status| {
            backend(status, server).is_some_and(|backend| backend.state == state)
        })
    }
}

/// Fetches the document at `path` from the admin socket.
pub(super) fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    let (head, body) = exchange(socket, &format!("GET {path}"), "")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}\n{body}");
    serde_json::from_str(&body).with_context(|| format!("not the document: {body}"))
}

/// Sends an order to `path` of the admin socket; the status and what it is answered.
pub(super) fn post(socket: &Path, path: &str, order: &str) -> Result<(u16, String)> {
    let (head, body) = exchange(socket, &format!("POST {path}"), order)?;
    let status = head.split(' ').nth(1).with_context(|| format!("not HTTP: {head}"))?;
    Ok((status.parse()?, body))
}

/// The head and the body of the answer.
fn exchange(socket: &Path, what: &str, body: &str) -> Result<(String, String)> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("no agent behind {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let request = format!(
        "{what} HTTP/1.1\r\nHost: nllb\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the agent does not answer")?;
    let (head, body) =
        answer.split_once("\r\n\r\n").with_context(|| format!("not HTTP: {answer}"))?;
    Ok((head.to_owned(), body.to_owned()))
}
