//! One question to the running agent on its admin socket, and the answer.

use super::Failure;
use crate::exit::Exit;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};

/// Above the agent's own limit for finding an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    /// JSON, or nothing.
    pub(super) body: String,
}

impl<'a> Question<'a> {
    /// A question that changes nothing.
    pub(super) const fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: String::new() }
    }
}

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
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
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
}

impl AskError {
    /// What a script is told. A backend that is not there is a word wrong on the command line.
    const fn exit(&self) -> Exit {
        match self {
            Self::Refused { status: StatusCode::CONFLICT, .. } => Exit::Refused,
            Self::Refused { status: StatusCode::NOT_FOUND, .. } => Exit::Configuration,
            Self::NoSocket(_)
            | Self::NobodyListens(_)
            | Self::Permission(_)
            | Self::Timeout
            | Self::Refused { .. }
            | Self::Answer(_)
            | Self::Document(_) => Exit::Unreachable,
            Self::Runtime(_) => Exit::Unexpected,
        }
    }

    /// Whether no agent is there, or none that can answer: connects may be translated all the same.
    pub(super) const fn is_absence(&self) -> bool {
        match self {
            Self::NoSocket(_) | Self::NobodyListens(_) | Self::Timeout => true,
            Self::Permission(_)
            | Self::Refused { .. }
            | Self::Answer(_)
            | Self::Document(_)
            | Self::Runtime(_) => false,
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let exit = error.exit();
        if let (AskError::Refused { body, .. }, Exit::Refused | Exit::Configuration) =
            (&error, exit)
        {
            // The agent's own sentence says it all.
            return Self::new(exit, body);
        }
        Self::new(exit, &error)
    }
}

/// Asks the agent that listens at `socket`.
pub(super) fn ask(socket: &Path, question: Question<'_>) -> Result<Bytes, AskError> {
    runtime()?.block_on(inquire(socket, question))
}

/// The runtime of a command that asks more than once.
pub(super) fn runtime() -> Result<Runtime, AskError> {
    Builder::new_current_thread().enable_all().build().map_err(AskError::Runtime)
}

/// The same within a runtime that is there already.
pub(super) async fn inquire(socket: &Path, question: Question<'_>) -> Result<Bytes, AskError> {
    let fetched = tokio::time::timeout(TIMEOUT, fetch(socket, question)).await;
    fetched.unwrap_or(Err(AskError::Timeout))
}

/// Asks the agent's HTTP listener; `None` unless it answers with 200.
pub(super) fn get(listener: SocketAddr, path: &'static str) -> Option<Bytes> {
    let asked = async {
        let stream = TcpStream::connect(listener).await?;
        exchange(stream, Question::get(path)).await
    };
    let answer = runtime().ok()?.block_on(async { tokio::time::timeout(TIMEOUT, asked).await });
    let (status, body) = answer.ok()?.ok()?;
    (status == StatusCode::OK).then_some(body)
}

async fn fetch(socket: &Path, question: Question<'_>) -> Result<Bytes, AskError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| of_connect(socket, error))?;
    let (status, body) = exchange(stream, question).await?;
    if status == StatusCode::OK {
        return Ok(body);
    }
    let body = String::from_utf8_lossy(&body).trim().to_owned();
    Err(AskError::Refused { status, body })
}

fn of_connect(socket: &Path, error: io::Error) -> AskError {
    let path = socket.display().to_string();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's list is open")]
    match error.kind() {
        ErrorKind::NotFound => AskError::NoSocket(path),
        ErrorKind::ConnectionRefused => AskError::NobodyListens(path),
        ErrorKind::PermissionDenied => AskError::Permission(path),
        _ => AskError::Answer(error.into()),
    }
}

async fn exchange<S>(
    stream: S,
    question: Question<'_>,
) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Question { method, path, body } = question;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "nllb")
        .body(Full::new(Bytes::from(body)))?;
    let ask = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    let (answer, _end) = tokio::join!(ask, connection);
    Ok(answer?)
}
