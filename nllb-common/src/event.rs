//! What the kernel programs tell the agent through the ring buffer.
//!
//! Events are hints to look, never verdicts: they are rate-limited per backend and may be lost, so
//! nothing may depend on seeing one.

use crate::Counter;

/// What happened to a translated connection.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A SYN went unanswered for one retransmission timeout.
    SynSilence = 1,
    /// The connect was answered by a reset.
    ConnectReset = 2,
    /// The connect ended without an answer: the caller gave up, or an ICMP error came.
    ConnectAborted = 3,
    /// Data on an established connection went unanswered for two retransmission timeouts.
    DataSilence = 4,
    /// An established connection ended before any data came: the server closed or reset it, or the caller
    /// reset it.
    Unserved = 5,
    /// A datagram was sent again because no answer had come.
    DatagramSilence = 6,
}

impl EventKind {
    /// Every kind, in the order of the numbers, which begin with 1.
    pub const ALL: [Self; 6] = [
        Self::SynSilence,
        Self::ConnectReset,
        Self::ConnectAborted,
        Self::DataSilence,
        Self::Unserved,
        Self::DatagramSilence,
    ];

    /// The word for it in status and metrics: that of the counter which counts all of them.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SynSilence => Counter::SynSilence.label(),
            Self::ConnectReset => Counter::ConnectReset.label(),
            Self::ConnectAborted => Counter::ConnectAborted.label(),
            Self::DataSilence => Counter::DataSilence.label(),
            Self::Unserved => Counter::Unserved.label(),
            Self::DatagramSilence => Counter::DatagramSilence.label(),
        }
    }

    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::SynSilence),
            2 => Some(Self::ConnectReset),
            3 => Some(Self::ConnectAborted),
            4 => Some(Self::DataSilence),
            5 => Some(Self::Unserved),
            6 => Some(Self::DatagramSilence),
            _ => None,
        }
    }
}

/// One record of the EVENTS ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// An [`EventKind`] as its number.
    pub kind: u32,
    /// Id of the backend the connection was translated to.
    pub backend: u32,
    /// Epoch of that backend when the connection was translated.
    pub epoch: u32,
    /// Id of the frontend that was dialled.
    pub frontend: u32,
}

const _: () = assert!(size_of::<Event>() == 24 && align_of::<Event>() == 8);

impl Event {
    /// Reads a record of the ring buffer; `None` when it is shorter than an event.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_ne_bytes(*bytes.get(at..at + 4)?.first_chunk()?))
        };
        Some(Self {
            at_ns: u64::from_ne_bytes(*bytes.first_chunk()?),
            kind: word(8)?,
            backend: word(12)?,
            epoch: word(16)?,
            frontend: word(20)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_field_by_field_and_a_short_record_is_refused() {
        let mut bytes = std::vec::Vec::new();
        bytes.extend_from_slice(&7u64.to_ne_bytes());
        for word in [2u32, 3, 4, 5] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        let event = Event { at_ns: 7, kind: 2, backend: 3, epoch: 4, frontend: 5 };
        assert_eq!(Event::from_bytes(&bytes), Some(event));
        assert_eq!(Event::from_bytes(&bytes[..23]), None);
    }

    #[test]
    fn kinds_survive_the_round_trip_and_unknown_numbers_are_none() {
        for (kind, number) in EventKind::ALL.into_iter().zip(1..) {
            assert_eq!(kind as u32, number);
            assert_eq!(EventKind::from_number(kind as u32), Some(kind));
        }
        assert_eq!(EventKind::from_number(0), None);
    }
}
