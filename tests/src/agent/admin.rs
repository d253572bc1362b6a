//! Asks an agent for its status document.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

/// A stopped agent does not answer; do not wait for it for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fetches the document from the admin socket.
pub(super) fn status<T: DeserializeOwned>(socket: &Path) -> Result<T> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("no agent behind {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: nllb\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the agent does not answer")?;
    let (head, body) =
        answer.split_once("\r\n\r\n").with_context(|| format!("not HTTP: {answer}"))?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).with_context(|| format!("not a status document: {body}"))
}
