//! `nllb run`: the agent, until a signal ends it.

use super::Failure;
use crate::driver::{self, RunError, Unresolved};
use crate::exit::Exit;
use crate::limits;
use crate::telemetry::{self, LogFormat};
use std::path::Path;

pub(super) fn run(file: &Path, log_level: &str, format: LogFormat) -> Result<(), Failure> {
    let log = telemetry::install(log_level, format)
        .map_err(|error| Failure::new(Exit::Configuration, &error))?;
    if let Err(error) = limits::raise_descriptors() {
        tracing::warn!(%error, "cannot raise the limit of descriptors; fewer connections are relayed");
    }
    let config = driver::load(file, Unresolved::Remember)
        .map_err(|error| Failure::new(Exit::Configuration, &error))?;
    for line in config.unresolved() {
        tracing::warn!("{line}");
    }
    driver::run(file, config, log).map_err(|error| Failure::new(exit(&error), &error))
}

const fn exit(error: &RunError) -> Exit {
    match error {
        RunError::Datapath(_) => Exit::Datapath,
        RunError::Table { .. } => Exit::Configuration,
        RunError::Runtime(_) | RunError::Setup { .. } => Exit::Unexpected,
    }
}
