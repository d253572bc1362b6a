//! What each server is doing at every moment of a scenario, and who can reach it.
//!
//! All of it is known before a run begins, so the answer to a request is known when it is sent, and a
//! request is one event and not four.

use std::ops::Range;

/// Nanoseconds of virtual time since the beginning of a run.
pub(super) type Time = u64;
/// A millisecond.
pub(super) const MS: Time = 1_000_000;
/// A second.
pub(super) const S: Time = 1000 * MS;

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is ready.
    Ready,
    /// It answers `/readyz` with this status, and works otherwise.
    NotReady(u16),
    /// It answers `/readyz` after four seconds, and works otherwise: its etcd member is frozen.
    Stuck,
    /// Its listener is closed; connections that are open live on.
    Leaving,
    /// There is no process: the host resets what comes.
    Down,
    /// Nothing comes through.
    Silent,
}

impl Phase {
    /// Whether a new connection would be established.
    pub(super) const fn accepts(self) -> bool {
        matches!(self, Self::Ready | Self::NotReady(_) | Self::Stuck)
    }
}

/// The phases of one server, by when they begin.
#[derive(Clone, Debug)]
pub(super) struct Timeline(Vec<(Time, Phase)>);

impl Timeline {
    /// Ready from the beginning.
    pub(super) fn ready() -> Self {
        Self(vec![(0, Phase::Ready)])
    }

    /// Then, from `at` on, this. Times must not go back.
    pub(super) fn then(mut self, at: Time, phase: Phase) -> Self {
        self.0.push((at, phase));
        self
    }

    /// A start as a real API server was seen to do it: it answers 403 for 1.2 s and 500 for 0.9 s before
    /// it is ready. Gives that moment, too.
    pub(super) fn start(self, at: Time) -> (Self, Time) {
        let ready = at + 2100 * MS;
        let starting =
            self.then(at, Phase::NotReady(403)).then(at + 1200 * MS, Phase::NotReady(500));
        (starting.then(ready, Phase::Ready), ready)
    }

    /// The phase at a moment.
    pub(super) fn at(&self, time: Time) -> Phase {
        let past = self.0.iter().rev().find(|(at, _)| *at <= time);
        past.map_or(Phase::Ready, |(_, phase)| *phase)
    }

    /// How many processes there were before: connections belong to one of them.
    pub(super) fn process(&self, time: Time) -> usize {
        self.0.iter().filter(|(at, phase)| *at <= time && *phase == Phase::Down).count()
    }

    /// Every change after the beginning.
    pub(super) fn changes(&self) -> impl Iterator<Item = (Time, Phase)> + '_ {
        self.0.iter().copied().filter(|(at, _)| *at > 0)
    }
}

/// Some nodes cannot reach a server for a while.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// When.
    pub(super) span: Range<Time>,
    /// Which server.
    pub(super) server: usize,
    /// Which nodes.
    pub(super) nodes: Range<usize>,
}

/// Servers and what lies between.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pub(super) servers: Vec<Timeline>,
    pub(super) cuts: Vec<Cut>,
}

impl Plane {
    /// What a node meets at a server.
    pub(super) fn seen(&self, node: usize, server: usize, time: Time) -> Phase {
        let cut = self.cuts.iter().any(|cut| {
            cut.server == server && cut.nodes.contains(&node) && cut.span.contains(&time)
        });
        if cut { Phase::Silent } else { self.servers[server].at(time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_server_is_another_process_and_ready_after_two_seconds() {
        let leaving = Timeline::ready().then(10 * S, Phase::Leaving).then(20 * S, Phase::Down);
        let (server, ready) = leaving.start(22 * S);
        assert_eq!(ready, 24 * S + 100 * MS);
        for (time, phase, process) in [
            (0, Phase::Ready, 0),
            (15 * S, Phase::Leaving, 0),
            (20 * S, Phase::Down, 1),
            (22 * S, Phase::NotReady(403), 1),
            (24 * S, Phase::NotReady(500), 1),
            (ready, Phase::Ready, 1),
        ] {
            assert_eq!((server.at(time), server.process(time)), (phase, process), "{time}");
        }
    }

    #[test]
    fn a_cut_is_for_its_nodes_its_server_and_its_time_only() {
        let servers = vec![Timeline::ready(), Timeline::ready()];
        let cuts = vec![Cut { span: S..2 * S, server: 1, nodes: 0..5 }];
        let plane = Plane { servers, cuts };
        for (node, server, time, phase) in [
            (0, 1, S, Phase::Silent),
            (4, 1, 2 * S - 1, Phase::Silent),
            (5, 1, S, Phase::Ready),
            (0, 0, S, Phase::Ready),
            (0, 1, 2 * S, Phase::Ready),
        ] {
            assert_eq!(plane.seen(node, server, time), phase, "{node} {server} {time}");
        }
    }
}
