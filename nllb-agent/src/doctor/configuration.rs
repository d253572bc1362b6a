//! Checks of what nllb was told: the file, who can serve each frontend, who is in the way.

use super::{Check, Group};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const CONFIGURATION: Group = Group::Configuration;
/// After so long without a kubelet's word Kubernetes takes a node for lost
/// (`--node-monitor-grace-period`: 40 s before Kubernetes 1.32, 50 s since).
const GRACE_PERIOD: Duration = Duration::from_secs(40);

/// What was seen of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The file, and why it cannot be used.
    pub file: Option<(PathBuf, Result<(), String>)>,
    /// Why the newest file is not in force.
    pub reload_error: Option<String>,
    /// Names that nobody resolves.
    pub unresolved: Vec<String>,
    /// Sources that fail, with the reason.
    pub sources: Vec<String>,
    /// Frontends as the agent sees them.
    pub frontends: Vec<Frontend>,
    /// Pools by name, with how many backends each has.
    pub pools: Vec<(String, usize)>,
    /// Loopback frontends' addresses, and who else listens there.
    pub listeners: Vec<(SocketAddr, Option<String>)>,
    /// The longest time from a backend's silence to a verdict, by pool.
    pub failover: Vec<(String, Duration)>,
}

/// A frontend.
#[derive(Clone, Debug)]
pub struct Frontend {
    /// Its name.
    pub name: String,
    /// How many backends it has.
    pub backends: usize,
    /// How many of them may get connections.
    pub eligible: usize,
}

/// Decides about the configuration.
#[must_use]
pub fn checks(seen: &Configuration) -> Vec<Check> {
    let mut checks = vec![file(seen)];
    checks.extend(seen.reload_error.as_ref().map(|reason| {
        let fix = "mend the file; nllb check-config FILE says the same without the agent";
        let found = format!("the newest file is not in force: {reason}");
        Check::fail(CONFIGURATION, "reload", found, fix)
    }));
    checks.extend(lines("names", &seen.unresolved, "mend the name server or the server's name"));
    let fix = "mend the source, or take it out of controlPlane";
    checks.extend(lines("sources", &seen.sources, fix));
    checks.extend(seen.frontends.iter().map(frontend));
    checks.extend(seen.pools.iter().map(pool));
    checks.extend(seen.listeners.iter().map(listener));
    checks.extend(seen.failover.iter().map(failover));
    checks
}

fn file(seen: &Configuration) -> Check {
    match &seen.file {
        None => Check::skip(CONFIGURATION, "file", "none is known; name it with --config"),
        Some((file, Ok(()))) => Check::pass(CONFIGURATION, "file", file.display().to_string()),
        Some((_, Err(reason))) => Check::fail(
            CONFIGURATION,
            "file",
            reason.clone(),
            "mend it; nllb check-config FILE tells when it is good",
        ),
    }
}

fn lines(name: &str, lines: &[String], fix: &str) -> Option<Check> {
    (!lines.is_empty()).then(|| Check::warn(CONFIGURATION, name, lines.join("; "), fix))
}

fn frontend(frontend: &Frontend) -> Check {
    let Frontend { name, backends, eligible } = frontend;
    let name = format!("frontend {name}");
    let found = format!("{eligible} of {backends} backends may get connections");
    if *eligible == 1 && *backends > 1 {
        let fix = "mend the others before the last one fails; nllb status says why each is out";
        return Check::warn(CONFIGURATION, name, format!("{found}: one is left"), fix);
    }
    if *eligible > 0 {
        return Check::pass(CONFIGURATION, name, found);
    }
    Check::fail(
        CONFIGURATION,
        name,
        format!("{found}: connects go to whoever may still answer"),
        "mend the backends, see above; nllb status says why each is out",
    )
}

fn pool((name, backends): &(String, usize)) -> Check {
    let name = format!("pool {name}");
    match backends {
        0 => Check::fail(
            CONFIGURATION,
            name,
            "no backend",
            "name endpoints, a kubeconfig or a controlPlane that lists some",
        ),
        1 => Check::warn(
            CONFIGURATION,
            name,
            "one backend: nobody takes over when it fails",
            "name the other API servers, if there are any",
        ),
        count => Check::pass(CONFIGURATION, name, format!("{count} backends")),
    }
}

fn listener((address, owner): &(SocketAddr, Option<String>)) -> Check {
    let name = format!("listener {address}");
    let Some(owner) = owner else {
        return Check::pass(CONFIGURATION, name, "nllb's own, or free");
    };
    let fix = match owner.split_whitespace().next().unwrap_or_default() {
        "envoy" | "traefik" => "turn off nodeLocalLoadBalancing in k0s.yaml, if it is k0s's own",
        "k3s" | "rke2" | "k3s-agent" => "take another port for nllb's loopback frontend",
        "haproxy" | "nginx" => "remove the local balancer once clients do without it",
        _ => "stop it, or take another port for the loopback frontend",
    };
    let found =
        format!("{owner} listens there: sockets bound to loopback reach it instead of nllb");
    Check::warn(CONFIGURATION, name, found, fix)
}

fn failover((pool, longest): &(String, Duration)) -> Check {
    let name = format!("failover {pool}");
    let seconds = longest.as_secs_f64();
    let found = format!("a silent backend is out of service after {seconds:.1} s at the latest");
    if *longest < GRACE_PERIOD / 2 {
        let found = format!("{found}, nodes are given 40 s or more");
        return Check::pass(CONFIGURATION, name, found);
    }
    Check::warn(
        CONFIGURATION,
        name,
        format!("{found}, and nodes may be taken for lost after 40 s (node-monitor-grace-period)"),
        "lower probe.interval, probe.timeout or probe.fall",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Pass, Skip, Warn};
    use super::*;

    fn good() -> Configuration {
        let frontend = Frontend { name: "kubernetes".to_owned(), backends: 3, eligible: 2 };
        Configuration {
            file: Some(("/etc/nllb/agent.yaml".into(), Ok(()))),
            frontends: vec![frontend],
            pools: vec![("apiserver".to_owned(), 3)],
            listeners: vec![(([127, 0, 0, 1], 7443).into(), None)],
            failover: vec![("apiserver".to_owned(), Duration::from_secs(5))],
            ..Configuration::default()
        }
    }

    fn verdict(seen: &Configuration, name: &str) -> Verdict {
        let check = checks(seen).into_iter().find(|check| check.name == name).expect(name);
        assert_eq!(check.fix.is_some(), matches!(check.verdict, Warn | Fail), "{check:?}");
        check.verdict
    }

    #[test]
    fn a_good_configuration_passes() {
        let checks = checks(&good());
        assert!(checks.iter().all(|check| check.verdict == Pass), "{checks:?}");
    }

    #[test]
    fn each_fault_of_a_configuration_is_found_by_its_own_check() {
        type Wreck = fn(&mut Configuration);
        let faults: [(&str, Verdict, Wreck); 11] = [
            ("file", Skip, |seen| seen.file = None),
            ("file", Fail, |seen| seen.file = Some(("/x".into(), Err("x:1: no".to_owned())))),
            ("reload", Fail, |seen| seen.reload_error = Some("no".to_owned())),
            ("names", Warn, |seen| seen.unresolved = vec!["https://cp:6443".to_owned()]),
            ("sources", Warn, |seen| seen.sources = vec!["dns cp: SERVFAIL".to_owned()]),
            ("frontend kubernetes", Warn, |seen| seen.frontends[0].eligible = 1),
            ("frontend kubernetes", Fail, |seen| seen.frontends[0].eligible = 0),
            ("pool apiserver", Warn, |seen| seen.pools[0].1 = 1),
            ("pool apiserver", Fail, |seen| seen.pools[0].1 = 0),
            ("listener 127.0.0.1:7443", Warn, |seen| {
                seen.listeners[0].1 = Some("haproxy (812)".to_owned());
            }),
            ("failover apiserver", Warn, |seen| seen.failover[0].1 = Duration::from_secs(30)),
        ];
        for (name, expected, wreck) in faults {
            let mut seen = good();
            wreck(&mut seen);
            assert_eq!(verdict(&seen, name), expected, "{name}");
            let others = checks(&seen).into_iter().filter(|check| check.name != name);
            assert!(others.into_iter().all(|check| check.verdict == Pass), "{name}");
        }
    }
}
