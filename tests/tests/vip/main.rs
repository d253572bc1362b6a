//! The control-plane VIP: clients outside the node, and three hosts that serve it.

mod driver;
mod faults;
mod frames;
mod life;
mod packets;
mod scene;
mod told;
mod tunnels;
