//! The one clock of all processes of a measurement.
//!
//! An `Instant` means nothing to another process; `CLOCK_MONOTONIC` is the same for all of a host.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since the host started, more or less.
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    let now = now.expect("the kernel has this clock");
    u64::try_from(Duration::from(now).as_nanos()).expect("584 years are not over")
}
