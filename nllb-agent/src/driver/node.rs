//! What this node is called in the cluster.

use crate::config::Config;
use std::env;

/// The environment variable with the name, for a configuration that many nodes share: a pod's manifest fills it from
/// `spec.nodeName`.
const NODE_NAME: &str = "NODE_NAME";

/// The configured name, or else what the environment says, or else what a kubelet registers by itself.
pub(super) fn name(config: &Config) -> String {
    chosen(config.node.name.clone(), env::var(NODE_NAME).ok(), hostname)
}

fn chosen(
    configured: Option<String>,
    variable: Option<String>,
    hostname: impl Fn() -> String,
) -> String {
    configured.or(variable.filter(|name| !name.is_empty())).unwrap_or_else(hostname)
}

/// The name under which a kubelet registers its node unless it is told another.
fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_comes_before_the_environment_and_that_before_the_host() {
        let name = |configured: Option<&str>, variable: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            chosen(text(configured), text(variable), || "host".to_owned())
        };
        assert_eq!(name(Some("worker-1"), Some("worker-2")), "worker-1");
        assert_eq!(name(None, Some("worker-2")), "worker-2");
        assert_eq!(name(None, Some("")), "host");
        assert_eq!(name(None, None), "host");
    }
}
