//! What clients feel of each peer when servers fail: the faults, the clients and the figures of
//! `bench failover`, each peer in labs of its own, all at the same time.
//!
//! They differ by seconds, so the labs may share the machine; for milliseconds there is `bench failover`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::balancer::Programs;
use super::peer::Peer;
use crate::bench::failover::{Established, Fault, Rig, Row, Sample, Spread, once};
use crate::bench::report::round;

/// What still happens so shortly before the end of the window may go on beyond it.
const TAIL_MS: f64 = 2_000.0;
/// What is shorter is no blackout to a client (`CONSPICUOUS` in `client/traffic/ledger.rs`).
const RESOLUTION_MS: f64 = 50.0;

/// What shall strike whom, how often, in how many labs of each peer at the same time.
pub(super) struct Plan<'a> {
    pub(super) peers: &'a [Peer],
    pub(super) programs: &'a Programs,
    pub(super) faults: &'a [Fault],
    pub(super) runs: u64,
    pub(super) lanes: usize,
}

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

/// What is told of a reaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    Blackout,
    Left,
    Failed,
    Closed,
}

/// Of each fault with each peer, by their places in the plan.
type Samples = BTreeMap<(usize, usize), Vec<Sample>>;

/// Lets every fault strike every peer so often; after each run `had` is given what there is so far.
pub(super) fn measure(
    plan: &Plan<'_>,
    had: impl FnMut(Vec<Reaction>) -> Result<()> + Send,
) -> Result<()> {
    // Of the one the agent is a part, and the other has nobody who could react.
    let faults = plan.faults.iter().copied().filter(|fault| !fault.without_agent());
    let peers = plan.peers.iter().copied().filter(|peer| *peer != Peer::Direct);
    let (faults, peers): (Vec<_>, Vec<_>) = (faults.collect(), peers.collect());
    let jobs: Vec<(u64, usize)> =
        (0..plan.runs).flat_map(|run| (0..faults.len()).map(move |fault| (run, fault))).collect();
    let next: Vec<_> = peers.iter().map(|_| AtomicUsize::new(0)).collect();
    let reactions = |samples: &Samples| -> Vec<_> {
        let each = samples.iter();
        each.map(|((fault, peer), own)| Reaction::of(faults[*fault], peers[*peer], own)).collect()
    };
    let so_far = Mutex::new((Samples::new(), had));
    let lane = |index: usize| -> Result<()> {
        let peer = peers[index];
        let mut rig = None;
        while let Some((run, place)) = jobs.get(next[index].fetch_add(1, Ordering::Relaxed)) {
            let fault = faults[*place];
            eprintln!("nllb-lab: {peer}, {fault}, {} of {}", run + 1, plan.runs);
            let mut once = || strike(&mut rig, peer, plan.programs, fault, *run);
            let sample = once().or_else(|error| {
                eprintln!("nllb-lab: once more in a fresh lab: {error:#}");
                once()
            })?;
            let mut so_far = so_far.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (samples, had) = &mut *so_far;
            let sample = [sample];
            eprint!("nllb-lab: {}", Reaction::of(fault, peer, &sample).line());
            samples.entry((*place, index)).or_default().extend(sample);
            had(reactions(samples))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let lanes = (0..peers.len()).flat_map(|index| std::iter::repeat_n(index, plan.lanes));
        let lanes: Vec<_> = lanes.map(|index| scope.spawn(move || lane(index))).collect();
        let mut joined = lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.try_for_each(|done| done)
    })
}

/// Lets a fault strike in this lab, or else in a fresh one.
fn strike(
    rig: &mut Option<Rig>,
    peer: Peer,
    programs: &Programs,
    fault: Fault,
    run: u64,
) -> Result<Sample> {
    let mut used = match rig.take() {
        Some(rig) => rig,
        None => Rig::beside_peers(peer, programs)?,
    };
    let sample = once(&mut used, fault, run).with_context(|| format!("{peer}, {fault}"));
    // What a fault leaves in connection tracking would send new connects to a server that is out.
    if sample.is_ok() && peer != Peer::Nftables {
        *rig = Some(used);
    }
    sample
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
    fn of(fault: Fault, peer: Peer, samples: &[Sample]) -> Self {
        let window_ms = fault.window_of_peers().as_secs_f64() * 1e3;
        Self { fault, peer, runs: samples.len(), window_ms, row: Row::of(fault, samples) }
    }

    /// It in one line.
    fn line(&self) -> String {
        let figures = What::ALL.map(|what| {
            let figure = self.figure(what).map_or_else(|| "-".to_owned(), |it| it.to_string());
            format!(", {} {figure}", what.title())
        });
        let Self { peer, fault, .. } = self;
        format!("{peer}, {fault}{} {:?}\n", figures.concat(), self.row.errors)
    }

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

    /// How long nothing went well before the fault, because of this machine alone: what differs by less is the
    /// same, in milliseconds.
    pub(super) fn noise_ms(&self) -> f64 {
        self.row.calm_gap_ms.map_or(0.0, |gap| gap.p50).max(RESOLUTION_MS)
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
            "errors": self.row.errors,
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
        let none = [None, None];
        let found = own.map_or(none, |own| [new_connects(own, peer), established(own, peer)]);
        found.into_iter().flatten().map(move |(what, own, theirs)| (peer, what, theirs, own))
    })
}

/// A figure, of nllb and of a peer.
type Pair = (What, Figure, Figure);

/// In what new connects with a peer are not slower, if they are not.
///
/// Who hangs in `connect()` fails seldom and seems to have left at once, so what counts is how long no connect
/// went well. Only where that is the same do failures tell more, and then the time until a server was left.
fn new_connects(own: &Reaction, peer: &Reaction) -> Option<Pair> {
    let pair = |what| Some((what, own.figure(what)?, peer.figure(what)?));
    let noise_ms = own.noise_ms().max(peer.noise_ms());
    let blackout = pair(What::Blackout)?;
    let in_turn =
        [(Some(blackout), noise_ms), (pair(What::Failed), 0.0), (pair(What::Left), noise_ms)];
    for (pair, noise_ms) in in_turn {
        let Some((what, own, theirs)) = pair else { continue };
        if !theirs.is_same_as(own, noise_ms) {
            return (!theirs.is_slower_than(own)).then_some((what, own, theirs));
        }
    }
    // Nothing at all cannot be improved on.
    let (_, own, theirs) = blackout;
    let nothing = Figure::Is(0.0);
    (!own.is_same_as(nothing, noise_ms) || !theirs.is_same_as(nothing, noise_ms))
        .then_some(blackout)
}

/// Whether a peer closes what is established not later.
fn established(own: &Reaction, peer: &Reaction) -> Option<Pair> {
    let (own, theirs) = (own.figure(What::Closed)?, peer.figure(What::Closed)?);
    (!theirs.is_slower_than(own)).then_some((What::Closed, own, theirs))
}

impl Figure {
    /// Whether two differ by no more than this, in milliseconds.
    pub(super) fn is_same_as(self, other: Self, noise_ms: f64) -> bool {
        match (self, other) {
            (Self::Is(own), Self::Is(other)) => (own - other).abs() <= noise_ms,
            (Self::Beyond(_), Self::Beyond(_)) => true,
            _ => false,
        }
    }

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
mod tests;
