//! Reading the configuration with everything it refers to.
//!
//! Apart from config, discovery and state because none of them knows another: config is told what a
//! kubeconfig holds, discovery which file to read and which addresses are known, state which file they
//! are in.

use crate::config::{Config, ConfigError, Discovered, Kubernetes, Place, Problem, Wanted};
use crate::discovery::kubeconfig::{self, Kubeconfig};
use crate::discovery::kubernetes::{Identity, SERVICE_ACCOUNT};
use crate::state::{self, Kept};
use nllb_core::Remembered;
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

/// What to do where a kubeconfig names its server by DNS and nobody resolves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Refuse the configuration.
    Refuse,
    /// Take the addresses that the pool had, from the table on disk. An agent that starts knows
    /// nothing better, and often nobody resolves names before the agent has started.
    Remember,
}

/// Reads and checks the configuration at `file`. Blocks on files, and on the resolver where a
/// kubeconfig names its server by DNS.
///
/// # Errors
/// One line that names the file, the key and what to do.
pub fn load(file: &Path, unresolved: Unresolved) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError {
        file: file.to_owned(),
        place: Place::default(),
        problem: Box::new(Problem::Read { source }),
    })?;
    Config::parse(file, &text, &|wanted| match wanted {
        Wanted::Kubeconfig { file, pool, known } => {
            let known = |port| match (unresolved, known) {
                (Unresolved::Remember, Some(table)) => addresses(table, pool, port),
                (Unresolved::Refuse, _) | (_, None) => Vec::new(),
            };
            of_kubeconfig(file, &known)
        }
        Wanted::Kubernetes(kubernetes) => {
            let credentials = identity(kubernetes).usable().map_err(|error| error.to_string())?;
            Ok(Discovered { credentials, ..Discovered::default() })
        }
    })
}

/// With whose credentials the cluster is asked.
pub(super) fn identity(kubernetes: &Kubernetes) -> Identity {
    match &kubernetes.kubeconfig {
        Some(file) => Identity::Kubeconfig(file.clone()),
        None => Identity::ServiceAccount(SERVICE_ACCOUNT.into()),
    }
}

fn of_kubeconfig(file: &Path, known: kubeconfig::Known<'_>) -> Result<Discovered, String> {
    let Kubeconfig { endpoints, credentials, unresolved } =
        kubeconfig::load(file, known).map_err(|error| error.to_string())?;
    let unresolved = unresolved.iter().map(|server| {
        format!("{server}: addresses from the table on disk are used until it can be")
    });
    Ok(Discovered { endpoints, credentials, unresolved: unresolved.collect() })
}

/// The addresses with this port that a pool had. What is wrong with the table is said where its
/// content is used.
fn addresses(table: &Path, pool: &str, port: u16) -> Vec<SocketAddr> {
    let kept = state::read(table, SystemTime::now()).ok().flatten();
    let backends = kept.map(|Kept { known, .. }| known.backends).unwrap_or_default();
    let fits = |backend: &Remembered| backend.pool == pool && backend.addr.port() == port;
    backends.into_iter().filter(fits).map(|backend| backend.addr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nllb_common::maps::State;
    use nllb_core::Recollection;

    const TEXT: &str = "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends: [{name: kubernetes, kind: vip, addresses: ['10.96.0.1:443']}]
pools:
  - {name: apiserver, kubeconfig: $DIR/kubeconfig, probe: {insecureSkipVerify: true}}
state: {file: $DIR/table.json}
";
    /// An empty label fails in the resolver's own syntax check: no question leaves the host.
    const KUBECONFIG: &str = "clusters: [{name: a, cluster: {server: 'https://a..b:6443'}}]";

    #[test]
    fn an_agent_starts_with_remembered_addresses_when_nobody_resolves_its_servers() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let text = text.replace("$DIR", &dir.path().display().to_string());
            std::fs::write(dir.path().join(name), text).expect("written");
        };
        write("agent.yaml", TEXT);
        write("kubeconfig", KUBECONFIG);
        let file = dir.path().join("agent.yaml");
        let refused = load(&file, Unresolved::Remember).expect_err("nothing is known").to_string();
        assert!(refused.contains("cannot be resolved"), "{refused}");

        let remembered = |pool: &str, addr: &str| Remembered {
            pool: pool.to_owned(),
            addr: addr.parse().expect("an address"),
            state: State::Healthy,
            drained: false,
            close_after: None,
            rtt: None,
            names: Vec::new(),
            version: None,
        };
        let backends = vec![
            remembered("apiserver", "10.0.0.11:6443"),
            remembered("apiserver", "10.0.0.12:443"),
            remembered("other", "10.0.0.13:6443"),
        ];
        let known = Recollection { backends, ..Recollection::default() };
        let table = dir.path().join("table.json");
        // However old they are: nothing better is known.
        state::write(&table, 1, &known, SystemTime::UNIX_EPOCH).expect("written");
        let config = load(&file, Unresolved::Remember).expect("good enough");
        let expected: SocketAddr = "10.0.0.11:6443".parse().expect("an address");
        assert_eq!(config.pools[0].endpoints, [expected]);
        let lines: Vec<_> = config.unresolved().collect();
        assert!(lines.len() == 1 && lines[0].contains("https://a..b:6443"), "{lines:?}");

        assert!(load(&file, Unresolved::Refuse).is_err(), "only where nothing better is in force");
        write("table.json", "{");
        assert!(load(&file, Unresolved::Remember).is_err(), "the table is damaged");
    }
}
