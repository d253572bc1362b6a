//! The two words of health about a backend: the agent's verdict, and the kernel's evidence.

/// Health state of a backend, as the agent sees it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Not probed yet.
    Unknown = 0,
    /// Ready for connections.
    Healthy = 1,
    /// Alive, readiness not known or impaired; used when nothing better is there.
    Degraded = 2,
    /// Alive, but gets no new connections: not ready, shutting down, or drained by an operator.
    Draining = 3,
    /// Dead or unreachable.
    Unhealthy = 4,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::Healthy, Self::Degraded, Self::Draining, Self::Unhealthy];

    /// The word for it in status, logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The state that has this word.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.label() == label)
    }

    /// Whether a backend of this state may get new connections.
    #[must_use]
    pub const fn is_eligible(self) -> bool {
        match self {
            Self::Healthy | Self::Degraded => true,
            Self::Unknown | Self::Draining | Self::Unhealthy => false,
        }
    }

    /// Whether a backend of this state is known to be out of service. Who was not asked yet may be in it.
    #[must_use]
    pub const fn is_out(self) -> bool {
        match self {
            Self::Draining | Self::Unhealthy => true,
            Self::Unknown | Self::Healthy | Self::Degraded => false,
        }
    }
}

/// Value of VERDICT: the agent's word on a backend, in one aligned word.
///
/// Bits 0..3 state, 3 doubt, 8..16 band, 16..32 weight, 32..64 epoch.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(u64);

/// The bits of the state.
const STATE: u32 = 0b111;
/// The bit of the doubt.
const DOUBT: u64 = 0b1000;

#[expect(clippy::cast_possible_truncation, reason = "bit fields, in const")]
impl Verdict {
    /// A verdict on the backend that has `epoch`.
    #[must_use]
    pub const fn new(state: State, band: u8, weight: u16, epoch: u32) -> Self {
        Self(state as u64 | (band as u64) << 8 | (weight as u64) << 16 | (epoch as u64) << 32)
    }

    /// From the word in the map.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The same verdict with or without doubt: the agent's own suspicion, which de-prefers the backend
    /// exactly as the kernel's does, at once and without a change of state.
    #[must_use]
    pub const fn doubted(self, doubted: bool) -> Self {
        Self(self.0 & !DOUBT | if doubted { DOUBT } else { 0 })
    }

    /// Whether it is in doubt.
    #[must_use]
    pub const fn is_doubted(self) -> bool {
        self.0 & DOUBT != 0
    }

    /// Whether it is in doubt, as 1 or 0.
    #[inline(always)]
    #[must_use]
    pub const fn doubt_number(self) -> u32 {
        (self.0 >> DOUBT.trailing_zeros()) as u32 & 1
    }

    /// The word in the map.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The state; a number that is none reads as [`State::Unknown`].
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> State {
        match self.state_number() {
            1 => State::Healthy,
            2 => State::Degraded,
            3 => State::Draining,
            4 => State::Unhealthy,
            _ => State::Unknown,
        }
    }

    /// The number of the state, not checked to be one.
    #[inline(always)]
    #[must_use]
    pub const fn state_number(self) -> u32 {
        self.0 as u32 & STATE
    }

    /// Latency class, lowest first.
    #[inline(always)]
    #[must_use]
    pub const fn band(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Share within the band; 0 counts as 1.
    #[inline(always)]
    #[must_use]
    pub const fn weight(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Epoch of the backend it is about.
    #[inline(always)]
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
/// The bit of [`Evidence::suspect_until_ns`] that keeps it in force when a handshake ends well.
pub const SUSPECT_ANYWAY: u64 = 1;

/// Value of EVIDENCE: what the kernel saw of a backend. Written one word at a
/// time; the agent writes it as a whole only before it first uses the id for another backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Evidence {
    /// De-preferred until then, in nanoseconds of `CLOCK_MONOTONIC`; 0 when not suspect. Its lowest bit is
    /// [`SUSPECT_ANYWAY`].
    pub suspect_until_ns: u64,
    /// Last time a handshake was answered, a client's or a probe's, in nanoseconds of
    /// `CLOCK_MONOTONIC`.
    pub last_answer_ns: u64,
    /// Last time an event was written for it, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_event_ns: u64,
    /// Translated connections that are established now.
    pub active: u64,
    /// Translated connections established since the id was taken.
    pub established: u64,
    /// Failed connects in a row.
    pub fail_streak: u32,
    /// Smoothed round-trip time of handshakes from this host in microseconds; 0 when none was seen.
    pub srtt_us: u32,
    /// Epoch of the backend this is about.
    pub epoch: u32,
    /// Datagram sockets that were connected to it since the id was taken; it wraps.
    pub datagram_sockets: u32,
}

impl Evidence {
    /// Nothing seen yet of the backend that has `epoch`.
    #[must_use]
    pub const fn fresh(epoch: u32) -> Self {
        Self {
            suspect_until_ns: 0,
            last_answer_ns: 0,
            last_event_ns: 0,
            active: 0,
            established: 0,
            fail_streak: 0,
            srtt_us: 0,
            epoch,
            datagram_sockets: 0,
        }
    }
}

impl Evidence {
    /// Translated connections that are established now. Fewer than none, when an id got a new epoch while
    /// one was closing, count as none.
    #[inline(always)]
    #[must_use]
    pub const fn connections(&self) -> u64 {
        at_least_none(self.active)
    }
}

/// A count that programs on several CPUs add to and subtract from, without what is below zero.
#[inline(always)]
#[must_use]
pub const fn at_least_none(count: u64) -> u64 {
    // All ones when the sign bit is set: no branch, for the verifier's sake.
    count & !(0u64.wrapping_sub(count >> 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_verdict_keeps_its_fields_apart(
            state in 0..State::ALL.len(), band: u8, weight: u16, epoch: u32, doubted: bool
        ) {
            let state = State::ALL[state];
            let verdict = Verdict::new(state, band, weight, epoch).doubted(!doubted).doubted(doubted);
            let verdict = Verdict::from_word(verdict.word());
            prop_assert_eq!(verdict.is_doubted(), doubted);
            prop_assert_eq!(verdict.doubt_number(), u32::from(doubted));
            prop_assert_eq!(verdict.state(), state);
            prop_assert_eq!(verdict.band(), band);
            prop_assert_eq!(verdict.weight(), weight);
            prop_assert_eq!(verdict.epoch(), epoch);
        }
    }
}
