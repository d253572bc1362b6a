//! Nodes as the distributions make them: with a load balancer of their own that nllb takes over and gives back,
//! with a server that is dead when the node joins, and while the control plane is upgraded.

mod initial;
mod joining;
mod rolling;
mod takeover;
