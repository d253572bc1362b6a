//! Asks an agent for its documents.

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
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("no agent behind {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: nllb\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the agent does not answer")?;
    let (head, body) =
        answer.split_once("\r\n\r\n").with_context(|| format!("not HTTP: {answer}"))?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).with_context(|| format!("not the document: {body}"))
}
