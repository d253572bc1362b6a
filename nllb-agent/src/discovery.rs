//! Where backends come from, besides the configuration itself.

pub mod kubeconfig;
