//! `nllb status`: asks the running agent and shows the answer.

mod table;

use super::{Failure, Output};
use crate::admin::STATUS_PATH;
use crate::exit::Exit;
use crate::status::Status;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// Above the agent's own limit for finding the document.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no status to show.
#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error("no agent is running: there is no admin socket {0}")]
    NoSocket(String),
    #[error("no agent is running: nobody answers on {0}")]
    NobodyListens(String),
    #[error("no permission for the admin socket {0}: run this as root")]
    Permission(String),
    #[error("the agent did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the agent answered {status}: {body}")]
    Refused { status: StatusCode, body: String },
    #[error("cannot read the agent's answer: {0}")]
    Answer(#[from] Box<dyn Error + Send + Sync>),
    #[error("the agent's answer is of another version: {0}")]
    Document(#[from] serde_json::Error),
}

pub(super) fn run(socket: &Path, output: Output, out: &mut dyn io::Write) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Unexpected, &error))?;
    let unreachable = |error: StatusError| Failure::new(Exit::Unreachable, &error);
    // The timer needs the runtime around it, so it is made inside.
    let fetched = runtime.block_on(async { tokio::time::timeout(TIMEOUT, fetch(socket)).await });
    let body = fetched.unwrap_or(Err(StatusError::Timeout)).map_err(unreachable)?;
    match output {
        Output::Json => {
            // Read and written anew: indented, and whatever the agent knows more is kept.
            let document: serde_json::Value =
                serde_json::from_slice(&body).map_err(|error| unreachable(error.into()))?;
            writeln!(out, "{document:#}")?;
        }
        Output::Table => {
            let status: Status =
                serde_json::from_slice(&body).map_err(|error| unreachable(error.into()))?;
            write!(out, "{}", table::render(&status))?;
        }
    }
    Ok(())
}

async fn fetch(socket: &Path) -> Result<Bytes, StatusError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| of_connect(socket, error))?;
    let (status, body) = exchange(stream).await?;
    if status == StatusCode::OK {
        return Ok(body);
    }
    let body = String::from_utf8_lossy(&body).trim().to_owned();
    Err(StatusError::Refused { status, body })
}

fn of_connect(socket: &Path, error: io::Error) -> StatusError {
    let path = socket.display().to_string();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's list is open")]
    match error.kind() {
        ErrorKind::NotFound => StatusError::NoSocket(path),
        ErrorKind::ConnectionRefused => StatusError::NobodyListens(path),
        ErrorKind::PermissionDenied => StatusError::Permission(path),
        _ => StatusError::Answer(error.into()),
    }
}

async fn exchange(stream: UnixStream) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(STATUS_PATH).header(HOST, "nllb").body(Empty::<Bytes>::new())?;
    let ask = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    let (answer, _end) = tokio::join!(ask, connection);
    Ok(answer?)
}
