//! Tells the cluster what its administrators should see: failovers, returns and panics, as Events of this node.
//!
//! Off by default, and then nothing of this is there. What is told when is decided by the core's announcer; a
//! cluster that cannot be reached, as in a panic, is told afterwards.

use std::future;
use std::time::Instant;

use nllb_core::{Announcement, Announcer, Told};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::{members, node, reached};
use crate::config::Config;
use crate::discovery::kubernetes::{NodeEvent, NotTaken, Settings};
use crate::journal::{Moment, VipChange, What};

/// Who tells the cluster, when somebody does.
#[derive(Debug, Default)]
pub(super) struct Announcements(Option<Box<Active>>);

#[derive(Debug)]
struct Active {
    settings: Settings,
    node: String,
    announcer: Announcer<&'static str, NodeEvent>,
    /// At most one.
    telling: JoinSet<Result<(), NotTaken>>,
    /// Why the last one was not taken.
    problem: Option<String>,
}

impl Announcements {
    /// Tells the cluster or does not, as the configuration says.
    pub(super) fn configure(&mut self, config: &Config, now: Instant) {
        let kubernetes = config.control_plane.as_ref().and_then(|plane| plane.kubernetes.as_ref());
        let Some(kubernetes) = kubernetes.filter(|kubernetes| kubernetes.events) else {
            self.0 = None;
            return;
        };
        // No two events of a node are told at the same time, so nothing is spread.
        let settings = members::settings_of(kubernetes, 0);
        let node = node::name(config);
        match &mut self.0 {
            Some(active) => (active.settings, active.node) = (settings, node),
            None => {
                let (announcer, telling) = (Announcer::new(now), JoinSet::new());
                let active = Active { settings, node, announcer, telling, problem: None };
                self.0 = Some(Box::new(active));
            }
        }
    }

    /// Tells it if it is for the cluster.
    pub(super) fn add(&mut self, what: &What, at: Moment) {
        let Some(active) = &mut self.0 else { return };
        if let Some((reason, message, is_warning)) = sentence(what) {
            let (node, time_ms) = (active.node.clone(), at.unix_ms());
            let event = NodeEvent { node, reason, message, is_warning, time_ms };
            active.announcer.add(reason, event, at.now);
        }
    }

    /// Tells what is due, and waits until it was told or something else is due; for ever while there is nothing.
    /// Safe to cancel.
    pub(super) async fn next(&mut self) {
        let Some(active) = &mut self.0 else { return future::pending().await };
        active.begin(Instant::now());
        let due = active.announcer.due();
        tokio::select! {
            Some(told) = active.telling.join_next() => {
                // One that died is tried again.
                let told = told.unwrap_or_else(|died| Err(NotTaken::Failed(died.to_string())));
                active.conclude(told, Instant::now());
            }
            () = reached(due) => {}
        }
    }
}

impl Active {
    fn begin(&mut self, now: Instant) {
        let Some(Announcement { kind: _, what, more }) = self.announcer.next(now) else { return };
        let settings = self.settings.clone();
        let mut event = what;
        if more > 0 {
            event.message.push_str(&format!(" (and {more} more)"));
        }
        self.telling.spawn_local(async move { event.tell(&settings).await });
    }

    fn conclude(&mut self, told: Result<(), NotTaken>, now: Instant) {
        let outcome = match &told {
            Ok(()) => Told::Taken,
            Err(NotTaken::Failed(_)) => Told::Failed,
            Err(NotTaken::Refused(_)) => Told::Refused,
        };
        self.announcer.told(outcome, now);
        let problem = told.err().map(|why| why.to_string());
        match &problem {
            // Once, not with every try.
            Some(why) if self.problem.as_ref() != Some(why) => {
                warn!("events of this node are not taken by the cluster: {why}");
            }
            Some(_) => {}
            None => debug!("an event of this node was told"),
        }
        self.problem = problem;
    }
}

/// What a cluster should see: in one word, in a sentence, and whether somebody should look.
fn sentence(what: &What) -> Option<(&'static str, String, bool)> {
    let told = match what {
        What::Failover { pool, backend, reason, remaining, duration_ms } => {
            let sign = duration_ms.map(|ms| format!(", {ms} ms after the first sign"));
            let message = format!(
                "new connections to {pool} no longer go to {backend} ({reason}{}); {remaining} left",
                sign.unwrap_or_default()
            );
            ("ControlPlaneFailover", message, true)
        }
        What::Recovered { pool, backend, reason, duration_ms } => {
            let out = duration_ms.map(|ms| format!(", {} s out", ms / 1000)).unwrap_or_default();
            let message = format!("{backend} is in service of {pool} again ({reason}{out})");
            ("ControlPlaneRecovered", message, false)
        }
        What::PanicEntered { pool, reason } => {
            let message = format!("no backend of {pool} is in service ({reason})");
            ("ControlPlanePanic", message, true)
        }
        What::PanicLeft { pool, backend, duration_ms } => {
            let lasted = duration_ms.map(|ms| format!(" after {} s", ms / 1000));
            let lasted = lasted.unwrap_or_default();
            let message =
                format!("{backend} of {pool} is in service{lasted}, before it was nobody");
            ("ControlPlanePanicOver", message, false)
        }
        What::Vip { vip, change, reason } => {
            let (word, told, is_warning) = match change {
                VipChange::Taken => ("ControlPlaneVipTaken", "answers for", false),
                VipChange::Lost => ("ControlPlaneVipLost", "does no longer answer for", true),
                VipChange::Released => ("ControlPlaneVipReleased", "has given away", false),
            };
            (word, format!("this node {told} {vip} ({reason})"), is_warning)
        }
        What::Transition { .. }
        | What::Closed { .. }
        | What::Attach { .. }
        | What::Config { .. }
        | What::Drain { .. }
        | What::Undrain { .. }
        | What::Drill { .. }
        | What::DrillOver { .. }
        | What::Lease { .. }
        | What::Started { .. }
        | What::Stopped { .. }
        | What::Members { .. } => return None,
    };
    Some(told)
}
