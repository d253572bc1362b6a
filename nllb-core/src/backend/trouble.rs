//! What calls for a close look at a backend and at the others of its pool, and for how long.
//!
//! In an alert every backend of the pool is pinged at the confirming pace, so that there are witnesses.
//! That is for the moments in which something is decided. What is not decided in ten seconds will not be
//! by looking closer, and a fault that lasts for days must not multiply the pings of every node.

use std::time::{Duration, Instant};

use nllb_common::maps::State;

use crate::backend::{Backend, Probe};
use crate::command::Via;
use crate::doubt::Doubt;

/// How long one trouble keeps its pool in alert.
const LONGEST_ALERT: Duration = Duration::from_secs(10);
/// A trouble that comes back sooner is the same: hints that keep coming, from whoever connects, keep no
/// pool in alert.
const SAME: Duration = Duration::from_secs(1);

/// A trouble of one backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    sign: Sign,
    since: Instant,
    /// When it was there last.
    last: Instant,
    /// Whether it is there, and not for too long.
    alerts: bool,
}

/// What speaks for it. Another sign is another trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sign {
    state: State,
    doubt: Option<Doubt>,
    wants_look: bool,
    near_death: bool,
}

impl Backend {
    /// Whether it may be dead, so that witnesses are wanted.
    pub(crate) fn is_suspect(&self) -> bool {
        self.doubt().is_some() || self.wants_look || self.death.is_near()
    }

    /// Whether it calls for a close look at its pool.
    fn is_in_trouble(&self) -> bool {
        let confirming = |probe: Probe| probe.early && probe.via == Via::Fresh;
        self.is_suspect() || (self.is_eligible() && self.probe.is_some_and(confirming))
    }

    /// Whether its pool is in alert because of it, as of the last [`Self::note_trouble`].
    pub(crate) fn alerts(&self) -> bool {
        self.trouble.is_some_and(|trouble| trouble.alerts)
    }

    /// Notes whether it is in trouble, and since when.
    pub(crate) fn note_trouble(&mut self, now: Instant) {
        if !self.is_in_trouble() {
            if let Some(trouble) = &mut self.trouble {
                trouble.alerts = false;
            }
            return;
        }
        let sign = Sign {
            state: self.state(),
            doubt: self.doubt(),
            wants_look: self.wants_look,
            near_death: self.death.is_near(),
        };
        let same = |trouble: &Trouble| {
            trouble.sign == sign
                && (trouble.alerts || now.saturating_duration_since(trouble.last) < SAME)
        };
        let since = self.trouble.filter(same).map_or(now, |trouble| trouble.since);
        let alerts = now.saturating_duration_since(since) < LONGEST_ALERT;
        self.trouble = Some(Trouble { sign, since, last: now, alerts });
    }
}
