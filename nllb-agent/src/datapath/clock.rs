//! The kernel's own clocks: what the programs write times in, how long a tick is, and a timer.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`, in which evidence and lease are
/// written.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock(libc::CLOCK_MONOTONIC, libc::clock_gettime);
    now.0 * 1_000_000_000 + now.1
}

/// Ticks per second. The coarse clock advances once per tick, and its resolution says how often.
pub(super) fn hz() -> u32 {
    let (_, tick_ns) = clock(libc::CLOCK_MONOTONIC_COARSE, libc::clock_getres);
    u32::try_from(1_000_000_000 / tick_ns.max(1)).unwrap_or(100)
}

type ClockCall = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;

fn clock(id: libc::clockid_t, call: ClockCall) -> (u64, u64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls fill the timespec they are given; these clocks exist since Linux 2.6.32.
    unsafe { call(id, &raw mut time) };
    (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs())
}

/// A timer of `CLOCK_MONOTONIC`, which is also the clock of `Instant`.
#[derive(Debug)]
pub struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Must be called inside a runtime.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: an owned descriptor stays open and the same as long as it lives, and the `AsyncFd` owns it.
        let registered = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// Lets it expire once after this time, of which there is some, and not as set before.
    ///
    /// # Errors
    /// When the time is longer than the kernel can count.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec {
            it_interval: never,
            it_value: Timespec {
                tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Waits until it has expired since the last call ended. Safe to cancel.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn expired(&self) -> io::Result<()> {
        // Each expiry is told once, read or not.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_rate_is_one_a_kernel_can_have() {
        assert!([100, 250, 300, 1000].contains(&hz()), "{}", hz());
    }

    #[test]
    fn the_monotonic_clock_advances() {
        let before = monotonic_ns();
        assert!(before > 0 && monotonic_ns() >= before);
    }
}
