//! Where backends come from, besides the configuration itself.
//!
//! Every adapter is a task that watches a source and sends [`News`] when it has heard from it, or when
//! that fails. A list as before is welcome: it says that the source is alive. What follows is decided in
//! `nllb_core::membership`.
//!
//! Files, kubeconfigs and DNS names are looked at: when they change or when what they said is no longer
//! good (`look`).

mod dns;
mod file;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
pub mod kubeconfig;
pub mod kubernetes;
mod look;

pub use look::{Place, watch};

use nllb_core::guests::PodAddress;
use nllb_core::{Listing, ServiceListing, Sighting, SourceId};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
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
    /// What it lists as far as that could be had.
    Partly {
        /// The list.
        listing: Listing,
        /// What is wrong with the rest, as below.
        reason: String,
    },
    /// All that a Service offers now. One that is gone offers nothing.
    Service(ServiceListing),
    /// All addresses of this node's pods.
    Pods(Vec<PodAddress>),
    /// The zone of this node, if it has one.
    Zone(Option<Arc<str>>),
    /// It could not be asked, or its answer made no sense: what it listed before stays.
    Failed {
        /// Why, in one line without the name of the source, ending in what to do when that is known.
        reason: String,
    },
}

/// What one look at a source gave.
#[derive(Debug, Default)]
struct Looked {
    sightings: Vec<Sighting>,
    /// What is wrong with a part of it, in one line.
    wrong: Option<String>,
    /// How long that is good; `None` until it changes.
    good_for: Option<Duration>,
}

/// Far more than any list of hosts or resolver configuration takes.
const LARGEST: u64 = 256 << 10;

/// The text of a file, unless it is larger than that.
fn text_of(file: &Path, largest: u64) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(largest + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > largest => Err(format!("it has more than {largest} bytes")),
        Ok(_) => Ok(text),
        Err(error) => {
            Err(format!("it cannot be read ({error}): check the path and its permissions"))
        }
    }
}

/// A line that is no address.
struct BadLine<'a> {
    number: usize,
    text: &'a str,
}

impl fmt::Display for BadLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, text } = self;
        let shown: String = text.chars().take(80).collect();
        write!(
            f,
            "line {number}: {shown:?} is not a host's address: write it like 10.0.0.11 or 10.0.0.11:6443"
        )
    }
}
