//! Reading the configuration with everything it refers to.
//!
//! Apart from config and discovery because neither adapter knows the other: config is told what a
//! kubeconfig holds, discovery is told which file to read.

use crate::config::{Config, ConfigError, Discovered, Place, Problem, Wanted};
use crate::discovery::kubeconfig::{self, Kubeconfig};
use std::path::Path;

/// Reads and checks the configuration at `file`. Blocks on files, and on the resolver where a
/// kubeconfig names its server by DNS.
///
/// # Errors
/// One line that names the file, the key and what to do.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError {
        file: file.to_owned(),
        place: Place::default(),
        problem: Box::new(Problem::Read { source }),
    })?;
    Config::parse(file, &text, &|Wanted { kubeconfig, pool: _, known: _ }| {
        let Kubeconfig { endpoints, credentials } =
            kubeconfig::load(kubeconfig).map_err(|error| error.to_string())?;
        Ok(Discovered { endpoints, credentials })
    })
}
