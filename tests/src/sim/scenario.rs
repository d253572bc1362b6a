//! What happens to the control plane in each scenario.

use clap::ValueEnum;

use super::timeline::{Cut, MS, Phase, Plane, S, Time, Timeline};

/// When the nodes have started and settled, and the calm is measured from there on.
pub(super) const SETTLED: Time = 60 * S;
/// When the first thing happens.
pub(super) const BEGIN: Time = 120 * S;
/// How long after the last return a run goes on, and the imbalance is judged.
pub(super) const AFTER: Time = 300 * S;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Every server is upgraded in turn: it drains, ends and starts again.
    RollingRestart,
    /// One server is killed, and starts again a minute later.
    Crash,
    /// Two thirds of the nodes cannot reach one server for two minutes.
    Partition,
    /// One server answers `/readyz` too late for two minutes.
    SlowServer,
}

/// All that a run must be told.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) plane: Plane,
    /// Whether connections are to find back.
    pub(super) rebalance: bool,
    /// Who is let in again and from when on that is possible.
    pub(super) returns: Vec<(usize, Time)>,
    pub(super) end: Time,
}

impl Script {
    /// Until when nothing else happens after `at`.
    pub(super) fn undisturbed_after(&self, at: Time) -> Time {
        let changes = self.plane.servers.iter().flat_map(Timeline::changes);
        changes.map(|(change, _)| change).filter(|change| *change > at).min().unwrap_or(self.end)
    }
}

impl Scenario {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RollingRestart => "rolling restart",
            Self::Crash => "crash",
            Self::Partition => "partition",
            Self::SlowServer => "slow server",
        }
    }

    /// What happens to so many servers and nodes.
    pub(super) fn script(self, backends: usize, nodes: usize) -> Script {
        let mut servers = vec![Timeline::ready(); backends];
        let mut cuts = Vec::new();
        let mut returns = Vec::new();
        match self {
            Self::RollingRestart => {
                for (index, server) in (0..).zip(&mut servers) {
                    let (upgraded, ready) = upgrade(BEGIN + index * 120 * S);
                    *server = upgraded;
                    returns.push(ready);
                }
            }
            Self::Crash => {
                let (server, ready) =
                    Timeline::ready().then(BEGIN, Phase::Down).start(BEGIN + 60 * S);
                servers[0] = server;
                returns.push(ready);
            }
            Self::Partition => {
                let span = BEGIN..BEGIN + 120 * S;
                returns.push(span.end);
                cuts.push(Cut { span, server: 0, nodes: 0..nodes * 2 / 3 });
            }
            Self::SlowServer => {
                let end = BEGIN + 120 * S;
                servers[0] = Timeline::ready().then(BEGIN, Phase::Stuck).then(end, Phase::Ready);
                returns.push(end);
            }
        }
        let last = returns.last().copied().unwrap_or(BEGIN);
        // Where nothing is rebalanced there is little to be seen later.
        let rebalance = self == Self::RollingRestart;
        let end = last + if rebalance { AFTER + S } else { AFTER / 2 };
        Script {
            plane: Plane { servers, cuts },
            rebalance,
            returns: returns.into_iter().enumerate().collect(),
            end,
        }
    }
}

/// A server that is told to end, with the default of no delay, and is started again by its kubelet: it
/// refuses at once and keeps its watches until they end after half a minute.
fn upgrade(at: Time) -> (Timeline, Time) {
    let refuses = at + 50 * MS;
    let gone = at + 30 * S;
    Timeline::ready()
        .then(at, Phase::NotReady(500))
        .then(refuses, Phase::Leaving)
        .then(gone, Phase::Down)
        .start(gone + 2 * S)
}
