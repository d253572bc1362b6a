//! What the page may ask of the agent: three documents, and nothing else.

use crate::admin::{HISTORY_PATH, STATUS_PATH};
use crate::cli::ask::{AskError, Question, inquire};
use crate::cli::events::{Cursor, Told, WAIT_SECONDS};
use crate::journal::Events;
use hyper::body::Bytes;
use std::path::PathBuf;
use tokio::sync::Semaphore;

/// The agent lets four wait, and `nllb events --follow` wants a place too.
const MOST_WAITING: usize = 2;

/// The agent behind a socket, there or not.
pub(super) struct Agent {
    socket: PathBuf,
    waiting: Semaphore,
}

impl Agent {
    pub(super) const fn new(socket: PathBuf) -> Self {
        Self { socket, waiting: Semaphore::const_new(MOST_WAITING) }
    }

    pub(super) async fn status(&self) -> Result<String, AskError> {
        self.ask(STATUS_PATH).await.and_then(text)
    }

    pub(super) async fn history(&self) -> Result<String, AskError> {
        self.ask(HISTORY_PATH).await.and_then(text)
    }

    /// What came after this entry, in the words of `nllb events`. Waits for a moment when there is nothing, unless
    /// others do.
    pub(super) async fn events(&self, after: u64) -> Result<String, AskError> {
        let place = self.waiting.try_acquire();
        let wait = if place.is_ok() { WAIT_SECONDS } else { 0 };
        let answer = self.ask(&Cursor::after(after).question(wait)).await?;
        let Events { entries, newest, more } = serde_json::from_slice(&answer)?;
        let entries: Vec<_> = entries.iter().map(Told::of).collect();
        Ok(serde_json::json!({ "entries": entries, "newest": newest, "more": more }).to_string())
    }

    async fn ask(&self, path: &str) -> Result<Bytes, AskError> {
        inquire(&self.socket, Question::get(path)).await
    }
}

fn text(answer: Bytes) -> Result<String, AskError> {
    String::from_utf8(answer.into()).map_err(|error| AskError::Answer(error.into()))
}
