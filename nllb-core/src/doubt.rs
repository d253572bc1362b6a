//! Doubt: the agent's own suspicion of a backend, in the verdict word beside the state.
//!
//! A state needs several outcomes in a row, because leaving it costs clients something. Preferring
//! somebody else for a moment costs nothing, so it needs one sign only, and goes with the first answer.
//! The kernel's evidence is the same from the other side; this one sees a death when nobody connects.

use std::fmt;

/// Why a backend is doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// A ping is overdue.
    Ping,
    /// A probe is overdue, or one over the sentinel ended without an answer.
    Probe,
    /// The sentinel ended, and no probe was answered since.
    SentinelEnded,
    /// The last probes failed.
    Failing,
    /// It was doubted or out of service before this agent started.
    Before,
}

impl Doubt {
    /// The words for it in status and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ping => "a ping is overdue",
            Self::Probe => "a probe is overdue",
            Self::SentinelEnded => "its sentinel ended",
            Self::Failing => "its last probes failed",
            Self::Before => "it was in doubt before the agent started",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Doubts that last until something is answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Doubts {
    /// Of the ping: any answer ends it.
    ping: bool,
    /// Of anything else: only a probe that was answered well ends it.
    lasting: Option<Doubt>,
}

impl Doubts {
    /// Takes a doubt.
    pub(crate) const fn raise(&mut self, doubt: Doubt) {
        match doubt {
            Doubt::Ping => self.ping = true,
            Doubt::Probe | Doubt::SentinelEnded | Doubt::Failing | Doubt::Before => {
                self.lasting = Some(doubt);
            }
        }
    }

    /// A ping was answered.
    pub(crate) const fn ponged(&mut self) {
        self.ping = false;
    }

    /// A probe was answered well, or the doubt no longer matters.
    pub(crate) const fn clear(&mut self) {
        *self = Self { ping: false, lasting: None };
    }

    /// What there is, the heavier first.
    pub(crate) fn any(self) -> Option<Doubt> {
        self.lasting.or_else(|| self.ping.then_some(Doubt::Ping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pong_ends_the_doubt_of_a_ping_and_no_other() {
        let mut doubts = Doubts::default();
        assert_eq!(doubts.any(), None);
        doubts.raise(Doubt::Ping);
        assert_eq!(doubts.any(), Some(Doubt::Ping));
        doubts.raise(Doubt::Probe);
        doubts.ponged();
        assert_eq!(doubts.any(), Some(Doubt::Probe));
        doubts.clear();
        assert_eq!(doubts.any(), None);
    }
}
