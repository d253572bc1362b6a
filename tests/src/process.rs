//! Child processes of the lab.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::Place;

/// Overrides the program that the lab's processes run.
pub const PROGRAM_VARIABLE: &str = "NLLB_LAB_PROGRAM";

/// A process that is killed and reaped when this is dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Runs a sub-command of `nllb-lab` in its place, with pipes for its standard input and output.
    ///
    /// Errors go to `log`, or to the caller's when there is none.
    pub fn spawn(place: &Place, args: &[OsString], log: Option<&Path>) -> Result<Self> {
        let mut command = command(place, args)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(log) = log {
            let file = File::options().create(true).append(true).open(log);
            command.stderr(file.with_context(|| format!("cannot open {}", log.display()))?);
        }
        Self::start(command)
    }

    /// Starts any command.
    pub fn start(mut command: Command) -> Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Takes the writing end of its standard input.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Takes the reading end of its standard output.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Takes the reading end of its standard error.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Sends a signal; a process that is gone already is no error.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // Once reaped, the id may belong to somebody else.
        if !self.is_running() {
            return Ok(());
        }
        let id = i32::try_from(self.child.id()).context("process id out of range")?;
        match kill(Pid::from_raw(id), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot send {signal} to {id}")),
        }
    }

    /// Kills it, stopped or not, and reaps it.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGCONT)?;
        self.signal(Signal::SIGKILL)?;
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().context("cannot wait for a process")
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        if let Err(error) = self.kill() {
            eprintln!("lab: {error:#}");
        }
    }
}

/// A program of somebody else's in its place, which can be killed and started again.
pub struct Program {
    process: Process,
    place: Place,
    args: Vec<OsString>,
    log: PathBuf,
}

impl Program {
    /// Starts it with these arguments; what it says goes to `log`.
    pub fn start(
        place: Place,
        program: &Path,
        args: impl IntoIterator<Item = OsString>,
        log: PathBuf,
    ) -> Result<Self> {
        let before = ["exec".into(), "--".into(), program.into()];
        let args: Vec<OsString> = before.into_iter().chain(args).collect();
        let process = Process::spawn(&place, &args, Some(&log))?;
        Ok(Self { process, place, args, log })
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts it anew, with what it had on disk.
    pub fn restart(&mut self) -> Result<()> {
        self.process = Process::spawn(&self.place, &self.args, Some(&self.log))?;
        Ok(())
    }
}

/// A command that runs a sub-command of `nllb-lab` in its place.
pub fn command(place: &Place, args: &[OsString]) -> Result<Command> {
    let mut command = Command::new(program()?);
    command.args(place.to_args()).args(args);
    Ok(command)
}

/// The `nllb-lab` program: this one, or the one cargo built beside the test that is running.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(PROGRAM_VARIABLE) {
        return Ok(path.into());
    }
    let me = std::env::current_exe().context("cannot find this program")?;
    if me.file_name().is_some_and(|name| name == "nllb-lab") {
        return Ok(me);
    }
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("nllb-lab"))
        .find(|path| path.exists())
        .with_context(|| format!("no nllb-lab near {}; set {PROGRAM_VARIABLE}", me.display()))
}
