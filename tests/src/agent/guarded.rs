//! An agent whose calls that change maps, pins and links wait for a guard.

use std::fs;
use std::os::unix::net::UnixListener;

use anyhow::Result;

use super::Agent;
use crate::guard::Guard;
use crate::process::Process;

impl Agent {
    /// Starts its process behind a guard that lets this many of its calls go on; none: all of them.
    pub fn spawn_guarded(&mut self, calls: Option<usize>) -> Result<Guard> {
        let socket = self.directory.join("guard.sock");
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        let listener = UnixListener::bind(&socket)?;
        self.spawn_behind(vec!["guarded".into(), socket.into(), "--".into()])?;
        Guard::start(self.process()?.id(), &listener, calls)
    }

    /// Whether its process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }
}
