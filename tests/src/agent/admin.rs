//! Asks an agent for its documents, and gives it orders.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

/// A stopped agent does not answer; do not wait for it for ever.
const PATIENCE: Duration = Duration::from_secs(20);

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
