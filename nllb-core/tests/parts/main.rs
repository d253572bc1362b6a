//! What several parts of the machine do together: versions, latency bands and rebalancing.

mod node;
mod shares;
mod versions;
