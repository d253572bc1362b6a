//! Looks at the kernel: what it can do, how it is set up, and what is attached and pinned.

use super::told::Told;
use crate::datapath::attach::{Cgroup, inspect};
use crate::datapath::load::Features;
use crate::datapath::maps::{KernelMaps, Maps as _};
use crate::datapath::monotonic_ns;
use crate::doctor::attachment::{Attachment, Effective, Link};
use crate::doctor::host::{Host, SYSCTLS};
use rustix::process::{Resource, getrlimit};
use std::fs;

/// Number and name of the capabilities without which the kernel tells nothing (`linux/capability.h`).
const CAPABILITIES: [(u32, &str); 3] =
    [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
/// Stands for the last two.
const SYS_ADMIN: u32 = 21;

pub(super) fn look(told: &Told) -> (Host, Attachment) {
    let cgroup = Cgroup::find(&told.cgroup());
    let host = host(told, cgroup.as_ref().map_err(ToString::to_string));
    (host, attachment(told, cgroup.as_ref().map_err(ToString::to_string)))
}

fn host(told: &Told, cgroup: Result<&Cgroup, String>) -> Host {
    let features = Features::ask().map(|features| {
        let mut names = features.names();
        names.insert("netns_cookie".to_owned(), inspect::tells_namespaces());
        names
    });
    let sysctls = SYSCTLS.into_iter().filter_map(|name| {
        let value = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
        Some((name, value.split_whitespace().collect::<Vec<_>>().join(" ")))
    });
    Host {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        features,
        bpffs: told.bpffs(),
        on_bpffs: inspect::on_bpffs(&told.bpffs()),
        cgroup: cgroup.map(|cgroup| (cgroup.path().to_owned(), cgroup.limits())),
        missing_capabilities: missing(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
        confinement: told.status.as_ref().ok().map(|status| status.confinement.clone()),
        sysctls: sysctls.collect(),
        memlock: memlock(told),
    }
}

/// How much the agent may lock, or this process when none runs.
fn memlock(told: &Told) -> Option<u64> {
    let pid = told.status.as_ref().ok().map(|status| status.agent.pid);
    let limits = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/limits")).ok());
    match limits {
        Some(limits) => {
            let mut lines = limits.lines();
            let line = lines.find_map(|line| line.strip_prefix("Max locked memory"))?;
            line.split_whitespace().next()?.parse().ok()
        }
        None => getrlimit(Resource::Memlock).current,
    }
}

/// The capabilities that a process lacks, from its `/proc/PID/status`.
fn missing(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default();
    let has = |number: u32| held & (1 << number) != 0;
    let implied = |number: u32| number > SYS_ADMIN && has(SYS_ADMIN);
    let missing = CAPABILITIES.into_iter().filter(|(number, _)| !has(*number) && !implied(*number));
    missing.map(|(_, name)| name).collect()
}

fn attachment(told: &Told, cgroup: Result<&Cgroup, String>) -> Attachment {
    let directory = told.directory();
    let links = cgroup.as_ref().map_err(Clone::clone).and_then(|cgroup| {
        let links = cgroup.links(&directory);
        links.map_err(|error| format!("{}: {error}", directory.display()))
    });
    let links = links.map(|links| {
        links.into_iter().map(|inspect::PinnedLink { hook, program, problem }| Link {
            hook: hook.label(),
            program: program.unwrap_or_default(),
            problem,
        })
    });
    let cgroup = cgroup.ok();
    let effective =
        cgroup.map(|cgroup| cgroup.effective(&directory)).unwrap_or_default().into_iter().map(
            |inspect::Effective { whose, hook, programs }| Effective {
                whose,
                hook: hook.label(),
                programs,
            },
        );
    let status = told.status.as_ref();
    let self_test = status.ok().map(|status| &status.datapath.self_test);
    let self_test = self_test.and_then(|test| Some((test.failures.clone(), test.age_ms? / 1000)));
    Attachment {
        agent: status.map(|status| status.agent.pid).map_err(Clone::clone),
        owner: inspect::owner(&directory),
        links: links.map(Iterator::collect),
        effective: effective.collect(),
        exclusive: cgroup.map(Cgroup::exclusive).unwrap_or_default(),
        other_versions: inspect::other_versions(&told.bpffs(), &directory),
        self_test,
        lease_ms: lease(&directory),
        directory,
    }
}

fn lease(directory: &std::path::Path) -> Option<i64> {
    let control = KernelMaps::open(directory).ok()?.control().ok()?;
    let until = i128::from(control.lease_until_ns) - i128::from(monotonic_ns());
    i64::try_from(until / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_may_not_do_is_read_from_its_status() {
        let status = |capabilities: u64| format!("Name:\tx\nCapEff:\t{capabilities:016x}\n");
        assert_eq!(missing(&status(u64::MAX)), [""; 0]);
        assert_eq!(missing(&status(0)).len(), 3);
        assert_eq!(missing(&status(1 << 12 | 1 << 38)), ["CAP_BPF"]);
        assert_eq!(missing(&status(1 << 12 | 1 << SYS_ADMIN)), [""; 0]);
    }
}
