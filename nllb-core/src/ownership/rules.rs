//! How long what may take, as parts of the lease's duration, and why a node is not fit.

use std::time::Duration;

/// How long who is not fit keeps the lease before it asks again whether another wants it. Each time nobody answers
/// for a moment, so seldom.
pub(super) const OFFER_AGAIN: Duration = Duration::from_secs(60);
/// The longest duration of another's that is believed: the longest that can be configured.
const LONGEST: Duration = Duration::from_secs(60);
/// How long who is not fit leaves a free lease to others, at most.
const COURTESY: Duration = Duration::from_millis(500);

/// Who this node is and how long a lease holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What this node writes as holder.
    pub me: String,
    /// How long a holder stays one that does not renew.
    pub duration: Duration,
}

impl Rules {
    /// From the start of a renewal an owner answers for so long. What is missing to the duration is the margin for
    /// clocks that do not run at the same rate.
    pub(super) fn held(&self) -> Duration {
        self.duration - self.duration / 10
    }

    /// How long another's lease holds that is seen unchanged.
    pub(super) fn held_by_other(&self, theirs: Duration) -> Duration {
        self.duration.max(theirs.min(LONGEST))
    }

    /// From the start of one renewal to the next.
    pub(super) fn renewal(&self) -> Duration {
        self.duration / 4
    }

    /// How long a request may take: with three that are never answered the deadline is not reached.
    pub(super) fn patience(&self) -> Duration {
        self.duration / 5
    }

    /// The pause after a request that failed.
    pub(super) fn retry(&self, waiting: bool) -> Duration {
        self.duration / if waiting { 8 } else { 40 }
    }

    /// How long who is not fit leaves a free lease to those who are.
    pub(super) fn courtesy(&self) -> Duration {
        (self.duration / 2).min(COURTESY)
    }
}

/// Why a node should not own the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its data path for the VIP is not attached, or does not work.
    DataPath,
    /// None of the backends is on this node.
    NotMember,
    /// Its own API server is dead.
    ApiServer,
    /// Its own API server is drained.
    Drained,
    /// Its agent ends.
    Leaving,
}

impl Unfit {
    /// The word for it in status and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::DataPath => "data-path",
            Self::NotMember => "not-a-member",
            Self::ApiServer => "api-server",
            Self::Drained => "drained",
            Self::Leaving => "leaving",
        }
    }

    /// It in words.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::DataPath => "the data path of the VIP is not in place",
            Self::NotMember => "no backend of the pool is on this node",
            Self::ApiServer => "the API server of this node is dead",
            Self::Drained => "the API server of this node is drained",
            Self::Leaving => "the agent ends",
        }
    }

    /// Whether it could own the VIP all the same, if nobody else does.
    #[must_use]
    pub const fn can_answer(self) -> bool {
        match self {
            Self::DataPath | Self::NotMember => false,
            Self::ApiServer | Self::Drained | Self::Leaving => true,
        }
    }
}
