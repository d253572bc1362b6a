//! What several parts of the machine do together: versions, the number of nodes, latency bands,
//! rebalancing and what the next agent takes over.

mod census;
mod heir;
mod node;
mod shares;
mod versions;
