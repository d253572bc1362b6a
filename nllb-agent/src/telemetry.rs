//! What the agent says: text for people or JSON for collectors, on standard error.

mod level;

pub use level::{FOR, LogLevel, LogLevelBody, LogRequest, LogSource, LogState};

use std::io::{self, IsTerminal as _};
use std::str::FromStr;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error(
        "\"{level}\" is not a log level: use error, warn, info, debug or trace, or module=level,..."
    )]
    Level {
        /// As written.
        level: String,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// The process has a log already.
    #[error("the log is set up already: {0}")]
    Twice(#[from] TryInitError),
    /// The log is gone, which it never is.
    #[error("the level cannot be changed: {0}")]
    Gone(#[from] reload::Error),
}

/// Sets up the log of this process; gives its level, which may be changed.
pub fn install(level: &str, format: LogFormat) -> Result<LogLevel, TelemetryError> {
    let (targets, handle) = reload::Layer::new(targets(level)?);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        LogFormat::Text => {
            let ansi = io::stderr().is_terminal();
            registry.with(fmt::layer().with_writer(io::stderr).with_ansi(ansi)).try_init()?;
        }
        LogFormat::Json => {
            registry
                .with(fmt::layer().json().flatten_event(true).with_writer(io::stderr))
                .try_init()?;
        }
    }
    Ok(LogLevel::new(handle, level))
}

/// Says what is wrong with a level.
///
/// # Errors
/// When it is none.
pub fn check_level(level: &str) -> Result<(), TelemetryError> {
    targets(level).map(drop)
}

/// The HTTP/2 library warns of each strange frame, so a backend could fill the log; what matters of
/// it the probes tell. Who names the library hears it.
fn targets(level: &str) -> Result<Targets, TelemetryError> {
    const LIBRARY: &str = "h2";
    let targets = Targets::from_str(level)
        .map_err(|source| TelemetryError::Level { level: level.to_owned(), source })?;
    let named = targets.iter().any(|(target, _)| target.starts_with(LIBRARY));
    let quiet = targets.default_level().map_or(LevelFilter::OFF, |all| all.min(LevelFilter::ERROR));
    Ok(if named { targets } else { targets.with_target(LIBRARY, quiet) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn the_http2_library_speaks_only_when_asked() {
        for (level, speaks) in [("debug", false), ("h2=debug", true), ("warn,h2::proto=warn", true)]
        {
            let targets = targets(level).expect("a level");
            assert_eq!(
                targets.would_enable("h2::proto::ping_pong", &Level::WARN),
                speaks,
                "{level}"
            );
        }
        assert!(targets("info").expect("a level").would_enable("h2", &Level::ERROR));
        assert!(!targets("off").expect("a level").would_enable("h2", &Level::ERROR));
    }

    #[test]
    fn a_level_holds_for_all_or_for_a_module() {
        let some = targets("warn,nllb_agent::probe=trace").expect("levels");
        assert!(some.would_enable("nllb_agent::probe", &Level::TRACE));
        assert!(!some.would_enable("nllb_agent::driver", &Level::INFO));
        let line = targets("nllb=loud").expect_err("no level").to_string();
        assert!(line.starts_with("\"nllb=loud\" is not a log level: use error"), "{line}");
    }
}
