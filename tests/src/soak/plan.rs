//! What shall happen in an epoch: a value made of a seed and a number, so that the same arguments let the same
//! things happen at the same times.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// The faults of an epoch begin and end within this time.
pub(super) const FAULTS: Duration = Duration::from_secs(40);
/// Before the first fault of a server, and between two of them.
const PAUSE_MS: std::ops::Range<u64> = 500..8_000;
/// How long a fault of a server lasts.
const FAULT_MS: std::ops::Range<u64> = 300..12_000;
/// How long the agent is away when it was killed. Its lease lapses after 3 s.
const AWAY_MS: std::ops::Range<u64> = 100..6_000;
/// How long an operator's drain lasts.
const DRAIN_MS: std::ops::Range<u64> = 1_000..8_000;
/// Of so many epochs one may strike all servers at once; the others spare one.
const SPARING: u64 = 4;

/// A fault of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Crash,
    PowerOff,
    Unplugged,
    DropTo,
    DropFrom,
    Frozen,
    /// `/readyz` answers with this status.
    Readyz(u16),
    /// `/readyz` answers 500 after 4 s.
    ReadyzSlow,
    ReadyzHangs,
    /// It stops, after a shutdown delay of so many milliseconds.
    Drain(u64),
    /// Every answer is so many milliseconds late.
    Slow(u64),
    /// Every frame is so many milliseconds late, each way.
    Delay(u64),
    /// So many frames of a thousand are lost, each way.
    Loss(u32),
}

/// What a fault asks of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// The server has to go out of service within this time.
    Out(Duration),
    /// Nothing; what is weak may stay.
    Nothing,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// To the server with this number.
    Server(usize, Fault),
    /// The agent is killed, and started when it is over.
    AgentKilled,
    /// The agent is told to stop, and started at once.
    AgentRestarted,
    /// The agent reads its configuration again, which has another policy.
    Reload(&'static str),
    /// An operator drains the server with this number, and takes that back.
    Drained(usize),
}

/// When it happens, from the beginning of the epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at: Duration,
    /// Zero for what has no duration.
    pub(super) lasts: Duration,
    pub(super) what: What,
}

/// The steps of an epoch, by their beginning.
pub(super) fn steps(seed: u64, epoch: u64, servers: usize) -> Vec<Step> {
    // Two epochs that differ by one shall not look alike.
    let mut rng = Rng::with_seed(seed ^ epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let spared = (rng.u64(..SPARING) > 0).then(|| rng.usize(..servers));
    let mut steps = Vec::new();
    for server in (0..servers).filter(|server| Some(*server) != spared) {
        let mut at = millis(&mut rng, PAUSE_MS);
        loop {
            let lasts = millis(&mut rng, FAULT_MS);
            if at + lasts > FAULTS {
                break;
            }
            steps.push(Step { at, lasts, what: What::Server(server, fault(&mut rng)) });
            at += lasts + millis(&mut rng, PAUSE_MS);
        }
    }
    // One after the other: each is a moment of the one agent.
    let mut at = millis(&mut rng, PAUSE_MS);
    loop {
        let (lasts, what) = of_the_node(&mut rng, servers);
        if at + lasts > FAULTS {
            break;
        }
        steps.push(Step { at, lasts, what });
        at += lasts + 2 * millis(&mut rng, PAUSE_MS);
    }
    steps.sort_by_key(|step| step.at);
    steps
}

fn fault(rng: &mut Rng) -> Fault {
    match rng.u32(..18) {
        0..=2 => Fault::Crash,
        3..=4 => Fault::PowerOff,
        5 => Fault::Unplugged,
        6 => Fault::DropTo,
        7 => Fault::DropFrom,
        8..=9 => Fault::Frozen,
        10 => Fault::Readyz(500),
        11 => Fault::Readyz(403),
        12 => Fault::ReadyzSlow,
        13 => Fault::ReadyzHangs,
        14 => Fault::Drain(rng.u64(..5_000)),
        15 => Fault::Slow(rng.u64(10..800)),
        16 => Fault::Delay(rng.u64(1..100)),
        _ => Fault::Loss(rng.u32(5..300)),
    }
}

fn of_the_node(rng: &mut Rng, servers: usize) -> (Duration, What) {
    match rng.u32(..8) {
        0..=2 => (millis(rng, AWAY_MS), What::AgentKilled),
        3 => (Duration::ZERO, What::AgentRestarted),
        4..=5 => {
            let policies = ["random", "round-robin", "least-connections", "maglev", "affinity"];
            (Duration::ZERO, What::Reload(policies[rng.usize(..policies.len())]))
        }
        _ => (millis(rng, DRAIN_MS), What::Drained(rng.usize(..servers))),
    }
}

fn millis(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

impl Fault {
    /// What it asks of the agent. The times are far above what it takes on a machine of its own.
    pub(super) fn asks(self) -> Asks {
        match self {
            Self::Crash
            | Self::PowerOff
            | Self::Unplugged
            | Self::DropTo
            | Self::DropFrom
            | Self::Frozen => Asks::Out(Duration::from_secs(5)),
            Self::Readyz(_) | Self::ReadyzSlow | Self::ReadyzHangs => {
                Asks::Out(Duration::from_secs(8))
            }
            Self::Drain(_) | Self::Slow(_) | Self::Delay(_) | Self::Loss(_) => Asks::Nothing,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash => f.write_str("crash"),
            Self::PowerOff => f.write_str("power-off"),
            Self::Unplugged => f.write_str("unplugged"),
            Self::DropTo => f.write_str("one-way-to"),
            Self::DropFrom => f.write_str("one-way-from"),
            Self::Frozen => f.write_str("frozen"),
            Self::Readyz(status) => write!(f, "readyz-{status}"),
            Self::ReadyzSlow => f.write_str("readyz-slow"),
            Self::ReadyzHangs => f.write_str("readyz-hangs"),
            Self::Drain(ms) => write!(f, "drain-{ms}ms"),
            Self::Slow(ms) => write!(f, "slow-{ms}ms"),
            Self::Delay(ms) => write!(f, "delay-{ms}ms"),
            Self::Loss(per_mille) => write!(f, "loss-{per_mille}-per-mille"),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server, fault) => write!(f, "cp{server} {fault}"),
            Self::AgentKilled => f.write_str("agent killed"),
            Self::AgentRestarted => f.write_str("agent restarted"),
            Self::Reload(policy) => write!(f, "policy {policy}"),
            Self::Drained(server) => write!(f, "cp{server} drained by an operator"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lasts, what } = self;
        write!(f, "{:.1} s: {what}", at.as_secs_f64())?;
        if lasts.is_zero() { Ok(()) } else { write!(f, ", for {:.1} s", lasts.as_secs_f64()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_arguments_give_the_same_steps_and_others_give_others() {
        assert_eq!(steps(7, 3, 3), steps(7, 3, 3));
        assert_ne!(steps(7, 3, 3), steps(7, 4, 3));
        assert_ne!(steps(7, 3, 3), steps(8, 3, 3));
    }

    #[test]
    fn everything_is_over_when_the_epoch_is_and_a_server_has_one_fault_at_a_time() {
        for epoch in 0..200 {
            let steps = steps(1, epoch, 3);
            assert!(steps.iter().all(|step| step.at + step.lasts <= FAULTS));
            for server in 0..3 {
                let of_it = |step: &&Step| matches!(step.what, What::Server(of, _) if of == server);
                let its: Vec<_> = steps.iter().filter(of_it).collect();
                assert!(its.windows(2).all(|two| two[0].at + two[0].lasts < two[1].at));
            }
        }
    }

    #[test]
    fn most_epochs_spare_a_server_and_every_kind_of_fault_comes() {
        let mut kinds = std::collections::BTreeSet::new();
        let mut sparing = 0;
        for epoch in 0..200 {
            let mut struck = std::collections::BTreeSet::new();
            for step in steps(1, epoch, 3) {
                let name = if let What::Server(server, fault) = step.what {
                    struck.insert(server);
                    fault.to_string()
                } else {
                    step.what.to_string()
                };
                kinds.insert(name.split(['-', ' ']).next().unwrap_or_default().to_owned());
            }
            sparing += u32::from(struck.len() < 3);
        }
        assert!((120..190).contains(&sparing), "{sparing}");
        for kind in [
            "crash",
            "power",
            "unplugged",
            "one",
            "frozen",
            "readyz",
            "drain",
            "slow",
            "delay",
            "loss",
            "agent",
            "policy",
        ] {
            assert!(kinds.contains(kind), "{kind} of {kinds:?}");
        }
    }
}
