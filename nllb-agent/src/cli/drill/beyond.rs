//! What a drill does to clients that have no socket on this node: guests, and clients of the control-plane VIP.
//!
//! They cannot be dialled from here, so nothing of theirs is held against the SLA. What they would notice is said before,
//! and what can be counted is counted.

use super::plan::Plan;
use crate::status::{Status, Vip};
use nllb_core::Drill;
use serde::Serialize;

/// What they noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Beyond {
    /// Connections of guests that were reset, of those that sent something; `None` where no guests are served.
    pub(super) guests_reset: Option<u64>,
    /// Whether this node gave the control-plane VIP away; `None` where it did not own it.
    pub(super) vip_left: Option<bool>,
}

impl Beyond {
    /// How it was before.
    pub(super) fn new(first: &Status) -> Self {
        let owns = first.vip.as_ref().is_some_and(|vip| vip.is_owner);
        Self {
            guests_reset: first.sandboxes.is_some().then_some(0),
            vip_left: owns.then_some(false),
        }
    }

    /// Takes in what the agent tells now.
    pub(super) fn look(&mut self, first: &Status, now: &Status) {
        let resets = |status: &Status| status.counters.get(RESETS).copied().unwrap_or_default();
        if let Some(count) = &mut self.guests_reset {
            *count = resets(now).saturating_sub(resets(first));
        }
        if let Some(left) = &mut self.vip_left {
            *left |= now.vip.as_ref().is_some_and(|vip| !vip.is_owner);
        }
    }

    /// The same in words, where there is something to say.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { guests_reset, vip_left } = self;
        let guests = guests_reset.filter(|count| *count > 0).map(|count| match count {
            1 => "1 connection of a sandboxed pod was reset".to_owned(),
            count => format!("{count} connections of sandboxed pods were reset"),
        });
        let vip = vip_left.unwrap_or_default();
        let vip = vip.then(|| "the control-plane VIP went to another member".to_owned());
        guests.into_iter().chain(vip).collect()
    }
}

/// The kernel's counter of connections of guests that were ended.
const RESETS: &str = nllb_common::Counter::GuestReset.label();

/// What somebody should know before such a drill, a line each.
pub(super) fn warnings(status: &Status, plan: &Plan, mode: Drill) -> Vec<String> {
    let mut lines = Vec::new();
    if mode == Drill::Blackhole && status.sandboxes.is_some() {
        lines.push(
            "connections of sandboxed pods to it are reset, and not dialled anew by the drill"
                .to_owned(),
        );
    }
    let Some(vip) = status.vip.as_ref().filter(|vip| vip.pool == plan.pool) else { return lines };
    // Who is no owner directs what was in flight, and what comes in tunnels, at most.
    let directs = vip.is_owner || vip.ownership != "lease";
    match mode {
        Drill::Blackhole if directs => lines.push(
            "clients outside that this node directs to it by the control-plane VIP lose their connections".to_owned(),
        ),
        Drill::Simulate if directs => lines.push(
            "new connections by the control-plane VIP leave it as well, as far as this node directs them".to_owned(),
        ),
        Drill::Blackhole | Drill::Simulate => {}
    }
    let own = plan.subjects.iter().map(|subject| subject.backend);
    let own = own.filter(|backend| is_own(vip, backend.ip())).map(|backend| {
        let what = match vip.ownership.as_str() {
            "lease" if vip.is_owner => "the control-plane VIP goes to another member",
            "lease" => "it does not take the control-plane VIP over",
            _ => "routers are told to send the control-plane VIP elsewhere",
        };
        format!("{backend} is this node's own: while it is out {what}")
    });
    lines.extend(own);
    lines
}

fn is_own(vip: &Vip, ip: std::net::IpAddr) -> bool {
    vip.members.iter().any(|member| member.own && member.address == ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example;

    #[test]
    fn whoever_has_no_socket_here_is_named_before_and_counted_after() {
        let mut status = example::healthy();
        let plan = Plan::of(&status, None, &["10.0.0.11".to_owned()]).expect("a plan");
        let told = warnings(&status, &plan, Drill::Blackhole);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[2].ends_with("the control-plane VIP goes to another member"), "{told:?}");
        let told = warnings(&status, &plan, Drill::Simulate);
        assert!(told.len() == 2 && told[0].starts_with("new connections by"), "{told:?}");
        let mut beyond = Beyond::new(&status);
        let first = status.clone();
        beyond.look(&first, &status);
        assert_eq!(beyond.lines(), Vec::<String>::new());
        status.counters.extend([(RESETS.to_owned(), 2)]);
        status.vip.as_mut().expect("one").is_owner = false;
        beyond.look(&first, &status);
        status.vip.as_mut().expect("one").is_owner = true;
        beyond.look(&first, &status);
        assert_eq!(beyond, Beyond { guests_reset: Some(2), vip_left: Some(true) });
        assert_eq!(beyond.lines().len(), 2);
        (status.vip, status.sandboxes) = (None, None);
        assert_eq!(warnings(&status, &plan, Drill::Blackhole), Vec::<String>::new());
        assert_eq!(Beyond::new(&status), Beyond::default());
    }
}
