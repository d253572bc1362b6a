//! Checks of what is in the kernel: links, who else is on the hooks and in which order, what other versions
//! left behind, the self-test, the lease, and who owns the pins.

use super::{Check, Group};
use std::path::PathBuf;

const ATTACHMENT: Group = Group::Attachment;

/// What was seen in the kernel.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Process id of the agent, or why it did not answer.
    pub agent: Result<u32, String>,
    /// The directory of the pins.
    pub directory: PathBuf,
    /// Process that holds the lock on it.
    pub owner: Option<u32>,
    /// The pinned links; none when nothing is pinned, an error when they cannot be looked at.
    pub links: Result<Vec<Link>, String>,
    /// What runs for the sockets of the cgroups that matter.
    pub effective: Vec<Effective>,
    /// Programs that admit no other, each with its hook and cgroup.
    pub exclusive: Vec<String>,
    /// Directories of other versions, with how many links are pinned in each.
    pub other_versions: Vec<(PathBuf, usize)>,
    /// What failed in the last self-test, and how many seconds ago it was.
    pub self_test: Option<(Vec<String>, u64)>,
    /// Milliseconds that are left of the lease; negative when it has lapsed. None without maps.
    pub lease_ms: Option<i64>,
}

/// A pinned link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where it is attached.
    pub hook: &'static str,
    /// Id of its program.
    pub program: u32,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// The programs that run for the sockets of a cgroup at one hook.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Whose cgroup it is.
    pub whose: String,
    /// The hook.
    pub hook: &'static str,
    /// Id and name, in the order in which they run; an error when that cannot be asked.
    pub programs: Result<Vec<(u32, String)>, String>,
}

/// Decides about the attachment.
#[must_use]
pub fn checks(seen: &Attachment) -> Vec<Check> {
    let mut checks = vec![agent(seen), links(seen)];
    checks.extend(effective(seen));
    checks.push(exclusive(seen));
    checks.extend(order(seen));
    checks.extend([other_versions(seen), self_test(seen), lease(seen)]);
    checks
}

fn is_pinned(seen: &Attachment) -> bool {
    !matches!(&seen.links, Ok(links) if links.is_empty())
}

fn agent(seen: &Attachment) -> Check {
    const NAME: &str = "agent";
    let start = "start it: systemctl start nllb, or nllb run --config FILE";
    match (&seen.agent, seen.owner) {
        (Ok(pid), _) => Check::pass(ATTACHMENT, NAME, format!("runs as process {pid}")),
        (Err(reason), Some(pid)) => Check::fail(
            ATTACHMENT,
            NAME,
            format!("process {pid} owns the pins, but {reason}"),
            "give its admin socket with --socket, or restart it when it is stuck",
        ),
        (Err(reason), None) if is_pinned(seen) => {
            let found = format!("{reason}; connects are translated by what an earlier one knew");
            Check::fail(ATTACHMENT, NAME, found, start)
        }
        (Err(reason), None) => {
            Check::warn(ATTACHMENT, NAME, format!("{reason}, and nothing is pinned"), start)
        }
    }
}

fn links(seen: &Attachment) -> Check {
    const NAME: &str = "links";
    let directory = seen.directory.display();
    let again = "restart the agent, which attaches what is missing";
    let links = match &seen.links {
        Err(reason) => return Check::skip(ATTACHMENT, NAME, reason.clone()),
        Ok(links) if links.is_empty() => {
            return Check::warn(
                ATTACHMENT,
                NAME,
                format!("none in {directory}: nothing is translated"),
                "start the agent; --config names the configuration with another datapath.bpffs",
            );
        }
        Ok(links) => links,
    };
    let wrong: Vec<String> = links
        .iter()
        .filter_map(|link| Some(format!("{}: {}", link.hook, link.problem.as_ref()?)))
        .collect();
    if wrong.is_empty() {
        let hooks: Vec<_> = links.iter().map(|link| link.hook).collect();
        return Check::pass(ATTACHMENT, NAME, format!("{} in {directory}", hooks.join(", ")));
    }
    Check::fail(ATTACHMENT, NAME, wrong.join("; "), again)
}

/// The ids of our programs, by hook.
fn ours(seen: &Attachment, hook: &str) -> Option<u32> {
    let links = seen.links.as_ref().ok()?;
    links.iter().find(|link| link.hook == hook).map(|link| link.program)
}

fn effective(seen: &Attachment) -> Option<Check> {
    const NAME: &str = "effective";
    if !matches!(&seen.links, Ok(links) if !links.is_empty()) {
        return None;
    }
    let mut missing = Vec::new();
    for Effective { whose, hook, programs } in &seen.effective {
        match (programs, ours(seen, hook)) {
            (Ok(programs), Some(id)) if programs.iter().any(|(program, _)| *program == id) => {}
            (Ok(_), _) => missing.push(format!("{hook} does not run for {whose}")),
            (Err(reason), _) => {
                return Some(Check::skip(ATTACHMENT, NAME, format!("{whose}: {reason}")));
            }
        }
    }
    if missing.is_empty() {
        let mut whose: Vec<_> = seen.effective.iter().map(|one| one.whose.as_str()).collect();
        whose.dedup();
        return Some(Check::pass(ATTACHMENT, NAME, format!("for {}", whose.join(", "))));
    }
    let fix = "give the agent the host's cgroup namespace and /sys/fs/cgroup, then restart it";
    Some(Check::fail(ATTACHMENT, NAME, missing.join("; "), fix))
}

fn exclusive(seen: &Attachment) -> Check {
    const NAME: &str = "exclusive programs";
    if seen.exclusive.is_empty() {
        return Check::pass(ATTACHMENT, NAME, "none on the hooks");
    }
    Check::fail(
        ATTACHMENT,
        NAME,
        seen.exclusive.join("; "),
        "detach it (bpftool cgroup detach), or let its owner attach it with the multi flag",
    )
}

/// Whose program has such a name, of those that rewrite addresses as well.
fn balancer(name: &str) -> Option<&'static str> {
    let owners = [("cil_sock", "Cilium"), ("calico_connect", "Calico"), ("cali_ctlb", "Calico")];
    owners.into_iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, owner)| owner)
}

/// Who else runs at each hook, and who comes first.
fn order(seen: &Attachment) -> Vec<Check> {
    let Some(first) = seen.effective.first().map(|one| &one.whose) else { return Vec::new() };
    // Every cgroup inherits from the same root, so one tells it all.
    let hooks = seen.effective.iter().filter(|one| one.whose == *first);
    hooks.filter_map(|one| order_at(seen, one)).collect()
}

fn order_at(seen: &Attachment, one: &Effective) -> Option<Check> {
    let Effective { whose: _, hook, programs } = one;
    let programs = programs.as_ref().ok()?;
    let id = ours(seen, hook);
    if programs.iter().all(|(program, _)| Some(*program) == id) {
        return None;
    }
    let name = format!("order at {hook}");
    let words: Vec<String> = programs
        .iter()
        .map(|(program, name)| match (Some(*program) == id, name.is_empty()) {
            (true, _) => "nllb".to_owned(),
            (false, true) => format!("program {program}"),
            (false, false) => name.clone(),
        })
        .collect();
    let found = words.join(", then ");
    let before = programs.iter().take_while(|(program, _)| Some(*program) != id);
    let owner = before.filter_map(|(_, name)| balancer(name)).next();
    Some(match owner.filter(|_| id.is_some()) {
        Some(owner) => Check::warn(
            ATTACHMENT,
            name,
            format!("{found}: {owner} chooses an API server before nllb sees the address"),
            format!(
                "take default/kubernetes out of {owner}'s socket load balancing, or point clients at a \
                 loopback or node-address frontend"
            ),
        ),
        None => Check::pass(ATTACHMENT, name, found),
    })
}

fn other_versions(seen: &Attachment) -> Check {
    const NAME: &str = "other versions";
    if seen.other_versions.is_empty() {
        return Check::pass(ATTACHMENT, NAME, "no pins of any");
    }
    let fix = "start this version's agent, which removes them once its self-test has passed; or nllb \
               uninstall while none runs";
    let linked = seen.other_versions.iter().any(|(_, links)| *links > 0);
    let found = seen.other_versions.iter().map(|(path, links)| match links {
        0 => format!("{}: maps without links", path.display()),
        _ => format!("{}: {links} links, which translate by what they knew", path.display()),
    });
    let found = found.collect::<Vec<_>>().join("; ");
    if linked {
        Check::fail(ATTACHMENT, NAME, found, fix)
    } else {
        Check::warn(ATTACHMENT, NAME, found, fix)
    }
}

fn self_test(seen: &Attachment) -> Check {
    const NAME: &str = "self-test";
    match &seen.self_test {
        None => Check::skip(ATTACHMENT, NAME, "only a running agent makes it"),
        Some((failures, age)) if failures.is_empty() => {
            Check::pass(ATTACHMENT, NAME, format!("passed {age} s ago"))
        }
        Some((failures, _)) => Check::fail(
            ATTACHMENT,
            NAME,
            failures.join("; "),
            "see the order at the hooks above, and whether lo is up with 127.0.0.1",
        ),
    }
}

fn lease(seen: &Attachment) -> Check {
    const NAME: &str = "lease";
    match seen.lease_ms {
        None => Check::skip(ATTACHMENT, NAME, "there are no maps to read it from"),
        Some(left) if left > 0 => Check::pass(ATTACHMENT, NAME, format!("{left} ms left")),
        Some(_) => Check::fail(
            ATTACHMENT,
            NAME,
            "lapsed: the kernel goes by failed connects alone",
            "start the agent; when it runs, look why it is stuck or starved (CPU limits, its log)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Pass, Skip, Warn};
    use super::*;

    const HOOKS: [&str; 3] = ["sock_ops", "connect4", "connect6"];

    fn good() -> Attachment {
        let link = |(program, hook)| Link { hook, program, problem: None };
        let effective = |(program, hook)| Effective {
            whose: "pid 1".to_owned(),
            hook,
            programs: Ok(vec![(program, format!("nllb_{hook}"))]),
        };
        Attachment {
            agent: Ok(4711),
            directory: "/sys/fs/bpf/nllb/v2".into(),
            owner: Some(4711),
            links: Ok((11..).zip(HOOKS).map(link).collect()),
            effective: (11..).zip(HOOKS).map(effective).collect(),
            exclusive: Vec::new(),
            other_versions: Vec::new(),
            self_test: Some((Vec::new(), 2)),
            lease_ms: Some(2_500),
        }
    }

    fn found(seen: &Attachment, name: &str) -> (Verdict, String) {
        let check = checks(seen).into_iter().find(|check| check.name == name).expect(name);
        assert_eq!(check.fix.is_some(), matches!(check.verdict, Warn | Fail), "{check:?}");
        (check.verdict, check.found)
    }

    #[test]
    fn a_good_attachment_passes() {
        let checks = checks(&good());
        assert!(checks.iter().all(|check| check.verdict == Pass), "{checks:?}");
    }

    #[test]
    fn an_agent_that_is_missing_is_worse_where_its_pins_are() {
        let gone = Attachment { agent: Err("nobody".to_owned()), owner: None, ..good() };
        assert_eq!(found(&gone, "agent").0, Fail);
        let never = Attachment { links: Ok(Vec::new()), ..gone.clone() };
        assert_eq!((found(&never, "agent").0, found(&never, "links").0), (Warn, Warn));
        assert!(checks(&never).iter().all(|check| check.name != "effective"));
        let elsewhere = Attachment { owner: Some(9), ..gone };
        let (verdict, text) = found(&elsewhere, "agent");
        assert_eq!((verdict, text.contains("process 9 owns the pins")), (Fail, true));
    }

    #[test]
    fn links_that_do_not_hold_and_hooks_that_are_not_effective_fail() {
        let mut seen = good();
        let Ok(links) = &mut seen.links else { panic!() };
        links[1].problem = Some("detached".to_owned());
        assert_eq!(found(&seen, "links"), (Fail, "connect4: detached".to_owned()));
        let mut seen = good();
        seen.effective[1].programs = Ok(Vec::new());
        let (verdict, text) = found(&seen, "effective");
        assert_eq!((verdict, text.as_str()), (Fail, "connect4 does not run for pid 1"));
        seen.effective[1].programs = Err("not permitted".to_owned());
        assert_eq!(found(&seen, "effective").0, Skip);
        seen.links = Err("not permitted".to_owned());
        assert_eq!(found(&seen, "links").0, Skip);
    }

    #[test]
    fn another_balancer_matters_only_before_ours() {
        let order = |programs: &[(u32, &str)]| {
            let mut seen = good();
            let programs = programs.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
            seen.effective[1].programs = Ok(programs);
            found(&seen, "order at connect4")
        };
        let (verdict, text) = order(&[(7, "cil_sock4_connect"), (12, "nllb_connect4")]);
        assert_eq!(
            (verdict, text.contains("Cilium chooses an API server")),
            (Warn, true),
            "{text}"
        );
        assert_eq!(order(&[(7, "calico_connect_v4"), (12, "")]).0, Warn);
        assert_eq!(
            order(&[(12, "nllb_connect4"), (7, "cil_sock4_connect"), (8, "")]),
            (Pass, "nllb, then cil_sock4_connect, then program 8".to_owned())
        );
        assert_eq!(order(&[(7, "sd_fw_ingress"), (12, "nllb_connect4")]).0, Pass);
    }

    #[test]
    fn what_others_left_and_what_has_lapsed_fails() {
        let seen = Attachment {
            exclusive: vec!["connect4: program selfish".to_owned()],
            other_versions: vec![("/sys/fs/bpf/nllb/v1".into(), 3)],
            self_test: Some((vec!["not translated".to_owned()], 1)),
            lease_ms: Some(-10),
            ..good()
        };
        for name in ["exclusive programs", "other versions", "self-test", "lease"] {
            assert_eq!(found(&seen, name).0, Fail, "{name}");
        }
        let maps = Attachment { other_versions: vec![("/v1".into(), 0)], ..good() };
        assert_eq!(found(&maps, "other versions").0, Warn);
        let bare = Attachment { self_test: None, lease_ms: None, ..good() };
        assert_eq!((found(&bare, "self-test").0, found(&bare, "lease").0), (Skip, Skip));
    }
}
