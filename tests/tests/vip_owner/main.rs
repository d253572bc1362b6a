//! Who answers for the control-plane VIP, as clients outside of the control plane feel it: three members that each run an agent,
//! and a client on the same network.

mod ecmp;
mod lease;

use nllb_lab::vip_stage::{Stage, VIP, vip};
