//! `nllb status --watch`: the answer again and again.
//!
//! A terminal is cleared before each; elsewhere documents follow each other. An agent that goes away is a
//! page like any other, because it comes back.

use super::super::ask::{Question, inquire, runtime};
use super::{Format, Page, absent, page};
use crate::admin::STATUS_PATH;
use crate::cli::Failure;
use crate::cli::paint::Paint;
use crate::exit::Exit;
use crate::shutdown::Stop;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Goes to the upper left corner and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What is shown, and how often.
pub(super) struct Watch {
    pub(super) socket: PathBuf,
    pub(super) bpffs: PathBuf,
    pub(super) output: Format,
    pub(super) terminal: bool,
    pub(super) seconds: u64,
}

impl Watch {
    /// Shows it until a signal ends it or nobody reads any more, and ends as the last answer would.
    pub(super) fn run(
        self,
        out: &mut dyn io::Write,
        err: &mut dyn io::Write,
    ) -> Result<Exit, Failure> {
        runtime()?.block_on(self.show(out, err))
    }

    async fn show(self, out: &mut dyn io::Write, err: &mut dyn io::Write) -> Result<Exit, Failure> {
        let mut stop = Stop::new().map_err(Failure::of_signals)?;
        let mut ticks = interval(Duration::from_secs(self.seconds));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Exit::Success;
        let mut first = true;
        loop {
            let next = async {
                ticks.tick().await;
                self.look().await
            };
            let shown = tokio::select! {
                answer = next => self.write(answer, first, out, err),
                _ = stop.requested() => return Ok(last),
            };
            first = false;
            match shown {
                Ok(exit) => last = exit,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(last),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn look(&self) -> Result<Page, Failure> {
        match inquire(&self.socket, Question::get(STATUS_PATH)).await {
            Ok(answer) => page(&answer, self.output, Paint::of(self.terminal)),
            Err(error) => Err(absent::explained(error, &self.bpffs)),
        }
    }

    fn write(
        &self,
        answer: Result<Page, Failure>,
        first: bool,
        out: &mut dyn io::Write,
        err: &mut dyn io::Write,
    ) -> io::Result<Exit> {
        let (text, exit) = match answer {
            Ok(Page { text, exit }) => (text, exit),
            Err(Failure { exit, line }) => {
                let text = format!("nllb: {line}\nasked again every {} s\n", self.seconds);
                if !self.terminal {
                    // Whoever reads documents is given nothing else.
                    err.write_all(text.as_bytes())?;
                    return Ok(exit);
                }
                (text, exit)
            }
        };
        let before = match (self.terminal, self.output) {
            (true, _) => CLEAR,
            (false, Format::Yaml) => "---\n",
            (false, Format::Table | Format::Wide) if !first => "\n",
            (false, Format::Table | Format::Wide | Format::Json) => "",
        };
        out.write_all(before.as_bytes())?;
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(exit)
    }
}
