//! The journal: what happened to the control plane as this node saw it, for who asks afterwards.
//!
//! The log tells more and is kept by others, or by nobody; this is little, bounded, outlives the agent and
//! a reboot, and says of each thing why and how long. What is worth an entry is decided by [`Chronicle`],
//! purely; [`Feed`] has the newest in memory for who asks; [`disk`] keeps them. The driver joins these, and
//! no disk ever holds it.

mod chronicle;
pub mod disk;
mod entry;
mod feed;
mod past;

pub use chronicle::{Chronicle, Moment, Pools, Transition};
pub use disk::{Ignored, WriteError};
pub use entry::{AttachState, ConfigOutcome, Entry, VipChange, What, short};
pub use feed::{Events, Feed, LONGEST_WAIT};
pub use past::Past;
