//! Descriptors of a thread's own.
//!
//! Threads share theirs. One that the kernel does not let go would keep open what the agent has open: the
//! lock of the pins and the listeners, and no agent could follow one that was killed.

use std::io;

/// Gives the calling thread a table of descriptors of its own, with standard input, output and error only
/// (`CLOSE_RANGE_UNSHARE`, Linux 5.9). What the thread has open is closed with the thread, and nothing else
/// is kept by it. It must not use or drop anything that holds a descriptor of the time before.
pub(super) fn own() -> io::Result<()> {
    let (first, last) = (3 as libc::c_uint, libc::c_uint::MAX);
    // SAFETY: three numbers. The descriptors of other threads are in a table that is left.
    let answer =
        unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_UNSHARE) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::datapath::lock;

    #[test]
    fn a_thread_with_descriptors_of_its_own_keeps_no_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        let lock = lock::tests::take(directory.path()).expect("free");
        let (left, has_left) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let hangs = thread::spawn(move || {
            own().expect("since Linux 5.9");
            left.send(()).expect("waited for");
            let _released = released.recv();
        });
        has_left.recv().expect("it has left");
        drop(lock);
        lock::tests::take(directory.path()).expect("free again, though the thread is there");
        drop(release);
        hangs.join().expect("ended");
    }
}
