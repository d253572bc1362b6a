//! The kernel's own clocks: what the programs write times in, and how long a tick is.

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
