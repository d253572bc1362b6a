//! What clients feel of each peer when servers fail: the faults, the clients and the figures of
//! `bench failover`, each peer in labs of its own, all at the same time.
//!
//! They differ by seconds, so the labs may share the machine; for milliseconds there is `bench failover`.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::balancer::Programs;
use super::peer::Peer;
use crate::bench::failover::{Established, Fault, Rig, Row, Spread, once};
use crate::bench::report::round;

/// Labs of each peer.
const LANES: usize = 2;
/// What still happens so shortly before the end of the window may go on beyond it.
const TAIL_MS: f64 = 2_000.0;

/// What became of a fault with a peer.
pub(super) struct Reaction {
    pub(super) fault: Fault,
    pub(super) peer: Peer,
    pub(super) runs: usize,
    window_ms: f64,
    row: Row,
}

/// A figure of a reaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Figure {
    /// The median.
    Is(f64),
    /// Not within the window, in seconds.
    Beyond(f64),
}

/// What is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    Blackout,
    Left,
    Failed,
    Closed,
}

/// Lets every fault strike every peer so often.
pub(super) fn measure(
    peers: &[Peer],
    programs: &Programs,
    faults: &[Fault],
    runs: u64,
) -> Result<Vec<Reaction>> {
    // Of the one the agent is a part, and the other has nobody who could react.
    let faults: Vec<_> = faults.iter().copied().filter(|fault| !fault.without_agent()).collect();
    let peers: Vec<_> = peers.iter().copied().filter(|peer| *peer != Peer::Direct).collect();
    let jobs: Vec<(Fault, u64)> =
        (0..runs).flat_map(|run| faults.iter().map(move |fault| (*fault, run))).collect();
    let next: Vec<_> = peers.iter().map(|_| AtomicUsize::new(0)).collect();
    let lane = |index: usize| -> Result<Vec<_>> {
        let peer = peers[index];
        let mut samples = Vec::new();
        let mut rig = None;
        while let Some((fault, run)) = jobs.get(next[index].fetch_add(1, Ordering::Relaxed)) {
            eprintln!("nllb-lab: {peer}, {fault}, {} of {runs}", run + 1);
            let rig = match &mut rig {
                Some(rig) => rig,
                none => none.insert(Rig::beside_peers(peer, programs)?),
            };
            let sample = once(rig, *fault, *run);
            samples.push((*fault, peer, sample.with_context(|| format!("{peer}, {fault}"))?));
        }
        Ok(samples)
    };
    let samples: Vec<_> = thread::scope(|scope| {
        let lanes = (0..peers.len()).flat_map(|index| [index; LANES]);
        let lanes: Vec<_> = lanes.map(|index| scope.spawn(move || lane(index))).collect();
        let joined = lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let (mut reactions, mut samples) =
        (Vec::new(), samples.into_iter().flatten().collect::<Vec<_>>());
    for fault in faults {
        for peer in &peers {
            let of = |sample: &mut (Fault, Peer, _)| (sample.0, sample.1) == (fault, *peer);
            let own: Vec<_> = samples.extract_if(.., of).map(|(_, _, sample)| sample).collect();
            if !own.is_empty() {
                let window = fault.window_of_peers();
                reactions.push(Reaction {
                    fault,
                    peer: *peer,
                    runs: own.len(),
                    window_ms: window.as_secs_f64() * 1e3,
                    row: Row::of(fault, &own),
                });
            }
        }
    }
    Ok(reactions)
}

impl What {
    pub(super) const ALL: [Self; 4] = [Self::Blackout, Self::Left, Self::Failed, Self::Closed];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Blackout => "blackout",
            Self::Left => "left",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

impl Reaction {
    /// A figure, if this fault has it.
    pub(super) fn figure(&self, what: What) -> Option<Figure> {
        let row = &self.row;
        let time = |spread: Spread| {
            let beyond = spread.p50 > self.window_ms - TAIL_MS;
            if beyond { Figure::Beyond(self.window_ms / 1e3) } else { Figure::Is(spread.p50) }
        };
        match what {
            What::Blackout => row.new_blackout_ms.map(time),
            What::Left => row.new_leave_ms.map(time),
            What::Failed => row.failed.map(|spread| Figure::Is(spread.p50)),
            What::Closed
                if self.fault.established() == Established::Alive || self.fault.resets() =>
            {
                None
            }
            What::Closed if row.established_open > 0 => Some(Figure::Beyond(self.window_ms / 1e3)),
            What::Closed => row.established_closed_ms.map(time),
        }
    }

    /// The largest value, of those that were measured.
    fn worst(&self, what: What) -> Option<f64> {
        let spread = match what {
            What::Blackout => self.row.new_blackout_ms,
            What::Left => self.row.new_leave_ms,
            What::Failed => self.row.failed,
            What::Closed => self.row.established_closed_ms,
        };
        spread.map(|spread| spread.max)
    }

    pub(super) fn json(&self) -> Value {
        let mut value = json!({
            "fault": self.fault.to_string(),
            "peer": self.peer.to_string(),
            "runs": self.runs,
            "window_s": round(self.window_ms / 1e3, 1),
        });
        for what in What::ALL {
            let figure = match self.figure(what) {
                None => Value::Null,
                Some(Figure::Beyond(seconds)) => json!({ "not_within_s": seconds }),
                Some(Figure::Is(median)) => json!({
                    "median": round(median, 1),
                    "max": self.worst(what).map(|worst| round(worst, 1)),
                }),
            };
            value[what.title()] = figure;
        }
        value
    }
}

/// The figures in which a peer is not slower than nllb.
pub(super) fn faster(
    reactions: &[Reaction],
) -> impl Iterator<Item = (&Reaction, What, Figure, Figure)> {
    let peers = reactions.iter().filter(|reaction| reaction.peer != Peer::Nllb);
    peers.flat_map(move |peer| {
        let own = reactions.iter().find(|own| own.peer == Peer::Nllb && own.fault == peer.fault);
        What::ALL.into_iter().filter_map(move |what| {
            let (own, theirs) = (own?.figure(what)?, peer.figure(what)?);
            // Nothing at all cannot be improved on.
            let both_none = own == Figure::Is(0.0) && theirs == own;
            (!theirs.is_slower_than(own) && !both_none).then_some((peer, what, theirs, own))
        })
    })
}

impl Figure {
    fn is_slower_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Is(own), Self::Is(other)) => own > other,
            (Self::Beyond(_), Self::Is(_)) => true,
            (Self::Is(_) | Self::Beyond(_), Self::Beyond(_)) => false,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(number) => write!(f, "{number:.0}"),
            Self::Beyond(seconds) => write!(f, "> {:.0}", seconds * 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_slower_than_all_that_is() {
        let (seen, later, never) = (Figure::Is(1.0), Figure::Is(2.0), Figure::Beyond(50.0));
        assert!(later.is_slower_than(seen) && never.is_slower_than(later));
        assert!(!seen.is_slower_than(seen) && !never.is_slower_than(never));
    }
}
