//! Checks of the host: kernel, file systems, privileges, the sysctls that matter, clocks.
//!
//! Not looked at, because they change nothing here: `route_localnet` (a connect is translated before it is
//! routed, so nothing is routed from 127.0.0.0/8), `unprivileged_bpf_disabled` (the agent loads with
//! capabilities), `tcp_retries2` (the agent ends connections to dead backends).

use super::{Check, Group};
use crate::status::{Confinement, SystemCalls};
use nllb_core::KubeVersion;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

const HOST: Group = Group::Host;
/// The oldest Linux that the programs load on.
const OLDEST: (u32, u32) = (5, 10);
/// From this on memory of maps is charged to the cgroup instead of held against a limit.
const NO_MEMLOCK: (u32, u32) = (5, 11);
/// Far above what the maps take. What service managers give by default (64 KiB, 8 MiB) is not.
const ENOUGH_LOCKED: u64 = 64 << 20;
/// An HTTP date has whole seconds, and the answer was on its way.
const SKEW_WARN: i64 = 5;
/// Tokens and new certificates are refused from about here on.
const SKEW_FAIL: i64 = 60;

/// Reads sysctls that [`checks`] wants.
pub const SYSCTLS: [&str; 4] = [
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.ip_local_port_range",
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
];

/// What was seen of the host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Release of the kernel.
    pub kernel: String,
    /// Optional features by name; `None` when the kernel does not tell.
    pub features: Option<BTreeMap<String, bool>>,
    /// Where pins are, or would be.
    pub bpffs: PathBuf,
    /// Whether that is on a BPF file system.
    pub on_bpffs: bool,
    /// The cgroup to attach to, and what keeps it from serving the whole host; or why there is none.
    pub cgroup: Result<(PathBuf, Vec<String>), String>,
    /// Capabilities that are missing to whoever asks.
    pub missing_capabilities: Vec<&'static str>,
    /// What the agent has left of rights and system calls; `None` when none runs.
    pub confinement: Option<Confinement>,
    /// Values of [`SYSCTLS`], as far as they can be read.
    pub sysctls: BTreeMap<&'static str, String>,
    /// Bytes that the agent may lock, or else who asks; `None` without a limit.
    pub memlock: Option<u64>,
}

/// Decides about the host.
#[must_use]
pub fn checks(host: &Host) -> Vec<Check> {
    let mut checks =
        vec![kernel(host), features(host), bpf_file_system(host), cgroup(host), privileges(host)];
    checks.extend(host.confinement.as_ref().map(confinement));
    checks.extend(memlock(host));
    checks.extend(SYSCTLS.iter().filter_map(|name| sysctl(name, host.sysctls.get(name)?)));
    checks
}

fn release(kernel: &str) -> Option<(u32, u32)> {
    kernel.parse::<KubeVersion>().ok().map(|version| version.release())
}

fn kernel(host: &Host) -> Check {
    let found = format!("Linux {}", host.kernel);
    match release(&host.kernel) {
        Some(release) if release < OLDEST => {
            Check::fail(HOST, "kernel", found, "run Linux 5.10 or newer")
        }
        Some(_) => Check::pass(HOST, "kernel", found),
        None => Check::skip(HOST, "kernel", format!("{found}: no version that can be compared")),
    }
}

fn features(host: &Host) -> Check {
    let Some(features) = &host.features else {
        return Check::skip(HOST, "kernel features", "not told without CAP_BPF");
    };
    let found = features.iter().map(|(name, there)| {
        format!("{name}: {}", if *there { "yes" } else { "no, which is optional" })
    });
    Check::pass(HOST, "kernel features", found.collect::<Vec<_>>().join(", "))
}

fn bpf_file_system(host: &Host) -> Check {
    let path = host.bpffs.display();
    if host.on_bpffs {
        return Check::pass(HOST, "bpf file system", format!("{path} is on one"));
    }
    let fix =
        "mount one: mount -t bpf -o mode=0700 bpf /sys/fs/bpf; in a container mount the host's";
    Check::fail(
        HOST,
        "bpf file system",
        format!("{path} is on none, so nothing can be pinned"),
        fix,
    )
}

fn cgroup(host: &Host) -> Check {
    match &host.cgroup {
        Err(reason) => Check::fail(
            HOST,
            "cgroup2",
            reason.clone(),
            "mount the hierarchy, or name a cgroup that exists in datapath.cgroup",
        ),
        Ok((path, shortcomings)) if shortcomings.is_empty() => {
            Check::pass(HOST, "cgroup2", path.display().to_string())
        }
        Ok((_, shortcomings)) => Check::fail(
            HOST,
            "cgroup2",
            shortcomings.join("; "),
            "give the agent the host's network and cgroup namespaces (hostNetwork, /sys/fs/cgroup of the host)",
        ),
    }
}

fn privileges(host: &Host) -> Check {
    if host.missing_capabilities.is_empty() {
        return Check::pass(HOST, "privileges", "all that these checks need");
    }
    let missing = host.missing_capabilities.join(", ");
    let found = format!("without {missing}: what the kernel holds is not told");
    Check::warn(HOST, "privileges", found, "run nllb doctor as root")
}

fn confinement(confinement: &Confinement) -> Check {
    const NAME: &str = "confinement";
    let Confinement { capabilities, system_calls, problems } = confinement;
    if !problems.is_empty() {
        let fix = "run a kernel with CONFIG_SECCOMP_FILTER, and let nothing around the agent forbid seccomp(2) and prctl(2)";
        return Check::warn(HOST, NAME, problems.join("; "), fix);
    }
    let calls = match system_calls {
        SystemCalls::Filtered => "only the system calls that it needs",
        SystemCalls::Free => "any system call (--no-seccomp)",
    };
    Check::pass(HOST, NAME, format!("the agent has {} and {calls}", capabilities.join(", ")))
}

/// Limits of locked memory matter on Linux 5.10 alone.
fn memlock(host: &Host) -> Option<Check> {
    release(&host.kernel).filter(|release| *release < NO_MEMLOCK)?;
    Some(match host.memlock {
        Some(bytes) if bytes < ENOUGH_LOCKED => Check::warn(
            HOST,
            "locked memory",
            format!("{bytes} bytes may be locked, and before Linux 5.11 maps count"),
            "LimitMEMLOCK=infinity in the unit, or CAP_SYS_RESOURCE",
        ),
        Some(_) | None => Check::pass(HOST, "locked memory", "enough for the maps"),
    })
}

fn sysctl(name: &str, value: &str) -> Option<Check> {
    let found = |why: &str| format!("{value}: {why}");
    let pass = || Check::pass(HOST, name, value);
    let number = value.split_whitespace().next().and_then(|word| word.parse::<u32>().ok());
    Some(match name {
        "net.ipv4.tcp_syn_retries" if number? < 3 => Check::warn(
            HOST,
            name,
            found(
                "with a first timeout of 80 ms a connect to the only backend that is left ends within a second",
            ),
            format!("sysctl -w {name}=6"),
        ),
        "net.ipv4.ip_local_port_range" => {
            let high: u32 = value.split_whitespace().nth(1)?.parse().ok()?;
            if high.saturating_sub(number?) >= 10_000 {
                pass()
            } else {
                Check::warn(
                    HOST,
                    name,
                    found("all connections of the host to one backend share these ports"),
                    format!("sysctl -w {name}=\"32768 60999\""),
                )
            }
        }
        "net.core.bpf_jit_enable" if number? == 0 => Check::warn(
            HOST,
            name,
            found("every connect runs the programs in the interpreter"),
            format!("sysctl -w {name}=1"),
        ),
        "net.core.bpf_jit_harden" if number? == 2 => Check::pass(
            HOST,
            name,
            found("root's programs are hardened as well, at a cost for each connect"),
        ),
        _ => pass(),
    })
}

/// Decides about the clocks: how many seconds each backend is ahead of this host.
#[must_use]
pub fn clock(ahead: &[(SocketAddr, i64)]) -> Check {
    const NAME: &str = "clock";
    let mut sorted: Vec<i64> = ahead.iter().map(|(_, seconds)| *seconds).collect();
    sorted.sort_unstable();
    let Some(&median) = sorted.get(sorted.len() / 2) else {
        return Check::skip(HOST, NAME, "no backend told the time");
    };
    let direction = |seconds: i64| if seconds > 0 { "ahead of" } else { "behind" };
    if median.abs() >= SKEW_WARN {
        let (seconds, direction) = (median.abs(), direction(-median));
        let found = format!("this host is {seconds} s {direction} the API servers");
        let fix = "set this host's clock: let chrony or systemd-timesyncd run and reach a server";
        return if seconds >= SKEW_FAIL {
            let found = format!("{found}: tokens and new certificates are refused");
            Check::fail(HOST, NAME, found, fix)
        } else {
            Check::warn(HOST, NAME, found, fix)
        };
    }
    let wrong = ahead.iter().filter(|(_, seconds)| seconds.abs() >= SKEW_WARN);
    let wrong: Vec<String> = wrong
        .map(|(address, seconds)| {
            format!("{address} is {} s {} this host", seconds.abs(), direction(*seconds))
        })
        .collect();
    if wrong.is_empty() {
        let plural = if ahead.len() == 1 { "" } else { "s" };
        return Check::pass(HOST, NAME, format!("as that of {} API server{plural}", ahead.len()));
    }
    let worst = ahead.iter().map(|(_, seconds)| seconds.abs()).max().unwrap_or_default();
    let (found, fix) = (wrong.join(", "), "set the clock of that API server's host");
    if worst >= SKEW_FAIL {
        Check::fail(HOST, NAME, found, fix)
    } else {
        Check::warn(HOST, NAME, found, fix)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Pass, Skip, Warn};
    use super::*;

    fn good() -> Host {
        let sysctls = ["6", "32768\t60999", "1", "0"].map(str::to_owned);
        Host {
            kernel: "6.18.44".to_owned(),
            features: Some([("set_retval".to_owned(), true)].into()),
            bpffs: "/sys/fs/bpf/nllb".into(),
            on_bpffs: true,
            cgroup: Ok(("/sys/fs/cgroup".into(), Vec::new())),
            missing_capabilities: Vec::new(),
            confinement: Some(Confinement::default()),
            sysctls: SYSCTLS.into_iter().zip(sysctls).collect(),
            memlock: Some(65_536),
        }
    }

    fn verdict(host: &Host, name: &str) -> Option<Verdict> {
        let check = checks(host).into_iter().find(|check| check.name == name)?;
        let wants_fix = matches!(check.verdict, Warn | Fail);
        assert_eq!(check.fix.is_some(), wants_fix, "{check:?}");
        Some(check.verdict)
    }

    #[test]
    fn a_good_host_passes() {
        assert!(checks(&good()).iter().all(|check| check.verdict == Pass), "{:?}", checks(&good()));
        assert_eq!(verdict(&good(), "locked memory"), None, "only before 5.11");
    }

    #[test]
    fn each_fault_of_a_host_is_found_by_its_own_check() {
        type Wreck = fn(&mut Host);
        let faults: [(&str, Verdict, Wreck); 11] = [
            ("kernel", Fail, |host| {
                (host.kernel, host.memlock) = ("5.4.0-150-generic".to_owned(), None);
            }),
            ("kernel features", Skip, |host| host.features = None),
            ("bpf file system", Fail, |host| host.on_bpffs = false),
            ("cgroup2", Fail, |host| host.cgroup = Err("none".to_owned())),
            ("cgroup2", Fail, |host| {
                host.cgroup = Ok(("/x".into(), vec!["not the root".to_owned()]));
            }),
            ("privileges", Warn, |host| host.missing_capabilities = vec!["CAP_BPF"]),
            ("confinement", Warn, |host| {
                let problems = vec!["system calls stay free: no seccomp".to_owned()];
                host.confinement = Some(Confinement { problems, ..Confinement::default() });
            }),
            ("locked memory", Warn, |host| host.kernel = "5.10.0-30-amd64".to_owned()),
            (SYSCTLS[0], Warn, |host| drop(host.sysctls.insert(SYSCTLS[0], "2".to_owned()))),
            (SYSCTLS[1], Warn, |host| {
                drop(host.sysctls.insert(SYSCTLS[1], "60000\t60999".to_owned()));
            }),
            (SYSCTLS[2], Warn, |host| drop(host.sysctls.insert(SYSCTLS[2], "0".to_owned()))),
        ];
        for (name, expected, wreck) in faults {
            let mut host = good();
            wreck(&mut host);
            assert_eq!(verdict(&host, name), Some(expected), "{name}");
            let others = checks(&host).into_iter().filter(|check| check.name != name);
            assert!(others.into_iter().all(|check| check.verdict == Pass), "{name}");
        }
    }

    #[test]
    fn the_clock_that_most_agree_against_is_the_wrong_one() {
        let clocks = |ahead: &[i64]| {
            let hosts: Vec<_> =
                (1..).zip(ahead).map(|(n, s)| (([10, 0, 0, n], 6443).into(), *s)).collect();
            let Check { verdict, found, .. } = clock(&hosts);
            (verdict, found)
        };
        assert_eq!(clocks(&[]).0, Skip);
        assert_eq!(clocks(&[0, -1, 4]).0, Pass);
        let (verdict, found) = clocks(&[300, 301, 299]);
        assert_eq!((verdict, found.contains("this host is 300 s behind")), (Fail, true), "{found}");
        assert_eq!(clocks(&[-20, -21, -20]).0, Warn);
        let (verdict, found) = clocks(&[0, -3600, 0]);
        assert_eq!((verdict, found.as_str()), (Fail, "10.0.0.2:6443 is 3600 s behind this host"));
        assert_eq!(clocks(&[0, 20, 0]).0, Warn);
    }
}
