//! Checks of the control-plane VIP, by what the agent tells of it. Without a VIP there are none.

use super::{Check, Group};
use crate::status::{Vip, VipLease, VipOwnership};
use nllb_common::maps::VipOutcome;
use std::net::SocketAddr;

const ATTACHMENT: Group = Group::Attachment;
const HOST: Group = Group::Host;

/// What was seen of the VIP.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// As this node serves it.
    pub vip: &'a Vip,
    /// Who answers for it.
    pub ownership: Option<&'a VipOwnership>,
    /// What of it no process of this host listens on. Empty where this node is no member.
    pub unheard: Vec<SocketAddr>,
}

/// Decides about the VIP.
#[must_use]
pub fn checks(seen: Option<&Seen>) -> Vec<Check> {
    let Some(Seen { vip, ownership, unheard }) = seen else { return Vec::new() };
    let mut checks = vec![program(vip), members(vip), packets(vip)];
    checks.extend(host(vip));
    checks.extend(ownership.iter().flat_map(|ownership| owner(vip, ownership)));
    if vip.members.iter().any(|member| member.own) {
        checks.push(listener(unheard));
    }
    checks
}

/// Who answers for the addresses.
fn owner(vip: &Vip, ownership: &VipOwnership) -> Vec<Check> {
    const NAME: &str = "vip-owner";
    let VipOwnership { by, fit: _, unfit, lease } = ownership;
    let mut checks = Vec::new();
    if let Some(why) = unfit {
        let found = format!("this node leaves the VIP to others: {why}");
        let fix = "mend that, or undrain it; every member should be able to take over";
        checks.push(Check::warn(ATTACHMENT, "vip-fit", found, fix));
    }
    let Some(lease) = lease else {
        let found = match by.as_str() {
            "ecmp" => "routers decide, by what nllb vip follow tells them",
            _ => "somebody else sees to it (ownership: none)",
        };
        checks.push(Check::pass(ATTACHMENT, NAME, found));
        return checks;
    };
    let VipLease { name, holder, owned_ms, announces, problem, .. } = lease;
    let is_member = |ip: &str| vip.members.iter().any(|member| member.address.to_string() == ip);
    checks.push(match (problem, holder, owned_ms) {
        (Some(problem), _, _) => Check::fail(
            ATTACHMENT,
            NAME,
            format!("the Lease {name}: {problem}"),
            "let the account of controlPlane.kubernetes get, update and watch it and create leases there \
             (deploy/kustomize/components/vip); a slow etcd wants a longer vip.lease.duration",
        ),
        (None, None, _) => Check::fail(
            ATTACHMENT,
            NAME,
            format!("nobody holds the Lease {name}, so nobody answers for the VIP"),
            "see on each member what nllb status says of fit; one with a healthy API server takes it within its duration",
        ),
        (None, Some(holder), None) if !is_member(holder) => Check::warn(
            ATTACHMENT,
            NAME,
            format!("{holder} holds the Lease {name}, and is no member here"),
            "look who writes it: another cluster's nllb, or a member that this node's pool does not have",
        ),
        (None, Some(_), Some(_)) if !vip.is_owner => Check::fail(
            ATTACHMENT,
            NAME,
            format!("this node holds the Lease {name}, and does not answer for the VIP"),
            "another host announced the VIP as its own: find it (arping -D), and end keepalived or kube-vip there",
        ),
        (None, Some(_), Some(_)) => Check::pass(ATTACHMENT, NAME, "this node answers for the VIP"),
        (None, Some(holder), None) => {
            Check::pass(ATTACHMENT, NAME, format!("{holder} answers for the VIP"))
        }
    });
    if !announces {
        checks.push(Check::warn(
            HOST,
            "vip-announcements",
            "takeovers are not announced, so they take as long as neighbours' caches",
            "start the agent with CAP_NET_RAW, and with AF_PACKET where a unit restricts address families",
        ));
    }
    checks
}

/// Whether the API server of this host can be reached by the VIP.
fn listener(unheard: &[SocketAddr]) -> Check {
    const NAME: &str = "vip-listener";
    if unheard.is_empty() {
        return Check::pass(HOST, NAME, "an API server of this host listens on the VIP");
    }
    let found: Vec<_> = unheard.iter().map(ToString::to_string).collect();
    let found = format!("nothing of this host listens on {}", found.join(", "));
    let fix = "let kube-apiserver listen on all addresses: --bind-address 0.0.0.0, or :: for both families";
    Check::fail(HOST, NAME, found, fix)
}

/// What of the dropped packets asks for something.
fn packets(vip: &Vip) -> Check {
    const NAME: &str = "vip-packets";
    /// By label, and what to do.
    const DROPPED: [(VipOutcome, &str); 4] = [
        (
            VipOutcome::TooLong,
            "ethtool -K IF gro off on the VIP's interface, since packets that were put together fit into no tunnel",
        ),
        (VipOutcome::NoWay, "see vip-members, and whether vip.forwarding suits the network"),
        (VipOutcome::Expired, "see whether all members have the same pool: nllb status on each"),
        (VipOutcome::Failed, "attach in the other mode (vip.mode)"),
    ];
    let count = |outcome: VipOutcome| vip.counters.get(outcome.label()).copied().unwrap_or(0);
    let dropped = DROPPED.into_iter().filter(|(outcome, _)| count(*outcome) > 0);
    let dropped: Vec<_> = dropped.collect();
    let Some((_, fix)) = dropped.first() else {
        return Check::pass(ATTACHMENT, NAME, "none was dropped");
    };
    let found = dropped.iter().map(|(one, _)| format!("{} {}", count(*one), one.label()));
    let found = format!("dropped so far: {}", found.collect::<Vec<_>>().join(", "));
    Check::warn(ATTACHMENT, NAME, found, *fix)
}

fn program(vip: &Vip) -> Check {
    let name = "vip-program";
    match (&vip.interface, &vip.mode) {
        (Some(interface), Some(mode)) => {
            Check::pass(ATTACHMENT, name, format!("attached to {interface}, {mode}"))
        }
        (_, _) => {
            let why = vip.problems.first().map_or("not attached", String::as_str);
            let fix = "mend that, or name the interface by which the other members are reached (vip.interface)";
            Check::fail(ATTACHMENT, name, why, fix)
        }
    }
}

/// Whether there is a way to each of the others, and to the host itself.
fn members(vip: &Vip) -> Check {
    let name = "vip-members";
    let unknown = vip.members.iter().filter(|member| member.way.as_deref() == Some("unknown"));
    let unknown: Vec<_> = unknown.map(|member| member.address.to_string()).collect();
    if !unknown.is_empty() {
        let found = format!("no way is known to {}", unknown.join(", "));
        let fix = "see whether they answer on that link (ip neigh, ip route get), and whether vip.forwarding suits it";
        return Check::warn(ATTACHMENT, name, found, fix);
    }
    if !vip.members.iter().any(|member| member.own) {
        let fix =
            "list this node's address among the pool's backends, or take the section away here";
        return Check::warn(ATTACHMENT, name, "this node is no member of its pool", fix);
    }
    Check::pass(ATTACHMENT, name, format!("{} members, with a way to each", vip.members.len()))
}

/// What of the host is in the VIP's way while it is served, which says by itself what to do.
fn host(vip: &Vip) -> Vec<Check> {
    const NAME: &str = "vip-host";
    if vip.interface.is_none() {
        return Vec::new();
    }
    let warn = |problem: &String| {
        Check::warn(
            HOST,
            NAME,
            problem.as_str(),
            "as it says; docs/vip.md has all that is required",
        )
    };
    match vip.problems.as_slice() {
        [] => vec![Check::pass(HOST, NAME, "nothing of this host is in the VIP's way")],
        problems => problems.iter().map(warn).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Pass, Warn};
    use super::*;
    use crate::status::{Status, example};

    #[test]
    fn what_serves_the_vip_passes_and_each_trouble_is_told() {
        let good = example::status();
        let verdicts = |change: &dyn Fn(&mut Status), unheard: Vec<SocketAddr>| {
            let mut status = good.clone();
            change(&mut status);
            let (vip, ownership) =
                (status.vip.as_ref().expect("one"), status.vip_ownership.as_ref());
            let found = checks(Some(&Seen { vip, ownership, unheard }));
            for check in &found {
                assert_eq!(check.fix.is_some(), matches!(check.verdict, Warn | Fail), "{check:?}");
            }
            let found = found.into_iter().filter(|check| check.verdict != Pass);
            found.map(|check| (check.name, check.verdict)).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&|_| (), Vec::new()), []);
        assert_eq!(checks(None), []);
        type Wreck = fn(&mut Status);
        fn vip(status: &mut Status) -> &mut Vip {
            status.vip.as_mut().expect("one")
        }
        fn lease(status: &mut Status) -> &mut VipLease {
            let ownership = status.vip_ownership.as_mut().expect("one");
            ownership.lease.as_mut().expect("one")
        }
        let troubles: [(&str, Verdict, Wreck); 11] = [
            ("vip-program", Fail, |it| (vip(it).interface, vip(it).mode) = (None, None)),
            ("vip-members", Warn, |it| vip(it).members[1].way = Some("unknown".to_owned())),
            ("vip-members", Warn, |it| vip(it).members[0].own = false),
            ("vip-host", Warn, |it| {
                vip(it).problems = vec!["arp_announce is 0; set it to 2".to_owned()];
            }),
            ("vip-packets", Warn, |it| vip(it).counters.extend([("too_long".to_owned(), 3)])),
            ("vip-owner", Fail, |it| lease(it).problem = Some("403 Forbidden".to_owned())),
            ("vip-owner", Fail, |it| (lease(it).holder, lease(it).owned_ms) = (None, None)),
            ("vip-owner", Warn, |it| {
                (lease(it).holder, lease(it).owned_ms) = (Some("10.9.9.9".to_owned()), None);
            }),
            ("vip-owner", Fail, |it| vip(it).is_owner = false),
            ("vip-announcements", Warn, |it| lease(it).announces = false),
            ("vip-fit", Warn, |it| {
                it.vip_ownership.as_mut().expect("one").unfit = Some("it is drained".to_owned());
            }),
        ];
        for (name, verdict, wreck) in troubles {
            assert_eq!(verdicts(&wreck, Vec::new()), [(name.to_owned(), verdict)]);
        }
        let unheard = vec![([10, 0, 0, 100], 6443).into()];
        assert_eq!(verdicts(&|_| (), unheard), [("vip-listener".to_owned(), Fail)]);
        let by_routers: Wreck = |it| {
            let ownership = it.vip_ownership.as_mut().expect("one");
            (ownership.by, ownership.lease) = ("ecmp".to_owned(), None);
        };
        assert_eq!(verdicts(&by_routers, Vec::new()), []);
    }
}
