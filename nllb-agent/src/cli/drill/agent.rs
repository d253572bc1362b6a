//! What a drill asks of the running agent.

use crate::admin::{DRILL_PATH, STATUS_PATH};
use crate::cli::ask::{AskError, Question, inquire};
use crate::cli::events::Cursor;
use crate::drain::{Done, DrillBody, DrillMode};
use crate::journal::{Entry, Events, What};
use crate::status::Status;
use crate::units::millis;
use hyper::Method;
use nllb_core::Drill;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How long the agent keeps a backend out of service after the last word of a drill that was killed.
pub(super) const LEASE: Duration = Duration::from_secs(4);

/// The agent behind an admin socket.
pub(super) struct Agent<'a> {
    socket: &'a Path,
}

impl<'a> Agent<'a> {
    pub(super) const fn at(socket: &'a Path) -> Self {
        Self { socket }
    }

    /// How things stand.
    pub(super) async fn status(&self) -> Result<Status, AskError> {
        let answer = inquire(self.socket, Question::get(STATUS_PATH)).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Takes a backend out of service, or goes on with that.
    pub(super) async fn order(&self, backend: SocketAddr, how: Drill) -> Result<Done, AskError> {
        let mode = match how {
            Drill::Simulate => DrillMode::Simulate,
            Drill::Blackhole => DrillMode::Blackhole,
        };
        self.ask(DrillBody { backend: backend.to_string(), mode, lease_ms: Some(millis(LEASE)) })
            .await
    }

    /// Uses it again.
    pub(super) async fn end(&self, backend: SocketAddr) -> Result<Done, AskError> {
        let backend = backend.to_string();
        self.ask(DrillBody { backend, mode: DrillMode::Over, lease_ms: None }).await
    }

    async fn ask(&self, body: DrillBody) -> Result<Done, AskError> {
        let body = serde_json::to_string(&body)?;
        let question = Question { method: Method::POST, path: DRILL_PATH, body };
        Ok(serde_json::from_slice(&inquire(self.socket, question).await?)?)
    }

    /// Why the last drill of a backend ended after this entry of the journal, when it tells.
    pub(super) async fn why_over(&self, after: u64, backend: SocketAddr) -> Option<String> {
        let mut cursor = Cursor::after(after);
        let answer = inquire(self.socket, Question::get(&cursor.question(0))).await.ok()?;
        let Events { entries, .. } = cursor.read(&answer).ok()?;
        let entries = entries.into_iter().rev();
        let mut entries = entries.filter_map(|value| serde_json::from_value::<Entry>(value).ok());
        entries.find_map(|entry| {
            let What::DrillOver { backend: of, mode: _, reason, duration_ms: _ } = entry.what
            else {
                return None;
            };
            (of == backend).then_some(reason)
        })
    }
}
