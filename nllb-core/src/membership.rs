//! Who the control-plane hosts are, when several sources say it.

mod source;

pub use source::{Listing, Sighting, SourceId, SourceKind};
