//! Where backends come from, besides the configuration itself.
//!
//! Every adapter is a task that watches a source and sends [`News`] when it has heard from it, or when
//! that fails. A list as before is welcome: it says that the source is alive. What follows is decided in
//! `nllb_core::membership`.

pub mod kubeconfig;

use nllb_core::{Listing, SourceId};
use tokio::sync::mpsc;

/// How much news may wait for the driver, which takes each within microseconds; an adapter that
/// meets a full channel waits, since what it would say next is newer anyway.
pub const DEPTH: usize = 16;

/// Where adapters send their news. A closed channel means that nobody listens any more: the adapter
/// ends.
pub type Sender = mpsc::Sender<News>;

/// What an adapter has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Who says it.
    pub source: SourceId,
    /// What it says.
    pub what: What,
}

/// What can be said of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// All that it lists now. An empty list never empties a pool.
    Listed(Listing),
    /// It could not be asked, or its answer made no sense: what it listed before stays.
    Failed {
        /// Why, in one line without the name of the source, ending in what to do when that is known.
        reason: String,
    },
}
