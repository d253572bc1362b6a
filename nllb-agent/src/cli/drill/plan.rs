//! Which backends a drill is about, and what can be dialled to see how clients fare without each.

use crate::cli::Failure;
use crate::config::Profile;
use crate::drain;
use crate::exit::Exit;
use crate::status::{Frontend, Pool, Status};
use nllb_common::maps::Protocol;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Who is taken out, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) pool: String,
    /// All of its pool.
    pub(super) members: BTreeSet<SocketAddr>,
    pub(super) subjects: Vec<Subject>,
}

/// A backend that is taken out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) backend: SocketAddr,
    /// What can be dialled, the best first; in the end the one that is.
    pub(super) ways: Vec<Way>,
}

/// An address that clients dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) address: SocketAddr,
    /// Whether it is the backend's own address, which is translated only while that is out of service.
    pub(super) is_own: bool,
}

/// Why there is nothing to rehearse. Nothing was changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    #[error("there is no pool {found}; there are: {known}")]
    NoPool { found: String, known: String },
    #[error("there are several pools: name one with --pool: {known}")]
    SeveralPools { known: String },
    #[error("{0}")]
    NoBackend(#[from] drain::Refused),
    #[error("{backend} is {state} ({reason}), so it is out of service already; drill another one")]
    Out { backend: SocketAddr, state: String, reason: String },
    #[error(
        "{0} is in a drill already; wait until that is over, which takes no longer than its lease"
    )]
    Drilled(SocketAddr),
    #[error("no backend of pool {0} is in service, so there is nobody to take out")]
    Nobody(String),
    #[error("no frontend leads to pool {0} over TCP, and a drill dials nothing else")]
    NoFrontend(String),
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let exit = match error {
            PlanError::NoPool { .. }
            | PlanError::SeveralPools { .. }
            | PlanError::NoBackend(_)
            | PlanError::NoFrontend(_) => Exit::Configuration,
            PlanError::Out { .. } | PlanError::Drilled(_) | PlanError::Nobody(_) => Exit::Refused,
        };
        Self::new(exit, &error)
    }
}

impl Plan {
    /// The backends that are named, or else each one in service.
    ///
    /// # Errors
    /// When the pool or a backend is not there or not in service.
    pub(super) fn of(
        status: &Status,
        pool: Option<&str>,
        named: &[String],
    ) -> Result<Self, PlanError> {
        let pool = choose(&status.pools, pool)?;
        let members: BTreeSet<_> = pool.backends.iter().map(|backend| backend.address).collect();
        let backends = match named {
            [] => {
                let in_service = pool.backends.iter().filter(|backend| backend.is_eligible());
                in_service.map(|backend| backend.address).collect()
            }
            named => {
                let found = named.iter().map(|text| drain::find(text, &members));
                let mut found = found.collect::<Result<Vec<_>, _>>()?;
                let mut seen = BTreeSet::new();
                found.retain(|backend| seen.insert(*backend));
                found
            }
        };
        if backends.is_empty() {
            return Err(PlanError::Nobody(pool.name.clone()));
        }
        let name = pool.name.clone();
        for backend in pool.backends.iter().filter(|one| backends.contains(&one.address)) {
            if backend.drill.is_some() {
                return Err(PlanError::Drilled(backend.address));
            }
            if !backend.is_eligible() {
                let (state, reason) = (backend.state.clone(), backend.reason.clone());
                return Err(PlanError::Out { backend: backend.address, state, reason });
            }
        }
        let subject = |backend| Subject { backend, ways: ways(status, &name, backend) };
        let subjects: Vec<_> = backends.into_iter().map(subject).collect();
        if subjects.iter().any(|subject| subject.ways.is_empty()) {
            return Err(PlanError::NoFrontend(name));
        }
        Ok(Self { pool: name, members, subjects })
    }
}

fn choose<'a>(pools: &'a [Pool], name: Option<&str>) -> Result<&'a Pool, PlanError> {
    let known = || pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", ");
    let others: Vec<_> =
        pools.iter().filter(|pool| pool.profile != Profile::Service.label()).collect();
    match (name, others.as_slice()) {
        (Some(name), _) => {
            let no_pool = || PlanError::NoPool { found: name.to_owned(), known: known() };
            pools.iter().find(|pool| pool.name == name).ok_or_else(no_pool)
        }
        // Whatever Services there are besides.
        (None, [only]) => Ok(only),
        (None, _) => Err(PlanError::SeveralPools { known: known() }),
    }
}

/// What clients of the pool dial: VIPs first, and a backend's own address last.
fn ways(status: &Status, pool: &str, backend: SocketAddr) -> Vec<Way> {
    let of_kind = |kind: &'static str| {
        let of_kind = move |one: &&Frontend| {
            one.pool == pool && one.kind == kind && one.protocol != Protocol::Udp.label()
        };
        status.frontends.iter().filter(of_kind)
    };
    let shared = ["vip", "loopback"].into_iter().flat_map(of_kind);
    let own = of_kind("node-address").filter(|frontend| frontend.home == Some(backend));
    let shared = shared.map(|frontend| (frontend, false));
    let all = shared.chain(own.map(|frontend| (frontend, true)));
    let ways = all.flat_map(|(frontend, is_own)| {
        frontend.addresses.iter().map(move |address| Way { address: *address, is_own })
    });
    ways.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example;

    fn plan(status: &Status, pool: Option<&str>, named: &[&str]) -> Result<Plan, PlanError> {
        let named: Vec<_> = named.iter().map(ToString::to_string).collect();
        Plan::of(status, pool, &named)
    }

    fn backends(plan: &Plan) -> Vec<String> {
        plan.subjects.iter().map(|subject| subject.backend.to_string()).collect()
    }

    #[test]
    fn each_backend_in_service_is_taken_out_unless_some_are_named() {
        let all = plan(&example::healthy(), None, &[]).expect("a plan");
        assert_eq!(backends(&all), ["10.0.0.11:6443", "10.0.0.12:6443"]);
        let left = plan(&example::status(), None, &[]).expect("a plan");
        assert_eq!(backends(&left), ["10.0.0.11:6443"]);
        let named = plan(&example::healthy(), Some("apiserver"), &["10.0.0.12", "10.0.0.12:6443"]);
        assert_eq!(backends(&named.expect("a plan")), ["10.0.0.12:6443"]);
    }

    #[test]
    fn vips_are_dialled_before_a_backends_own_address() {
        let plan = plan(&example::healthy(), None, &[]).expect("a plan");
        let ways = |subject: &Subject| -> Vec<(String, bool)> {
            subject.ways.iter().map(|way| (way.address.to_string(), way.is_own)).collect()
        };
        let vips = [("10.96.0.1:443".to_owned(), false), ("[fd00:10:96::1]:443".to_owned(), false)];
        assert_eq!(ways(&plan.subjects[1]), vips);
        let own = ("10.0.0.11:6443".to_owned(), true);
        assert_eq!(ways(&plan.subjects[0]), [vips.as_slice(), &[own]].concat());
    }

    #[test]
    fn services_are_named_and_only_what_tcp_leads_to_is_dialled() {
        let mut status = example::healthy();
        let dns = "kube-system/kube-dns:53";
        let mut service = Pool { name: dns.to_owned(), ..status.pools[0].clone() };
        service.profile = Profile::Service.label().to_owned();
        status.pools.push(service);
        assert_eq!(plan(&status, None, &[]).expect("a plan").pool, "apiserver");
        let address = "10.96.0.10:53".parse().expect("an address");
        let front = |protocol: &str| Frontend {
            name: protocol.to_owned(),
            kind: "vip".to_owned(),
            protocol: protocol.to_owned(),
            pool: dns.to_owned(),
            addresses: vec![address],
            ..Frontend::default()
        };
        status.frontends.push(front("udp"));
        let refused = plan(&status, Some(dns), &[]);
        assert_eq!(refused, Err(PlanError::NoFrontend(dns.to_owned())));
        status.frontends.push(front("tcp"));
        let plan = plan(&status, Some(dns), &[]).expect("a plan");
        assert_eq!(plan.subjects[0].ways, [Way { address, is_own: false }]);
    }

    #[test]
    fn who_is_out_or_unknown_is_no_subject() {
        let refused = |status: &Status, pool, named: &[&str]| {
            let failure = Failure::from(plan(status, pool, named).expect_err("nothing to do"));
            (failure.exit, failure.line)
        };
        let mut status = example::status();
        let (exit, line) = refused(&status, None, &["10.0.0.12"]);
        assert_eq!(exit, Exit::Refused);
        assert!(line.starts_with("10.0.0.12:6443 is unhealthy (no answer to the connect)"));
        let (exit, line) = refused(&status, None, &["10.0.0.9"]);
        assert_eq!(exit, Exit::Configuration);
        assert!(line.starts_with("there is no backend \"10.0.0.9\""), "{line}");
        assert!(refused(&status, Some("etcd"), &[]).1.ends_with("there are: apiserver"));
        status.pools[0].backends[0].drill = Some("simulate".to_owned());
        assert!(refused(&status, None, &[]).1.starts_with("10.0.0.11:6443 is in a drill already"));
        status.pools[0].backends[0].state = "draining".to_owned();
        assert_eq!(refused(&status, None, &[]).0, Exit::Refused);
        status.pools.push(Pool { name: "etcd".to_owned(), ..Pool::default() });
        assert!(refused(&status, None, &[]).1.ends_with("--pool: apiserver, etcd"));
        assert_eq!(refused(&status, Some("etcd"), &[]).0, Exit::Refused);
    }
}
