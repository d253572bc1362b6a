//! The level of the log, changed while the agent runs, and back by itself when it was only for a while.

use super::{TelemetryError, targets};
use crate::units::millis;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload::Handle;

/// For how long another level may hold.
pub const FOR: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);

/// The log's level.
#[derive(Debug)]
pub struct LogLevel {
    handle: Handle<Targets, Registry>,
    /// What the command line said.
    usual: String,
    now: String,
    back_at: Option<Instant>,
}

impl LogLevel {
    pub(super) fn new(handle: Handle<Targets, Registry>, level: &str) -> Self {
        Self { handle, usual: level.to_owned(), now: level.to_owned(), back_at: None }
    }

    /// One of a log that nobody writes.
    #[cfg(test)]
    pub(crate) fn detached(level: &str) -> Self {
        let layer = tracing_subscriber::reload::Layer::new(targets(level).expect("a level"));
        let (layer, handle) = layer;
        // The handle holds it only as long as somebody else does.
        Box::leak(Box::new(layer));
        Self::new(handle, level)
    }

    /// Logs this from now on, or until then.
    ///
    /// # Errors
    /// When it is no level; then nothing changes.
    pub fn set(&mut self, level: &str, until: Option<Instant>) -> Result<(), TelemetryError> {
        self.handle.reload(targets(level)?)?;
        // The other interface of libraries has a limit of its own, which was set when the log was made.
        log::set_max_level(of_log(LevelFilter::current()));
        level.clone_into(&mut self.now);
        self.back_at = until;
        tracing::info!(level, back = until.is_some(), "the log's level is another");
        Ok(())
    }

    /// When it goes back.
    #[must_use]
    pub const fn back_at(&self) -> Option<Instant> {
        self.back_at
    }

    /// Goes back when it is time.
    pub fn look(&mut self, now: Instant) {
        if self.back_at.is_some_and(|at| at <= now) {
            let usual = self.usual.clone();
            if let Err(error) = self.set(&usual, None) {
                tracing::warn!(%error, "the log's level stays");
                self.back_at = None;
            }
        }
    }

    /// How it is.
    #[must_use]
    pub fn state(&self, now: Instant) -> LogState {
        LogState {
            level: self.now.clone(),
            usual: self.usual.clone(),
            back_in_ms: self.back_at.map(|at| millis(at.saturating_duration_since(now))),
        }
    }
}

const fn of_log(level: LevelFilter) -> log::LevelFilter {
    match level.into_level() {
        None => log::LevelFilter::Off,
        Some(tracing::Level::ERROR) => log::LevelFilter::Error,
        Some(tracing::Level::WARN) => log::LevelFilter::Warn,
        Some(tracing::Level::INFO) => log::LevelFilter::Info,
        Some(tracing::Level::DEBUG) => log::LevelFilter::Debug,
        Some(tracing::Level::TRACE) => log::LevelFilter::Trace,
    }
}

/// The log, in the status document and as an answer on the admin socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogState {
    /// What is logged now: a level, or module=level,...
    pub level: String,
    /// What the command line said.
    pub usual: String,
    /// Time until it is that again; `None` when it stays.
    pub back_in_ms: Option<u64>,
}

/// The body of a request on the admin socket for another level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLevelBody {
    /// A level, or module=level,...
    pub level: String,
    /// For how long; `None` until the agent ends. Within [`FOR`].
    #[serde(default)]
    pub for_ms: Option<u64>,
}

/// Where requests about the level go.
pub type LogSource = mpsc::Sender<LogRequest>;

/// A request about the level.
#[derive(Debug)]
pub struct LogRequest {
    order: Option<LogLevelBody>,
    reply: oneshot::Sender<Result<LogState, String>>,
}

impl LogRequest {
    /// A request for another level, or for how it is; and where the answer arrives.
    #[must_use]
    pub fn new(order: Option<LogLevelBody>) -> (Self, oneshot::Receiver<Result<LogState, String>>) {
        let (reply, receiver) = oneshot::channel();
        (Self { order, reply }, receiver)
    }

    /// Carries it out and answers it. Who asked may have gone away meanwhile; that is fine.
    pub fn obey(self, log: &mut LogLevel, now: Instant) {
        let Self { order, reply } = self;
        let done = match order {
            Some(LogLevelBody { level, for_ms }) => {
                let until = for_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)));
                log.set(&level, until).map_err(|error| error.to_string())
            }
            None => Ok(()),
        };
        drop(reply.send(done.map(|()| log.state(now))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::reload;

    fn speaks(level: tracing::Level) -> bool {
        match level {
            tracing::Level::DEBUG => tracing::enabled!(tracing::Level::DEBUG),
            tracing::Level::INFO => tracing::enabled!(tracing::Level::INFO),
            other => unreachable!("{other}"),
        }
    }

    #[test]
    fn another_level_holds_at_once_and_goes_back_when_its_time_is_over() {
        let (layer, handle) = reload::Layer::new(targets("info").expect("a level"));
        let mut level = LogLevel::new(handle, "info");
        let now = Instant::now();
        with_default(tracing_subscriber::registry().with(layer), || {
            assert!(speaks(tracing::Level::INFO) && !speaks(tracing::Level::DEBUG));
            let until = now + Duration::from_secs(600);
            level.set("debug", Some(until)).expect("a level");
            assert!(speaks(tracing::Level::DEBUG));
            assert_eq!(level.state(now).back_in_ms, Some(600_000));
            level.set("loud=very", None).expect_err("no level");
            assert_eq!(level.state(now).level, "debug", "nothing has changed");
            level.look(until - Duration::from_secs(1));
            assert!(speaks(tracing::Level::DEBUG));
            level.look(until);
            assert!(!speaks(tracing::Level::DEBUG));
            let (level, usual) = (level.state(until), "info".to_owned());
            assert_eq!(level, LogState { level: usual.clone(), usual, back_in_ms: None });
        });
    }
}
