//! Loops of connects, each paced by a timer of the kernel's.
//!
//! The timers of the event loop are a millisecond coarse, which is all of the time between two
//! connects of a thousand in a second.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use super::super::protocol::ConnectLoop;
use super::dial::Dialer;
use super::{Shared, lock};
use crate::sys;

/// Runs loop `number` for as long as it is let.
pub(super) async fn run(plan: ConnectLoop, number: usize, dialer: Arc<Dialer>, ledger: Shared) {
    let ConnectLoop { interval, at_once, patience } = plan;
    let ticker = match Ticker::new(interval) {
        Ok(ticker) => ticker,
        Err(error) => {
            eprintln!("client: no timer: {error}");
            return;
        }
    };
    if at_once == 1 {
        loop {
            // Ticks that passed meanwhile are not made up for.
            ticker.tick().await;
            let attempt = dialer.ask_name(patience).await;
            lock(&ledger).attempt(number, attempt);
        }
    }
    let room = Arc::new(Semaphore::new(at_once));
    loop {
        for _ in 0..ticker.tick().await {
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                lock(&ledger).skipped(number, 1);
                continue;
            };
            let (dialer, ledger) = (Arc::clone(&dialer), Arc::clone(&ledger));
            tokio::spawn(async move {
                let attempt = dialer.ask_name(patience).await;
                lock(&ledger).attempt(number, attempt);
                drop(place);
            });
        }
    }
}

struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    fn new(interval: Duration) -> std::io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let every = Expiration::Interval(TimeSpec::from_duration(interval));
        timer.set(every, TimerSetTimeFlags::empty())?;
        sys::watch(timer.into()).map(Self)
    }

    /// Waits for the next tick; gives how many have passed.
    async fn tick(&self) -> u64 {
        loop {
            // Neither fails on a timer that runs.
            let Ok(mut ready) = self.0.readable().await else { return 1 };
            let mut passed = [0; 8];
            let read = ready.try_io(|timer| Ok(nix::unistd::read(timer.get_ref(), &mut passed)?));
            if let Ok(Ok(_)) = read {
                return u64::from_ne_bytes(passed);
            }
        }
    }
}
