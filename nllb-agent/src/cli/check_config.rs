//! `nllb check-config FILE`: says what is wrong, or what the file means.

use super::Failure;
use crate::config::{Pool, Sandboxes};
use crate::driver::{self, Unresolved};
use crate::exit::Exit;
use nllb_core::guests::Pattern;
use nllb_core::services::ServicePlan;
use nllb_core::vip::{LeasePlan, Ownership};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

pub(super) fn run(file: &Path, out: &mut dyn io::Write) -> Result<(), Failure> {
    let config = driver::load(file, Unresolved::Refuse)
        .map_err(|error| Failure::new(Exit::Configuration, &error))?;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (frontends, pools) = (config.frontends.len(), config.pools.len());
    let endpoints: usize = config.pools.iter().map(|pool| pool.endpoints.len()).sum();
    writeln!(
        out,
        "{}: ok, {frontends} frontend{}, {pools} pool{}, {endpoints} endpoint{}",
        file.display(),
        plural(frontends),
        plural(pools),
        plural(endpoints),
    )?;
    for Pool { name, profile, check, endpoints, hosts, .. } in &config.pools {
        let (profile, count) = (profile.label(), endpoints.len());
        write!(out, "  {name}: {profile}, {count} endpoint{}, probe {check}", plural(count))?;
        if config.control_plane.is_some() && hosts.is_none() {
            write!(out, "; without the hosts of controlPlane, which a port would add")?;
        }
        writeln!(out)?;
    }
    for service in &config.services {
        let ServicePlan { name, ports, topology, given, .. } = &service.plan;
        let whose = if given.is_some() { "given here" } else { "of the cluster" };
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let ports = if ports.is_empty() { "all ports".to_owned() } else { ports.join(", ") };
        let (topology, question) = (topology.label(), service.question());
        writeln!(out, "  {name}: Service {whose}, {ports}, topology {topology}, probe {question}")?;
    }
    if let Some(Sandboxes { interfaces, annotation, attach }) = &config.sandboxes {
        let pods = annotation.iter().map(|name| format!("pods with the annotation {name}"));
        let chosen: Vec<_> = interfaces.iter().map(Pattern::to_string).chain(pods).collect();
        writeln!(out, "  sandboxes: {}, attached by {}", chosen.join(", "), attach.label())?;
    }
    if let Some(plan) = &config.vip {
        let addresses = plan.addresses().map(|ip| SocketAddr::new(ip, plan.port).to_string());
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        let by = match &plan.ownership {
            Ownership::Lease(LeasePlan { namespace, name, .. }) => {
                format!("lease {namespace}/{name}")
            }
            other @ (Ownership::Ecmp | Ownership::None) => other.label().to_owned(),
        };
        let interface =
            plan.interface.as_deref().unwrap_or("the interface of the route to the others");
        let (pool, mode, forwarding) = (&plan.pool, plan.mode.label(), plan.forwarding.label());
        writeln!(
            out,
            "  vip: {addresses}, pool {pool}, ownership {by}, on {interface}, mode {mode}, forwarding {forwarding}"
        )?;
    }
    Ok(())
}
