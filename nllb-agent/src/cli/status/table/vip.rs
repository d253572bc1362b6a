//! The control-plane VIP: who answers for it, who serves it, and what became of its packets.

use super::{age, grid};
use crate::cli::paint::Paint;
use crate::status::{Status, Vip, VipMember, VipOwnership};
use nllb_common::maps::VipOutcome;

/// Who owns the VIP, as a person would say it; `None` where no Lease decides.
pub(in crate::cli) fn owner(ownership: Option<&VipOwnership>) -> Option<String> {
    let lease = ownership?.lease.as_ref()?;
    Some(match (&lease.holder, lease.owned_ms) {
        (_, Some(ms)) => format!("this node, for {}", age(ms)),
        (Some(holder), None) => holder.clone(),
        (None, None) => "nobody known".to_owned(),
    })
}

/// State and kind of whose API server is a member's; `None` for a member that is no backend any more.
pub(in crate::cli) fn state<'a>(
    status: &'a Status,
    vip: &Vip,
    member: &VipMember,
) -> Option<&'a str> {
    let mut backends = status.backends().filter(|(pool, _)| *pool == vip.pool);
    let found = backends.find(|(_, backend)| backend.address.ip() == member.address);
    found.map(|(_, backend)| backend.state.as_str())
}

/// How many of the members serve new connections, of how many.
pub(in crate::cli) fn serving(status: &Status, vip: &Vip) -> (usize, usize) {
    let serves = |member: &&VipMember| {
        state(status, vip, member).is_some_and(|state| matches!(state, "healthy" | "degraded"))
    };
    (vip.members.iter().filter(serves).count(), vip.members.len())
}

/// Its addresses with the port.
pub(in crate::cli) fn addresses(vip: &Vip) -> String {
    let all = vip.addresses.iter().map(|ip| std::net::SocketAddr::new(*ip, vip.port).to_string());
    all.collect::<Vec<_>>().join(", ")
}

/// Where its program is, and how.
pub(in crate::cli) fn place(vip: &Vip) -> String {
    match (&vip.interface, &vip.mode) {
        (Some(interface), Some(mode)) => format!("{interface}, {mode}"),
        (_, _) => "not attached".to_owned(),
    }
}

/// One row: what fits a screen.
pub(super) fn row(out: &mut String, paint: Paint, status: &Status) {
    let Some(vip) = &status.vip else { return };
    let ownership = status.vip_ownership.as_ref();
    let fit = if ownership.is_some_and(|one| one.fit) { "fit" } else { "not fit" };
    let (serving, all) = serving(status, vip);
    let rows = [
        ["VIP", "BY", "OWNER", "INTERFACE", "MEMBERS", "THIS NODE"].map(str::to_owned),
        [
            addresses(vip),
            vip.ownership.clone(),
            owner(ownership).unwrap_or_else(|| "-".to_owned()),
            place(vip),
            format!("{serving} of {all}"),
            fit.to_owned(),
        ],
    ];
    out.push('\n');
    grid(out, paint, &rows);
}

/// Each member, and what became of packets.
pub(super) fn wide(out: &mut String, paint: Paint, status: &Status) {
    let Some(vip) = &status.vip else { return };
    let mut rows = vec![["MEMBER", "WAY", "STATE"].map(str::to_owned)];
    for member in &vip.members {
        let VipMember { address, own, way } = member;
        let way = if *own { Some("own") } else { way.as_deref() };
        rows.push([
            address.to_string(),
            way.unwrap_or("unknown").to_owned(),
            state(status, vip, member).unwrap_or("-").to_owned(),
        ]);
    }
    grid(out, paint, &rows);
    let counted = VipOutcome::ALL.iter().map(|outcome| outcome.label());
    let counted = counted.filter_map(|label| Some((label, *vip.counters.get(label)?)));
    let counted = counted.filter(|(_, count)| *count > 0);
    let counted: Vec<_> = counted.map(|(label, count)| format!("{count} {label}")).collect();
    if !counted.is_empty() {
        super::wrap(out, &format!("packets: {}", counted.join(", ")));
    }
}
