//! What is aimed at, per fault: the 99th percentile, the client's own wake-up included.

use super::fault::Fault;

/// The goals of a fault; none where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Goals {
    /// The blackout of new connects, in milliseconds.
    pub(super) blackout_ms: Option<f64>,
    /// Until new connects have left a server that still answers them, in milliseconds.
    pub(super) leave_ms: Option<f64>,
    /// Failed connects of a client.
    pub(super) failed: Option<u32>,
    /// Until established connections are closed, in milliseconds.
    pub(super) closed_ms: Option<f64>,
}

/// What the agent may cost.
pub(super) const RSS_MIB: f64 = 10.0;
pub(super) const CPU_PERCENT: f64 = 0.2;
pub(super) const READYZ_PER_SECOND: f64 = 1.2;
pub(super) const PINGS_PER_SECOND: f64 = 2.0;

impl Fault {
    pub(super) fn goals(self) -> Goals {
        let none = Goals::default();
        match self {
            Self::Crash => Goals { blackout_ms: Some(5.0), failed: Some(1), ..none },
            Self::PowerOff => Goals {
                blackout_ms: Some(500.0),
                failed: Some(1),
                closed_ms: Some(1_500.0),
                ..none
            },
            Self::PowerOffQuiet => Goals { closed_ms: Some(2_500.0), ..none },
            Self::Silent2s => Goals { blackout_ms: Some(500.0), ..none },
            Self::OneWayTo | Self::OneWayFrom | Self::Frozen => {
                Goals { blackout_ms: Some(1_000.0), closed_ms: Some(2_000.0), ..none }
            }
            Self::Readyz500 | Self::Readyz403 | Self::ReadyzSlow => {
                Goals { leave_ms: Some(1_500.0), failed: Some(0), ..none }
            }
            Self::Drain0s => Goals { failed: Some(1), ..none },
            Self::Drain5s => Goals { failed: Some(0), ..none },
            Self::ControlPlane10s => Goals { blackout_ms: Some(1_000.0), ..none },
            Self::AgentKilledPowerOff => {
                Goals { failed: Some(1), closed_ms: Some(2_000.0), ..none }
            }
            Self::TwoOfThree | Self::Flapping => none,
        }
    }
}
