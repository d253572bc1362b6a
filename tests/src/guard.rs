//! Kills a process at any boundary between two of its calls of `bpf(2)` that change what others see: maps, pins and
//! links. Each such call waits for the test, which lets it go on or kills the process instead, so the call is not
//! made. The process is the same program as ever.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::Pid;

use crate::sys::notify::{self, Waiting};

/// Commands of `bpf(2)` that change what others see (`enum bpf_cmd`). Those that only make something of which nobody
/// else knows yet are none.
const COMMANDS: [(u32, &str); 9] = [
    (2, "MAP_UPDATE_ELEM"),
    (3, "MAP_DELETE_ELEM"),
    (6, "OBJ_PIN"),
    (8, "PROG_ATTACH"),
    (9, "PROG_DETACH"),
    (26, "MAP_UPDATE_BATCH"),
    (28, "LINK_CREATE"),
    (29, "LINK_UPDATE"),
    (34, "LINK_DETACH"),
];

/// Far longer than it takes to start a process, in milliseconds.
const PATIENCE: u16 = 60_000;

/// A call that was made, or was to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Call(u32);

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = COMMANDS.iter().find(|(command, _)| *command == self.0);
        f.write_str(name.map_or("another", |(_, name)| name))
    }
}

/// Holds the calls of one process. When this is dropped, or the process has ended, they go on.
pub struct Guard {
    state: Arc<Mutex<State>>,
    /// Dropped to end the thread.
    ends: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// How many calls still go on before one kills; `None`: all of them.
    left: Option<usize>,
    /// Those that went on since that was said.
    made: Vec<Call>,
    /// Before which one the process was killed.
    killed: Option<Call>,
}

impl Guard {
    /// Waits for the process to hand over its calls, and lets this many go on.
    pub(crate) fn start(
        process: u32,
        listener: &UnixListener,
        left: Option<usize>,
    ) -> Result<Self> {
        let mut waits = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waits, PATIENCE)? == 0 {
            bail!("the process does not hand over its calls");
        }
        let (stream, _) = listener.accept()?;
        let calls = receive(&stream)?;
        let state = Arc::new(Mutex::new(State { left, ..State::default() }));
        let (ends, ended) = UnixStream::pair()?;
        let process = Pid::from_raw(i32::try_from(process)?);
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            if let Err(error) = watch(process, &calls, &ended, &shared) {
                eprintln!("guard: {error:#}");
            }
        });
        Ok(Self { state, ends: Some(ends), thread: Some(thread) })
    }

    /// From now on lets this many calls go on, and kills the process before the next one.
    pub fn arm(&self, left: usize) {
        let mut state = lock(&self.state);
        (state.left, state.made) = (Some(left), Vec::new());
    }

    /// From now on lets all calls go on. Gives those that were made since it was armed.
    pub fn disarm(&self) -> Vec<Call> {
        let mut state = lock(&self.state);
        state.left = None;
        state.made.clone()
    }

    /// Before which call it was killed, if it was; and those that it had made since it was armed.
    #[must_use]
    pub fn killed(&self) -> Option<(Call, Vec<Call>)> {
        let state = lock(&self.state);
        state.killed.map(|call| (call, state.made.clone()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.ends = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread.
            let _ = thread.join();
        }
    }
}

/// Holds the calling process's calls, hands them over at `socket`, and returns when that is done.
pub(crate) fn hand_over(socket: &Path) -> Result<()> {
    let stream = UnixStream::connect(socket).context("nobody guards")?;
    let commands = COMMANDS.map(|(command, _)| command);
    let calls = notify::hold(&commands).context("cannot filter system calls")?;
    let descriptors = [calls.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(b"c")], &message, MsgFlags::empty(), None)?;
    Ok(())
}

fn receive(stream: &UnixStream) -> Result<OwnedFd> {
    let (mut octet, mut space) = ([0], cmsg_space!([i32; 1]));
    let mut parts = [IoSliceMut::new(&mut octet)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part
            && let [descriptor] = descriptors[..]
        {
            return Ok(crate::sys::own(descriptor));
        }
    }
    bail!("the guarded process has ended")
}

/// Runs until the process has ended or nobody guards any more.
fn watch(process: Pid, calls: &OwnedFd, ended: &UnixStream, state: &Mutex<State>) -> Result<()> {
    loop {
        let mut waits = [
            PollFd::new(calls.as_fd(), PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut waits, PollTimeout::NONE)?;
        let happened = |wait: &PollFd<'_>| wait.revents().unwrap_or(PollFlags::empty());
        let [call, end] = waits.each_ref().map(happened);
        if call.contains(PollFlags::POLLIN) {
            if let Some(waiting) = notify::next(calls.as_fd())? {
                decide(process, calls, waiting, &mut lock(state))?;
            }
        } else if !call.is_empty() || !end.is_empty() {
            return Ok(());
        }
    }
}

fn decide(process: Pid, calls: &OwnedFd, waiting: Waiting, state: &mut State) -> Result<()> {
    let call = Call(waiting.command);
    match &mut state.left {
        // It waits in the kernel and never comes back.
        Some(0) => {
            state.killed.get_or_insert(call);
            return Ok(kill(process, Signal::SIGKILL)?);
        }
        Some(left) => {
            *left -= 1;
            state.made.push(call);
        }
        None => {}
    }
    Ok(notify::let_go(calls.as_fd(), waiting)?)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
