//! The faults, how each begins and ends, and what it does to established connections.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::rig::Rig;
use crate::client::protocol::TrafficReport;
use crate::clock::now_ns;
use crate::lab::ControlPlane;

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(in crate::bench) enum Fault {
    /// A server's process is killed.
    Crash,
    /// A host vanishes.
    PowerOff,
    /// A host vanishes while nobody connects.
    PowerOffQuiet,
    /// The network is silent for two seconds.
    #[value(name = "silent-2s")]
    Silent2s,
    /// What is sent to a host is lost.
    OneWayTo,
    /// What a host sends is lost.
    OneWayFrom,
    /// A server's process is stopped.
    Frozen,
    /// `/readyz` answers 500.
    #[value(name = "readyz-500")]
    Readyz500,
    /// `/readyz` answers 403.
    #[value(name = "readyz-403")]
    Readyz403,
    /// `/readyz` answers 500, but only after 4 s.
    ReadyzSlow,
    /// A server stops without a shutdown delay.
    #[value(name = "drain-0s")]
    Drain0s,
    /// A server stops after a shutdown delay of 5 s.
    #[value(name = "drain-5s")]
    Drain5s,
    /// All control-plane hosts are silent for ten seconds.
    #[value(name = "control-plane-10s")]
    ControlPlane10s,
    /// A host vanishes after the agent was killed and its lease has lapsed.
    AgentKilledPowerOff,
    /// Two of three hosts vanish.
    TwoOfThree,
    /// A server crashes and comes back, 2 s down, 2 s up, for a minute.
    Flapping,
}

/// What becomes of established connections with a victim.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::bench) enum Established {
    /// They are dead, and are closed.
    Dead,
    /// They are dead; only where data is in flight can that be known.
    DeadInFlight,
    /// They live on; nobody closes them.
    Alive,
}

/// A fault that has begun.
pub(super) struct Struck {
    pub(super) begun_ns: u64,
    /// Of a fault that ends by itself.
    pub(super) over: Option<Over>,
}

/// The end of a fault.
pub(super) struct Over {
    pub(super) at_ns: u64,
    /// What the clients saw until then.
    pub(super) before: Vec<TrafficReport>,
}

/// As an API server answers whose etcd member is stopped.
const READYZ_LATE: Duration = Duration::from_secs(4);
const FLAP: Duration = Duration::from_secs(2);
const FLAPS: usize = 15;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("none is hidden").get_name())
    }
}

impl Fault {
    pub(in crate::bench) const ALL: [Self; 16] = [
        Self::Crash,
        Self::PowerOff,
        Self::PowerOffQuiet,
        Self::Silent2s,
        Self::OneWayTo,
        Self::OneWayFrom,
        Self::Frozen,
        Self::Readyz500,
        Self::Readyz403,
        Self::ReadyzSlow,
        Self::Drain0s,
        Self::Drain5s,
        Self::ControlPlane10s,
        Self::AgentKilledPowerOff,
        Self::TwoOfThree,
        Self::Flapping,
    ];

    /// The servers that it strikes in a run: each in turn.
    pub(super) fn victims(self, number: u64, servers: usize) -> Vec<usize> {
        let first = usize::try_from(number).unwrap_or(0) % servers;
        let count = if self.silences_all() {
            servers
        } else if self == Self::TwoOfThree {
            2
        } else {
            1
        };
        (0..count).map(|offset| (first + offset) % servers).collect()
    }

    /// Whether nobody is left.
    pub(super) fn silences_all(self) -> bool {
        matches!(self, Self::Silent2s | Self::ControlPlane10s)
    }

    /// Whether clients connect meanwhile.
    pub(in crate::bench) fn has_connects(self) -> bool {
        self != Self::PowerOffQuiet
    }

    /// The time between two connects of a loop. Flapping is about transitions and lasts so long that
    /// several labs share the machine.
    pub(super) fn interval(self) -> Duration {
        Duration::from_millis(if self == Self::Flapping { 10 } else { 1 })
    }

    /// How many labs run it side by side.
    pub(super) fn labs(self) -> usize {
        if self == Self::Flapping { 5 } else { 1 }
    }

    /// Whether the agent is killed before.
    pub(in crate::bench) fn without_agent(self) -> bool {
        self == Self::AgentKilledPowerOff
    }

    /// Whether the way back is measured. A server that has flapped is kept out for long.
    pub(super) fn has_readmission(self) -> bool {
        self != Self::Flapping
    }

    /// What becomes of established connections.
    pub(in crate::bench) fn established(self) -> Established {
        match self {
            Self::Crash
            | Self::PowerOff
            | Self::PowerOffQuiet
            | Self::OneWayTo
            | Self::OneWayFrom
            | Self::Frozen
            | Self::TwoOfThree
            | Self::Flapping => Established::Dead,
            Self::AgentKilledPowerOff => Established::DeadInFlight,
            Self::Silent2s
            | Self::Readyz500
            | Self::Readyz403
            | Self::ReadyzSlow
            | Self::Drain0s
            | Self::Drain5s
            | Self::ControlPlane10s => Established::Alive,
        }
    }

    /// How long to look on: well beyond the goal, so that what misses it has its figure too.
    pub(super) fn window(self) -> Duration {
        Duration::from_millis(match self {
            Self::Crash | Self::Flapping => 1_500,
            Self::Silent2s | Self::Drain0s | Self::Readyz500 | Self::Readyz403 => 2_500,
            Self::PowerOff | Self::TwoOfThree | Self::ReadyzSlow => 3_000,
            Self::OneWayTo | Self::OneWayFrom | Self::Frozen | Self::AgentKilledPowerOff => 3_500,
            Self::PowerOffQuiet | Self::ControlPlane10s => 4_000,
            Self::Drain5s => 7_000,
        })
    }

    /// Whether the victim's own kernel ends its connections, whoever is in between.
    pub(in crate::bench) fn resets(self) -> bool {
        matches!(self, Self::Crash | Self::Flapping)
    }

    /// How long to look on where a peer is in the agent's place: beyond the slowest whose checks are answered or
    /// refused, which takes a server out by two of them 15 s apart.
    pub(in crate::bench) fn window_of_peers(self) -> Duration {
        Duration::from_secs(match self {
            Self::Silent2s | Self::ControlPlane10s => 10,
            Self::Flapping => 2,
            Self::Crash
            | Self::PowerOff
            | Self::PowerOffQuiet
            | Self::OneWayTo
            | Self::OneWayFrom
            | Self::Frozen
            | Self::Readyz500
            | Self::Readyz403
            | Self::ReadyzSlow
            | Self::Drain0s
            | Self::Drain5s
            | Self::AgentKilledPowerOff
            | Self::TwoOfThree => 35,
        })
    }

    /// When the Service loses a victim, from the fault on; none when it does not, or when all are gone.
    ///
    /// What kube-apiserver does by default: its lease, renewed every 10 s, lapses after 15 s, and each of those
    /// that live looks for lapsed ones every 10 s. One that is told to stop takes itself out at once. What is
    /// not ready stays in. How long the news take to kube-proxy is left out.
    pub(super) fn endpoint_removal(self, number: u64) -> Option<Duration> {
        let draw = |what: u32| {
            let draw = nllb_common::mix(what ^ u32::try_from(number).unwrap_or(0)) % 10_000;
            Duration::from_millis(draw.into())
        };
        let lapse = || Duration::from_secs(15) - draw(0x5bd1_e995);
        match self {
            Self::Crash
            | Self::PowerOff
            | Self::PowerOffQuiet
            | Self::OneWayTo
            | Self::OneWayFrom
            | Self::Frozen => Some(lapse() + draw(0x27d4_eb2f).min(draw(0x1656_67b1))),
            Self::TwoOfThree => Some(lapse() + draw(0x27d4_eb2f)),
            Self::Drain0s | Self::Drain5s => Some(Duration::ZERO),
            Self::Silent2s
            | Self::Readyz500
            | Self::Readyz403
            | Self::ReadyzSlow
            | Self::ControlPlane10s
            | Self::AgentKilledPowerOff
            | Self::Flapping => None,
        }
    }

    /// Lets it happen.
    pub(super) fn strike(self, rig: &Rig, victims: &[&ControlPlane]) -> Result<Struck> {
        let begun_ns = now_ns();
        let each = |strike: &dyn Fn(&ControlPlane) -> Result<()>| {
            victims.iter().try_for_each(|victim| strike(victim))
        };
        let mut over = None;
        match self {
            Self::Crash => each(&ControlPlane::crash)?,
            Self::PowerOff | Self::PowerOffQuiet | Self::AgentKilledPowerOff | Self::TwoOfThree => {
                // All cables first: emptying a host takes longer.
                each(&ControlPlane::unplug)?;
                each(&ControlPlane::power_off)?;
            }
            Self::Silent2s | Self::ControlPlane10s => {
                each(&ControlPlane::unplug)?;
                let silence = if self == Self::Silent2s { 2 } else { 10 };
                // reason: the fault lasts so long.
                sleep(Duration::from_secs(silence));
                over = Some(Over { at_ns: now_ns(), before: rig.mark()? });
                each(&ControlPlane::plug)?;
            }
            Self::OneWayTo => each(&|victim| victim.drop_to(true))?,
            Self::OneWayFrom => each(&|victim| victim.drop_from(true))?,
            Self::Frozen => each(&ControlPlane::freeze)?,
            Self::Readyz500 => each(&|victim| victim.readyz(Some(500)))?,
            Self::Readyz403 => each(&|victim| victim.readyz(Some(403)))?,
            Self::ReadyzSlow => each(&|victim| {
                victim.set_modes(|modes| {
                    (modes.slow_readyz, modes.readyz) = (READYZ_LATE, Some(500));
                })
            })?,
            Self::Drain0s => each(&|victim| victim.drain(Duration::ZERO))?,
            Self::Drain5s => each(&|victim| victim.drain(Duration::from_secs(5)))?,
            Self::Flapping => {
                each(&ControlPlane::crash)?;
                for _ in 1..FLAPS {
                    // reason: the fault is that it does so.
                    sleep(FLAP);
                    each(&ControlPlane::restart)?;
                    // reason: as above.
                    sleep(FLAP);
                    each(&ControlPlane::crash)?;
                }
            }
        }
        Ok(Struck { begun_ns, over })
    }

    /// Undoes it, unless it has ended by itself.
    pub(super) fn heal(self, victims: &[&ControlPlane]) -> Result<()> {
        for victim in victims {
            match self {
                Self::Crash | Self::Flapping => victim.restart()?,
                Self::PowerOff
                | Self::PowerOffQuiet
                | Self::AgentKilledPowerOff
                | Self::TwoOfThree => victim.power_on()?,
                Self::Silent2s | Self::ControlPlane10s => {}
                Self::OneWayTo => victim.drop_to(false)?,
                Self::OneWayFrom => victim.drop_from(false)?,
                Self::Frozen => victim.thaw()?,
                Self::Readyz500 | Self::Readyz403 => victim.readyz(None)?,
                Self::ReadyzSlow => victim.set_modes(|modes| {
                    (modes.slow_readyz, modes.readyz) = (Duration::ZERO, None);
                })?,
                Self::Drain0s | Self::Drain5s => {
                    victim.crash()?;
                    victim.restart()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_the_name_that_documents_use() {
        let names = Fault::ALL.map(|fault| fault.to_string());
        assert_eq!(names.len(), Fault::value_variants().len());
        for name in ["silent-2s", "readyz-500", "drain-0s", "control-plane-10s", "one-way-to"] {
            assert!(names.iter().any(|known| known == name), "{names:?}");
        }
    }

    #[test]
    fn a_lease_lapses_and_is_looked_for_within_25_seconds() {
        let seconds = |fault: Fault, number| fault.endpoint_removal(number).map(|d| d.as_secs());
        for number in 0..100 {
            assert!(seconds(Fault::Crash, number).is_some_and(|s| (5..25).contains(&s)));
        }
        assert_eq!(seconds(Fault::Drain0s, 1), Some(0));
        assert_eq!(seconds(Fault::Readyz500, 1), None);
    }

    #[test]
    fn every_server_is_struck_in_its_turn() {
        let victims = |fault: Fault| (0..4).map(|n| fault.victims(n, 3)).collect::<Vec<_>>();
        assert_eq!(victims(Fault::Crash), [[0], [1], [2], [0]]);
        assert_eq!(victims(Fault::TwoOfThree)[2], [2, 0]);
        assert_eq!(victims(Fault::Silent2s)[1], [1, 2, 0]);
    }
}
