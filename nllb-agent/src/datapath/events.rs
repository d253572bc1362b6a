//! Reads what the programs write: events, and their diagnostics when asked for.

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use nllb_common::Event;
use nllb_common::maps::names;
use std::io;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::DatapathError;
use super::maps;

/// Waits for a ring buffer to have something.
fn watch<T: AsRawFd>(ring: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: aya's ring buffer and logger own the descriptor they give out, keep it open as long as
    // they live and never give out another one; the `AsyncFd` owns them.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(io::Error::from)
}

/// The event ring buffer.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Events {
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, DatapathError> {
        let ring = maps::take(bpf, names::EVENTS)?;
        Ok(Self { ring: watch(ring).map_err(DatapathError::Events)? })
    }

    /// The next event. Safe to cancel: an event is taken only when it is returned.
    ///
    /// # Errors
    /// When the ring buffer can no longer be watched.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            let ring = ready.get_inner_mut();
            while let Some(record) = ring.next() {
                // A record of another length is from programs of another build; there are none.
                if let Some(event) = Event::from_bytes(&record) {
                    return Ok(event);
                }
            }
            ready.clear_ready();
        }
    }
}

/// Diagnostics of the programs, passed on to the agent's own log.
pub struct Log {
    logger: AsyncFd<EbpfLogger<&'static dyn log::Log>>,
}

impl Log {
    /// `None` when the object holds no diagnostics.
    pub(super) fn take(bpf: &mut Ebpf) -> Option<Self> {
        let logger = EbpfLogger::init(bpf).ok()?;
        Some(Self { logger: watch(logger).ok()? })
    }

    /// Passes on what comes, until the ring buffer can no longer be watched.
    pub async fn forward(mut self) -> io::Error {
        loop {
            match self.logger.readable_mut().await {
                Ok(mut ready) => {
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
                Err(error) => return error,
            }
        }
    }
}
