//! Tells the service manager how the agent does, in the language of sd_notify(3). Without
//! `NOTIFY_SOCKET` nobody asks, and every call does nothing.
//!
//! The agent never waits for a service manager that is stuck itself, so a message may be lost. Hence
//! each ping says again how things stand. That is why messages are sent here and not by the library,
//! whose socket blocks.

use std::env;
use std::ffi::OsStr;
use std::future;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState::{self, Ready, Reloading, Status, Stopping, Watchdog};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

/// Pings in the time after which the service manager takes the agent for stuck: two may be late.
const PINGS: u32 = 3;

/// The service manager that has started the agent, if there is one that listens.
#[derive(Debug, Default)]
pub struct ServiceManager {
    door: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Interval>,
    /// What was said last; `None` before the agent is ready and while it reloads.
    status: Option<String>,
}

impl ServiceManager {
    /// Finds the one that the environment names. Must be called inside a runtime.
    #[must_use]
    pub fn find() -> Self {
        let door = env::var_os("NOTIFY_SOCKET").and_then(|name| {
            open(&name)
                .inspect_err(|error| warn!(?name, %error, "the service manager is told nothing"))
                .ok()
        });
        let watchdog = door.as_ref().and_then(|_| sd_notify::watchdog_enabled());
        Self { watchdog: watchdog.and_then(ticker), door, status: None }
    }

    /// Waits until it is time to [`Self::ping`]; for ever when nobody watches.
    pub async fn ping_due(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => drop(watchdog.tick().await),
            None => future::pending().await,
        }
    }

    /// The agent is not stuck, and all is as it was said last.
    pub fn ping(&self) {
        match &self.status {
            Some(status) => self.say(&[Ready, Status(status), Watchdog]),
            None => self.say(&[Watchdog]),
        }
    }

    /// The agent does its work, and this line is how it stands. Made only when somebody listens, and said
    /// only when it is another one.
    pub fn ready(&mut self, line: impl FnOnce() -> String) {
        if self.door.is_none() {
            return;
        }
        let line = Some(line());
        if line != self.status {
            self.status = line;
            self.ping();
        }
    }

    /// The configuration is read again, until the next [`Self::ready`].
    pub fn reloading(&mut self) {
        self.status = None;
        // The manager tells by the time whether it is for the reload that it has asked for.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.say(&[Reloading, now]);
        }
    }

    /// The agent ends.
    pub fn stopping(&self) {
        let line = "stopping; the data path stays in place";
        self.say(&[Stopping, Status(line)]);
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        let Some((socket, address)) = &self.door else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            warn!(%error, "the service manager does not listen");
        }
    }
}

/// A path, or with `@` a name in the abstract namespace. Not connected: a service manager that was
/// restarted is another socket of the same name.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// `None` for a limit too short to be kept.
fn ticker(limit: Duration) -> Option<Interval> {
    let period = limit / PINGS;
    (!period.is_zero()).then(|| {
        let mut ticker = interval(period);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticker
    })
}
