//! The unix socket through which the lab changes and questions a running server: one JSON line
//! each way per connection.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::objects::Objects;
use super::settings::Modes;
use super::state::{State, Stats};

/// A frozen server does not answer; do not wait for it for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the lab may say. Every request is answered with [`Stats`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Request {
    /// Behave so from now on.
    Set(Modes),
    /// Serve these objects from now on, and tell those who watch.
    Objects(Objects),
    /// Accept this bearer token from now on, and no other.
    Token(String),
    /// Tell what you have seen.
    Stats,
}

/// Asks the server behind `socket`.
pub fn ask(socket: &Path, request: &Request) -> Result<Stats> {
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("no server behind {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    (&stream).write_all(line.as_bytes()).context("cannot ask the server")?;
    line.clear();
    BufReader::new(stream).read_line(&mut line).context("the server does not answer")?;
    serde_json::from_str(&line).context("the server answers nonsense")
}

pub(super) async fn serve(listener: UnixListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        if tokio::io::BufReader::new(read).read_line(&mut line).await.is_err() {
            continue;
        }
        match serde_json::from_str(&line) {
            Ok(Request::Set(modes)) => state.set_modes(modes),
            Ok(Request::Objects(objects)) => state.set_objects(objects),
            Ok(Request::Token(token)) => state.set_token(&token),
            Ok(Request::Stats) => {}
            Err(error) => {
                eprintln!("apiserver: {error} in {line}");
                continue;
            }
        }
        let Ok(mut answer) = serde_json::to_vec(&state.stats()) else {
            continue;
        };
        answer.push(b'\n');
        // The lab may have gone meanwhile.
        let _ = write.write_all(&answer).await;
    }
}
