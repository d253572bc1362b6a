//! When a program ends because it is told to: the agent, and the commands that go on until then.

use std::future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end it.
#[derive(Debug)]
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// Of a program for which the loss of its terminal is no word to read its files again.
    hang_up: Option<Signal>,
}

impl Stop {
    /// Starts to listen; a signal before this would kill the process.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: None,
        })
    }

    /// The same, and the loss of the terminal.
    pub(crate) fn with_hang_up() -> io::Result<Self> {
        Ok(Self { hang_up: Some(signal(SignalKind::hangup())?), ..Self::new()? })
    }

    /// Waits for one and names it. Safe to cancel.
    pub(crate) async fn requested(&mut self) -> &'static str {
        let Self { terminate, interrupt, hang_up } = self;
        let hung_up = async {
            match hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hung_up => "SIGHUP",
        }
    }
}
