//! The nllb agent: probes the API servers and keeps the BPF maps true.
//!
//! Adapters (config, discovery, network, probe, datapath, admin, metrics, state) do the I/O and never import
//! each other; the driver joins them to the core, which decides.

// Fuzz targets reach neither the command line nor the driver, which are half of what there is to be compiled.
#![cfg_attr(feature = "fuzzing", expect(dead_code, reason = "those are who calls the rest"))]

pub mod admin;
#[cfg(not(feature = "fuzzing"))]
pub mod cli;
pub mod config;
pub mod confine;
pub mod datapath;
pub mod discovery;
pub mod doctor;
pub mod drain;
#[cfg(not(feature = "fuzzing"))]
pub mod driver;
pub mod exit;
mod file_watch;
pub mod health_check;
mod heap;
pub mod init;
pub mod journal;
pub mod limits;
pub mod metrics;
pub mod network;
pub mod probe;
pub mod relay;
pub mod reload;
pub mod reserved;
mod serve;
pub mod service_manager;
mod shutdown;
pub mod state;
pub mod status;
pub mod takeover;
pub mod telemetry;
mod text;
mod units;
mod yaml;
