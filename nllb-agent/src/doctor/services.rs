//! Checks of Services besides the API server's: what the cluster tells of each, and who can serve it.

use super::{Check, Group};

const CONFIGURATION: Group = Group::Configuration;

/// What was seen of a Service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Its name in the configuration.
    pub name: String,
    /// Why the cluster cannot be asked for it.
    pub error: Option<String>,
    /// Whether nothing was heard of it, though the cluster is asked.
    pub is_unheard: bool,
    /// Who or what of it is left out, one line each.
    pub left_out: Vec<String>,
    /// Its ports that are served.
    pub pools: Vec<Pool>,
    /// Whether its `topology` prefers any endpoints.
    pub prefers_near: bool,
    /// Interface of a cache on this node that clients ask instead of the Service.
    pub cache: Option<String>,
}

/// A port of a Service.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How many endpoints it has.
    pub backends: usize,
    /// How many of them may get connections.
    pub eligible: usize,
    /// Whether one of them counts as near.
    pub has_near: bool,
}

/// Decides about a Service.
#[must_use]
pub fn checks(service: &Service) -> Vec<Check> {
    let Service { name, error: _, is_unheard: _, left_out, pools, prefers_near, cache } = service;
    let mut checks = vec![source(service)];
    checks.extend(pools.iter().map(pool));
    if !left_out.is_empty() {
        let fix = "see the Service and its EndpointSlices, and what services says of it";
        let name = format!("service {name} left out");
        checks.push(Check::warn(CONFIGURATION, name, left_out.join("; "), fix));
    }
    // With endpoints and none near either nobody is, or it is not known where this node is.
    let some = pools.iter().any(|pool| pool.backends > 0);
    if *prefers_near && some && !pools.iter().any(|pool| pool.has_near) {
        let found = "none of its endpoints is on this node or in its zone, as far as that is known";
        let fix =
            "where some are, name this node in node.name and node.zone as the cluster has them";
        checks.push(Check::warn(CONFIGURATION, format!("service {name} topology"), found, fix));
    }
    if let Some(interface) = cache {
        let found = format!(
            "NodeLocal DNSCache answers on {interface}: pods may ask that, and never dial the Service"
        );
        let fix = "name kube-system/kube-dns-upstream, which the cache dials, in services as well";
        checks.push(Check::warn(CONFIGURATION, format!("service {name} cache"), found, fix));
    }
    checks
}

fn source(service: &Service) -> Check {
    let name = format!("service {}", service.name);
    if let Some(error) = &service.error {
        let fix = "let the account of controlPlane.kubernetes list and watch services and endpointslices in that namespace";
        return Check::warn(CONFIGURATION, name, error.clone(), fix);
    }
    if service.is_unheard {
        let fix = "see whether controlPlane.kubernetes reaches an API server: nllb status -o wide";
        return Check::warn(CONFIGURATION, name, "nothing was heard of it yet", fix);
    }
    if service.pools.is_empty() {
        let fix = "see whether it exists and has a cluster IP: kubectl get service; until then it is left to others";
        return Check::warn(CONFIGURATION, name, "no port of it is served", fix);
    }
    let count = service.pools.len();
    let plural = if count == 1 { "" } else { "s" };
    Check::pass(CONFIGURATION, name, format!("{count} port{plural} served"))
}

fn pool(Pool { name, backends, eligible, has_near: _ }: &Pool) -> Check {
    let name = format!("pool {name}");
    let found = format!("{eligible} of {backends} endpoints may get connections");
    match (*eligible, *backends) {
        (0, 0) => Check::warn(
            CONFIGURATION,
            name,
            "no endpoint: it is left to whoever serves it without nllb",
            "see why its pods are not ready: kubectl get endpointslices",
        ),
        (0, _) => Check::fail(
            CONFIGURATION,
            name,
            format!("{found}: questions go to whoever may still answer"),
            "mend the endpoints; nllb status says why each is out, and of the probe whether it suits them",
        ),
        (1, 1) => Check::warn(
            CONFIGURATION,
            name,
            "one endpoint: nobody takes over when it fails",
            "scale it to two replicas or more, on different nodes",
        ),
        (1, _) => Check::warn(
            CONFIGURATION,
            name,
            format!("{found}: one is left"),
            "mend the others before the last one fails; nllb status says why each is out",
        ),
        (_, _) => Check::pass(CONFIGURATION, name, found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Pass, Warn};
    use super::*;

    fn good() -> Service {
        let name = "kube-system/kube-dns".to_owned();
        let pool = Pool { name: format!("{name}:53"), backends: 2, eligible: 2, has_near: true };
        Service { name, pools: vec![pool], prefers_near: true, ..Service::default() }
    }

    #[test]
    fn a_service_that_is_served_passes_and_each_trouble_has_a_check_of_its_own() {
        let own = "service kube-system/kube-dns";
        let pool = "pool kube-system/kube-dns:53";
        assert!(checks(&good()).iter().all(|check| check.verdict == Pass));
        type Wreck = fn(&mut Service);
        let faults: [(&str, Verdict, Wreck); 10] = [
            (own, Warn, |it| it.error = Some("403 Forbidden".to_owned())),
            (own, Warn, |it| it.is_unheard = true),
            (own, Warn, |it| it.pools.clear()),
            (pool, Warn, |it| (it.pools[0].backends, it.pools[0].eligible) = (0, 0)),
            (pool, Fail, |it| it.pools[0].eligible = 0),
            (pool, Warn, |it| it.pools[0].eligible = 1),
            (pool, Warn, |it| (it.pools[0].backends, it.pools[0].eligible) = (1, 1)),
            ("service kube-system/kube-dns left out", Warn, |it| {
                it.left_out = vec!["kube-system/kube-dns: the Service has no port dns".to_owned()];
            }),
            ("service kube-system/kube-dns topology", Warn, |it| it.pools[0].has_near = false),
            ("service kube-system/kube-dns cache", Warn, |it| {
                it.cache = Some("nodelocaldns".to_owned());
            }),
        ];
        for (name, expected, wreck) in faults {
            let mut service = good();
            wreck(&mut service);
            for check in checks(&service) {
                let meant = if check.name == name { expected } else { Pass };
                assert_eq!(check.verdict, meant, "{name}: {check:?}");
                assert_eq!(check.fix.is_some(), matches!(meant, Warn | Fail), "{check:?}");
            }
            assert!(checks(&service).iter().any(|check| check.name == name), "{name}");
        }
        let elsewhere = Service { prefers_near: false, ..good() };
        assert!(checks(&elsewhere).iter().all(|check| check.verdict == Pass));
    }
}
