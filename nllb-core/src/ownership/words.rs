//! What the machine is told and what it tells: the Lease, requests and what came of them, answers for the VIP, and changes
//! of ownership.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Unfit;

/// The Lease as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its resourceVersion: another with each write.
    pub version: String,
    /// Who holds it; empty for nobody.
    pub holder: String,
    /// How long a holder stays one that does not renew it.
    pub duration: Duration,
    /// The object as it was read, for the writer, who keeps what others wrote into it.
    pub object: Arc<str>,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It went through; this is the object now.
    Done(Record),
    /// There is another version, or one where none was.
    Conflict,
    /// There is no such object.
    Absent,
    /// It was not allowed.
    Refused,
    /// No answer, or another error: it may have gone through.
    Failed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read the Lease from the database, and tell [`super::Ownership::handle_read`]. At most one request is under way.
    Read {
        /// Give up after this time.
        patience: Duration,
    },
    /// Write it, and tell [`super::Ownership::handle_written`].
    Write(Write),
    /// Answer for the VIP like this from now on.
    Answer(Answer),
    /// Somebody should hear of this.
    Tell(Notice),
}

/// A write of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What it replaces, and only this version of it; `None` makes a new one.
    pub base: Option<Record>,
    /// The new holder; empty for nobody.
    pub holder: String,
    /// Whether this holder had it not before.
    pub acquired: bool,
    /// Give up after this time.
    pub patience: Duration,
}

/// Whether to answer for the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not at all.
    No,
    /// Until then, and no longer whatever happens.
    Until(Instant),
    /// Until somebody else is heard to answer: nobody else was fit, and this agent ends.
    Always,
}

/// A change of ownership as this node saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This node owns the VIP.
    Took {
        /// Whose it was; `None` when nobody's, or this node's own before.
        from: Option<String>,
    },
    /// It does not any more, and did not want that.
    Lost(Loss),
    /// It gave it away.
    Released {
        /// Why.
        why: Unfit,
    },
}

/// How the VIP was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The lease could not be renewed in time.
    Expired,
    /// Another holds the lease; empty when somebody took the holder out of it.
    Taken(String),
}

/// What can be seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnershipView {
    /// Who holds the lease, as last seen; `None` when nobody or not known.
    pub holder: Option<String>,
    /// Since when this node owns the VIP; `None` when it does not.
    pub since: Option<Instant>,
    /// Until when it does unless it renews the lease.
    pub until: Option<Instant>,
    /// Why this node should not own it; `None` when it may.
    pub unfit: Option<Unfit>,
    /// Whether the lease was ever seen, or that there is none.
    pub known: bool,
}
