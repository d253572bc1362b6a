//! What becomes of a node's connections when servers are sick: dead, half dead, or only not well.
//!
//! | observed | new connects | established |
//! |---|---|---|
//! | TCP silent, or pings unanswered | leave at once | closed when confirmed |
//! | pings answered, but not ready, slow or stopping | leave at once | stay |
//! | all servers at once | the best that is there | stay |
//!
//! The times are measured by `cargo xtask bench failover`; here it is about what happens and what
//! does not. Bounds are generous, for machines that do much else meanwhile.

mod alive;
mod alone;
mod dead;
mod everybody;
mod scene;
mod weak;
