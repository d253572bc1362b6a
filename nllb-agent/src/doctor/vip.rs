//! Checks of the control-plane VIP, by what the agent tells of it. Without a VIP there are none.

use super::{Check, Group};
use crate::status::Vip;

const ATTACHMENT: Group = Group::Attachment;
const HOST: Group = Group::Host;
/// With less the kernel names the VIP as the sender of ARP requests.
const ARP_ANNOUNCE: u8 = 2;

/// Decides about the VIP.
#[must_use]
pub fn checks(vip: Option<&Vip>) -> Vec<Check> {
    let Some(vip) = vip else { return Vec::new() };
    [vec![program(vip), members(vip)], arp(vip).into_iter().collect()].concat()
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

fn arp(vip: &Vip) -> Option<Check> {
    let name = "vip-arp-announce";
    let interface = vip.interface.as_ref()?;
    if !vip.addresses.iter().any(std::net::IpAddr::is_ipv4) {
        return None;
    }
    Some(match vip.arp_announce {
        Some(ARP_ANNOUNCE) => {
            Check::pass(HOST, name, format!("net.ipv4.conf.{interface}.arp_announce is 2"))
        }
        Some(value) => {
            let found = format!(
                "net.ipv4.conf.{interface}.arp_announce is {value}: neighbours learn that the VIP is here"
            );
            Check::warn(
                HOST,
                name,
                found,
                format!("sysctl -w net.ipv4.conf.{interface}.arp_announce=2"),
            )
        }
        None => Check::skip(HOST, name, format!("arp_announce of {interface} cannot be read")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Fail, Pass, Warn};
    use super::*;
    use crate::status::example;

    #[test]
    fn what_serves_the_vip_passes_and_each_trouble_is_told() {
        let good = example::status().vip.expect("it has one");
        assert!(checks(Some(&good)).iter().all(|check| check.verdict == Pass));
        assert_eq!(checks(None), []);
        let verdicts = |change: &dyn Fn(&mut Vip)| {
            let mut vip = good.clone();
            change(&mut vip);
            checks(Some(&vip)).into_iter().map(|check| check.verdict).collect::<Vec<_>>()
        };
        let detached = verdicts(&|vip| (vip.interface, vip.mode) = (None, None));
        assert_eq!(detached, [Fail, Pass]);
        let unknown = verdicts(&|vip| vip.members[1].way = Some("unknown".to_owned()));
        assert_eq!(unknown, [Pass, Warn, Pass]);
        let stranger = verdicts(&|vip| vip.members[0].own = false);
        assert_eq!(stranger, [Pass, Warn, Pass]);
        assert_eq!(verdicts(&|vip| vip.arp_announce = Some(0)), [Pass, Pass, Warn]);
    }
}
