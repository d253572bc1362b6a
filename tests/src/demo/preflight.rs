//! Whether the demonstration can be given here; if not, one line that says what to do.

use std::env;

use anyhow::{Result, bail};

use crate::lab;

/// What the lab calls.
const TOOLS: [&str; 4] = ["ip", "bridge", "ss", "nft"];

/// Says why not.
pub(crate) fn check() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "needs root, for network namespaces, a cgroup and BPF programs of its own; nothing of \
             the host's is touched"
        );
    }
    let missing = missing(&env::var("PATH").unwrap_or_default());
    if !missing.is_empty() {
        bail!(
            "not installed: {}; `cargo xtask setup` installs what is missing",
            missing.join(", ")
        );
    }
    lab::available()
}

fn missing(path: &str) -> Vec<&'static str> {
    let absent =
        |tool: &&str| !env::split_paths(path).any(|directory| directory.join(tool).is_file());
    TOOLS.into_iter().filter(absent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_that_are_nowhere_on_the_path_are_missing() {
        assert_eq!(missing("/nonexistent:/dev"), TOOLS);
    }
}
