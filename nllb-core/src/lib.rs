//! Everything that nllb decides, without a clock, a socket or a thread.
//!
//! The driver of `nllb-agent` tells the [`Machine`] what happened (`handle_*`, always with the time
//! as a parameter), asks when to come back (`poll_timeout`), and carries out its commands
//! (`next_command`). So every decision can be replayed by a test to the nanosecond.
//!
//! The path of a probe result: [`pool`] takes it in, [`health`] turns outcomes into a state,
//! [`schedule`] says when to look again, [`eligible`] holds the certificate against each frontend,
//! [`table`] says what the kernel maps should hold, and [`mod@diff`] which writes lead there.

pub mod announce;
pub mod backend;
pub mod band;
pub mod command;
pub mod damping;
mod death;
pub mod diff;
pub mod doubt;
pub mod drain;
pub mod eligible;
pub mod expiry;
pub mod guests;
pub mod health;
mod heard;
mod histogram;
mod ids;
mod jitter;
pub mod maglev;
pub mod membership;
mod onset;
pub mod ownership;
mod ping;
pub mod pool;
pub mod rebalance;
pub mod remembered;
pub mod report;
pub mod rtt;
mod scale;
pub mod schedule;
mod sentinel;
pub mod services;
pub mod settings;
pub mod table;
pub mod version;
pub mod view;
pub mod vip;

pub use announce::{Announcement, Announcer, Told};
pub use backend::BackendId;
pub use command::{CloseCause, CloseOrder, Command, LONGEST_PAUSE, Question, Via};
pub use diff::{Change, diff};
pub use doubt::Doubt;
pub use drain::{Drain, DrainError, Drill, DrillEnd};
pub use eligible::{Eligibility, Reason};
pub use expiry::{Ending, Expiry, Urgency};
pub use health::{Direction, Run};
pub use histogram::Histogram;
pub use jitter::Jitter;
pub use membership::{Listing, Membership, Sighting, SourceId, SourceKind, SourceView};
pub use onset::Onset;
pub use pool::Machine;
pub use remembered::{Recollection, Remembered};
pub use report::{
    Answer, CertificateFacts, EvidenceFact, Outcome, ProbeReport, SentinelFact, SubjectName,
    TcpState,
};
pub use sentinel::retry_wait;
pub use services::{ServiceListing, Services};
pub use settings::{
    Coverage, FrontendKind, FrontendSettings, HealthSettings, OnEmpty, PoolSettings,
    RebalanceSettings, ScopeSetting, Settings, Standing, VersionSkew,
};
pub use table::{Table, TableError};
pub use version::{KubeVersion, VersionError};
pub use view::{
    BackendView, FrontendBackend, FrontendView, HistoryView, PoolView, ProbeSummary, SentinelView,
    View,
};
