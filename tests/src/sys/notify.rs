//! Calls of `bpf(2)` that wait until somebody else lets them go on: a seccomp filter asks whoever holds its other end
//! (`SECCOMP_RET_USER_NOTIF`). The process that makes them knows nothing of it.
#![expect(unsafe_code, reason = "raw system calls, each with its reason")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Names it to the kernel.
    pub(crate) id: u64,
    /// The command of `bpf(2)`.
    pub(crate) command: u32,
}

/// From now on each call with one of these commands waits, in this thread and in all that it starts or becomes.
/// Gives the other end; when nobody holds it such calls fail.
pub(crate) fn hold(commands: &[u32]) -> io::Result<OwnedFd> {
    // Classic BPF on `seccomp_data`: the call's number at 0, the first argument at 16.
    const LOAD: u16 = 0x20;
    const SKIP_IF: u16 = 0x15;
    const ANSWER: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let number = u32::try_from(libc::SYS_bpf).map_err(io::Error::other)?;
    let count = u8::try_from(commands.len()).map_err(io::Error::other)?;
    let mut filter =
        vec![step(LOAD, 0, 0, 0), step(SKIP_IF, 0, count + 1, number), step(LOAD, 0, 0, 16)];
    let skips = (1..=count).rev();
    filter
        .extend(commands.iter().zip(skips).map(|(command, skip)| step(SKIP_IF, skip, 0, *command)));
    filter.push(step(ANSWER, 0, 0, libc::SECCOMP_RET_ALLOW));
    filter.push(step(ANSWER, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the program and its filter live until after the call, which copies them.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    match i32::try_from(answer) {
        // SAFETY: the kernel has just opened it for us and nobody else knows it.
        Ok(listener @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(listener) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The next call that waits; none when it was given up in this moment.
pub(crate) fn next(listener: BorrowedFd<'_>) -> io::Result<Option<Waiting>> {
    // SAFETY: plain data, for which all zeroes is a valid value; the kernel wants it so.
    let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let command = libc::SECCOMP_IOCTL_NOTIF_RECV;
    // SAFETY: the kernel writes one `seccomp_notif`, which lives until after the call.
    let answer = unsafe { libc::ioctl(listener.as_raw_fd(), command, &raw mut asked) };
    if answer == 0 {
        let command = u32::try_from(asked.data.args[0]).map_err(io::Error::other)?;
        return Ok(Some(Waiting { id: asked.id, command }));
    }
    gone(io::Error::last_os_error()).map(|()| None)
}

/// Lets a call go on as if nobody had asked; one whose process has ended is no error.
pub(crate) fn let_go(listener: BorrowedFd<'_>, waiting: Waiting) -> io::Result<()> {
    let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).map_err(io::Error::other)?;
    let mut word = libc::seccomp_notif_resp { id: waiting.id, val: 0, error: 0, flags };
    let command = libc::SECCOMP_IOCTL_NOTIF_SEND;
    // SAFETY: the kernel reads one `seccomp_notif_resp`, which lives until after the call.
    let answer = unsafe { libc::ioctl(listener.as_raw_fd(), command, &raw mut word) };
    if answer == 0 { Ok(()) } else { gone(io::Error::last_os_error()) }
}

fn gone(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}
