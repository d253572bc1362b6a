//! What a drill asks of the running agent.

use crate::admin::{DRILL_PATH, STATUS_PATH};
use crate::cli::ask::{AskError, Question, inquire};
use crate::cli::events::Cursor;
use crate::drain::{Done, DrillBody, DrillMode};
use crate::journal::{Entry, Events, What};
use crate::status::Status;
use crate::units::millis;
use hyper::Method;
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

    /// Takes a backend out of service, or goes on with that; with `over` uses it again.
    pub(super) async fn order(
        &self,
        backend: SocketAddr,
        mode: DrillMode,
    ) -> Result<Done, AskError> {
        let lease_ms = (mode != DrillMode::Over).then(|| millis(LEASE));
        let body = DrillBody { backend: backend.to_string(), mode, lease_ms };
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
