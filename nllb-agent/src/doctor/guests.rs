//! Checks of guests (sandboxed pods), by what the agent tells of them. Where none are to be served there are none.

use super::{Check, Group};
use crate::status::{Frontend, GuestInterface, GuestState, Sandboxes};

const ATTACHMENT: Group = Group::Attachment;
const CONFIGURATION: Group = Group::Configuration;

/// Decides about guests; `frontends` are those that they may dial.
#[must_use]
pub fn checks(sandboxes: Option<&Sandboxes>, frontends: &[Frontend]) -> Vec<Check> {
    let Some(sandboxes) = sandboxes else { return Vec::new() };
    let mut checks = vec![served(sandboxes)];
    checks.extend(sandboxes.interfaces.iter().filter_map(interface));
    checks.extend(left_alone(sandboxes));
    checks.extend(reach(frontends));
    checks
}

fn served(sandboxes: &Sandboxes) -> Check {
    const NAME: &str = "guests";
    let Sandboxes { interfaces, left_alone: _, reattached, problem } = sandboxes;
    if let Some(problem) = problem {
        let fix = "mend that; until then these guests reach their Services without nllb";
        return Check::fail(ATTACHMENT, NAME, problem.clone(), fix);
    }
    if interfaces.is_empty() {
        let found = "no interface is chosen by sandboxes just now (ip -br link shows the names)";
        return Check::skip(ATTACHMENT, NAME, found);
    }
    if *reattached > 0 {
        let found = format!("programs were lost {reattached} times and attached again");
        let fix = "see who else attaches to these interfaces: bpftool net";
        return Check::warn(ATTACHMENT, NAME, found, fix);
    }
    let count = interfaces.iter().filter(|it| it.state() == GuestState::Served).count();
    let all = interfaces.len();
    Check::pass(ATTACHMENT, NAME, format!("{count} of {all} interfaces are served"))
}

/// What is wrong with an interface.
fn interface(interface: &GuestInterface) -> Option<Check> {
    let name = format!("guest {}", interface.name);
    match interface.state() {
        GuestState::Served => None,
        GuestState::OneWay => Some(Check::warn(
            ATTACHMENT,
            name,
            "answers go past the programs there, so its guest is left to others",
            "let answers take the interface (bpftool net shows who hands packets past it, such as Cilium with \
             bpf_redirect_peer), or name the one that they do take",
        )),
        GuestState::Failed => {
            let found = interface.problem.as_deref().unwrap_or("no program is attached");
            let fix = "mend that; bpftool net shows what is attached, sandboxes.attach names the other way";
            Some(Check::fail(ATTACHMENT, name, found, fix))
        }
    }
}

fn left_alone(sandboxes: &Sandboxes) -> Option<Check> {
    let lines = &sandboxes.left_alone;
    (!lines.is_empty()).then(|| {
        let fix = "choose guests' interfaces alone: narrower patterns in sandboxes.interfaces";
        Check::warn(CONFIGURATION, "guests left alone", lines.join("; "), fix)
    })
}

/// Guests are no clients of the host, so a frontend for the host alone is none for them.
fn reach(frontends: &[Frontend]) -> Option<Check> {
    (!frontends.iter().any(|frontend| frontend.scope == "all")).then(|| {
        let found =
            "every frontend is for the host alone (scope: host), and guests are not the host";
        let fix = "give guests a frontend: kind: vip with scope: all";
        Check::warn(CONFIGURATION, "guests frontends", found, fix)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Pass, Skip, Warn};
    use super::*;
    use crate::status::example;

    #[test]
    fn guests_that_are_served_pass_and_each_trouble_is_told() {
        let status = example::status();
        let good = status.sandboxes.expect("it has some");
        let frontends = status.frontends;
        assert_eq!(checks(None, &frontends), []);
        let found = |sandboxes: &Sandboxes| -> Vec<(String, Verdict)> {
            let checks = checks(Some(sandboxes), &frontends);
            for check in &checks {
                assert_eq!(check.fix.is_some(), matches!(check.verdict, Warn | Fail), "{check:?}");
            }
            checks.into_iter().map(|check| (check.name, check.verdict)).collect()
        };
        let guests = |verdict| ("guests".to_owned(), verdict);
        assert_eq!(found(&good), [guests(Pass)]);
        type Wreck = fn(&mut Sandboxes);
        let troubles: [(&[(&str, Verdict)], Wreck); 6] = [
            (&[("guests", Skip)], |it| it.interfaces.clear()),
            (&[("guests", Fail)], |it| it.problem = Some("no CAP_NET_ADMIN".to_owned())),
            (&[("guests", Warn)], |it| it.reattached = 2),
            (&[("guests", Pass), ("guest tap0", Warn)], |it| it.interfaces[0].one_way = true),
            (&[("guests", Pass), ("guest tap0", Fail)], |it| it.interfaces[0].attached_by = None),
            (&[("guests", Pass), ("guests left alone", Warn)], |it| {
                it.left_alone = vec!["eth0: never served: it has a default route".to_owned()];
            }),
        ];
        for (expected, wreck) in troubles {
            let mut sandboxes = good.clone();
            wreck(&mut sandboxes);
            let found = found(&sandboxes);
            let found: Vec<_> = found.iter().map(|(name, verdict)| (&**name, *verdict)).collect();
            assert_eq!(found, expected);
        }
        let verdicts: Vec<_> = checks(Some(&good), &[]).into_iter().map(|it| it.name).collect();
        assert_eq!(verdicts, ["guests", "guests frontends"]);
    }
}
