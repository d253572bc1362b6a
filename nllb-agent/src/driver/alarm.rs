//! When the machine wants to be asked again, as a timer of the kernel.
//!
//! The runtime keeps its own timers in a wheel: on the way to one that is more than 64 ms away the
//! thread wakes up once or twice to put it into a finer slot, and to be told of one that is nearer than
//! those before it writes to itself. That is fine for timers that hardly ever expire, like those of
//! probes. This one does several times a second, and an agent at rest does little else.

use std::io;
use std::time::Instant;

use tokio::task::yield_now;
use tokio::time::sleep_until;

use crate::datapath::Timer;

/// The timer.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Timer,
    /// When it expires; `None` when it is not known to.
    set: Option<Instant>,
}

impl Alarm {
    /// Must be called inside a runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { timer: Timer::new()?, set: None })
    }

    /// Waits until then, and until those have run who were woken at the same time: an answer that is here
    /// already must not count as overdue because this thread was late. Safe to cancel.
    pub(super) async fn until(&mut self, due: Instant) {
        if self.wait(due).await.is_err() {
            // Later by a millisecond at most, and as good.
            sleep_until(due.into()).await;
        }
        yield_now().await;
    }

    async fn wait(&mut self, due: Instant) -> io::Result<()> {
        loop {
            // The clock decides: the timer may have expired for an earlier moment that nobody waits for.
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if self.set != Some(due) {
                self.set = None;
                self.timer.set(left)?;
                self.set = Some(due);
            }
            self.timer.expired().await?;
            self.set = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3_600);

    fn alarm() -> Alarm {
        Alarm::new().expect("a timer")
    }

    /// Begins to wait and gives up.
    fn begin(alarm: &mut Alarm, due: Instant) {
        let waits = pin!(alarm.until(due)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(waits.is_pending());
    }

    #[tokio::test]
    async fn it_rings_when_it_is_due_and_not_before() {
        let mut alarm = alarm();
        for _ in 0..3 {
            let due = Instant::now() + SHORT;
            alarm.until(due).await;
            assert!(Instant::now() >= due);
        }
        // What is past is due.
        alarm.until(Instant::now() - SHORT).await;
    }

    #[tokio::test]
    async fn another_moment_takes_the_place_of_the_one_before() {
        let mut alarm = alarm();
        let begun = Instant::now();
        begin(&mut alarm, begun + LONG);
        alarm.until(begun + SHORT).await;
        // The other way round, and the earlier one expires meanwhile.
        begin(&mut alarm, Instant::now() + SHORT);
        let later = Instant::now() + 3 * SHORT;
        alarm.until(later).await;
        assert!(Instant::now() >= later);
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_can_be_begun_again() {
        let mut alarm = alarm();
        let due = Instant::now() + SHORT;
        for _ in 0..3 {
            begin(&mut alarm, due);
        }
        alarm.until(due).await;
        assert!(Instant::now() >= due);
    }
}
