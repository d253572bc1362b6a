//! `nllb top`: what the node does at the moment, drawn anew each second.
//!
//! What is drawn is a pure function of what was heard (`model.rs`, `draw.rs`). Around it, on one thread:
//! a task asks the agent and tells of each answer, a thread of its own waits for keys, and signals end it.
//! The terminal is given back however it ends: `Screen` does it when it is dropped, and its panic hook
//! before a panic is shown.

mod draw;
mod model;

use super::Failure;
use super::ask::{AskError, Question, inquire, runtime};
use super::events::{Cursor, Told};
use super::paint::Paint;
use crate::admin::{HISTORY_PATH, STATUS_PATH};
use crate::exit::Exit;
use crate::journal::Events;
use crate::probe::unix_ms;
use crate::shutdown::Stop;
use crate::status::Status;
use clap::Args;
use model::{ENTRIES, Model, News};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// How often the agent is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// After how many answers the history is fetched anew: when a slot of it is over.
const HISTORY_EVERY: u32 = 10;
/// Keys that wait while a screen is drawn.
const KEYS: usize = 16;

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// The agent's admin socket.
    #[arg(long, default_value = crate::config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

pub(super) fn run(args: TopArgs, terminal: bool) -> Result<(), Failure> {
    let TopArgs { socket } = args;
    if !terminal {
        let line =
            "nllb top draws on a terminal and standard output is none: use nllb status --watch";
        return Err(Failure { exit: Exit::Configuration, line: line.to_owned() });
    }
    runtime()?.block_on(show(socket, Paint::of(terminal)))
}

async fn show(socket: PathBuf, paint: Paint) -> Result<(), Failure> {
    let mut stop = Stop::with_hang_up().map_err(Failure::of_signals)?;
    let mut screen = Screen::open()?;
    let mut keys = keys();
    let (sender, mut news) = mpsc::channel(1);
    let _asking = tokio::spawn(ask(socket, sender));
    let mut model = Model::default();
    loop {
        screen.0.draw(|frame| draw::draw(frame, &model, paint.is_on()))?;
        tokio::select! {
            event = keys.recv() => match event {
                Some(Event::Key(key)) if ends(key) => return Ok(()),
                Some(Event::Key(key)) => press(&mut model, key),
                // Above all another size: it is drawn anew.
                Some(_) => {}
                None => return Err(Failure::new(Exit::Unexpected, &"no more keys can be read")),
            },
            heard = news.recv() => match heard {
                Some(heard) => model.hear(heard),
                None => return Err(Failure::new(Exit::Unexpected, &"the asking task has died")),
            },
            _ = stop.requested() => return Ok(()),
        }
    }
}

/// The terminal in raw mode on its alternate screen.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self, Failure> {
        let terminal = ratatui::try_init().map_err(|error| {
            Failure::new(Exit::Unexpected, &format!("cannot use the terminal: {error}"))
        })?;
        Ok(Self(terminal))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _restored = ratatui::try_restore();
    }
}

/// What is typed. The thread ends with the process: nothing can wake it, and it owns nothing.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(KEYS);
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

fn ends(key: KeyEvent) -> bool {
    let interrupts =
        key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    interrupts || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

fn press(model: &mut Model, key: KeyEvent) {
    if key.kind == KeyEventKind::Release {
        return;
    }
    if matches!(key.code, KeyCode::Up | KeyCode::Char('k')) {
        model.select(-1);
    } else if matches!(key.code, KeyCode::Down | KeyCode::Char('j')) {
        model.select(1);
    }
}

/// Asks again and again until nobody listens any more.
async fn ask(socket: PathBuf, news: mpsc::Sender<News>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answers = 0;
    let mut journal = None;
    loop {
        let at = ticks.tick().await.into_std();
        let unix_ms = unix_ms();
        let status: Result<Status, _> = document(&socket, STATUS_PATH).await;
        let (mut history, mut entries) = (None, Vec::new());
        if let Ok(status) = &status {
            if answers % HISTORY_EVERY == 0 {
                // One that is missing leaves the graphs as they were.
                history = document(&socket, HISTORY_PATH).await.ok();
            }
            let newest = status.journal.newest;
            let cursor = journal.get_or_insert(Cursor::after(newest.saturating_sub(ENTRIES)));
            entries = happened(&socket, cursor).await;
            answers += 1;
        }
        let status = status.map_err(|error| error.to_string());
        if news.send(News { at, unix_ms, status, history, entries }).await.is_err() {
            return;
        }
    }
}

/// What the journal has behind the cursor. Without an answer it is asked for again the next time.
async fn happened(socket: &Path, cursor: &mut Cursor) -> Vec<Told> {
    let mut told = Vec::new();
    while let Ok(answer) = inquire(socket, Question::get(&cursor.question(0))).await {
        let Ok(Events { entries, newest: _, more }) = cursor.read(&answer) else { break };
        told.extend(entries.iter().map(Told::of));
        if !more {
            break;
        }
    }
    told
}

async fn document<T: DeserializeOwned>(socket: &Path, path: &'static str) -> Result<T, AskError> {
    let answer = inquire(socket, Question::get(path)).await?;
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests;
