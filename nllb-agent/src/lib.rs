//! The nllb agent: probes the API servers and keeps the BPF maps true.
//!
//! Adapters (config, discovery, probe, admin, metrics) do the I/O and never import each other; the
//! driver joins them to the core, which decides.

pub mod config;
pub mod discovery;
pub mod health_check;
mod load;
pub mod probe;
mod yaml;
pub mod admin;
pub mod exit;
mod serve;
pub mod status;
pub mod telemetry;
pub mod http;
pub mod metrics;
pub mod relay;
pub mod reload;
