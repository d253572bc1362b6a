//! What several parts of the machine do together: versions, latency bands, rebalancing and
//! what the next agent takes over.

mod heir;
mod node;
mod shares;
mod versions;
