//! An API server that behaves like kube-apiserver where nllb can see it.
//!
//! The real binary cannot be had everywhere and takes seconds to start, so the lab has its own. It
//! copies what was measured on kube-apiserver 1.20 and 1.36: starting up it refuses, then answers
//! 403, then 500, then 200; on SIGTERM the listener closes while established watches go on; with a
//! shutdown delay `/readyz` fails at once and everything else is served until the delay ends.
//!
//! It speaks HTTP/2 to those who offer it by ALPN, and then answers pings and says GOAWAY before it
//! stops: first for no stream at all (the last id there can be), and once the client has answered
//! a ping with the last stream it serves, so that no request under way is lost.
//!
//! Objects (EndpointSlices, Services and pods) are listed and watched as at the
//! real one, with resource versions, bookmarks, timeouts and 410. All servers of a lab are told the same
//! objects with the same version, so a client may go on at another where it left off.
//!
//! Leases are in a database that all servers share (`leases`), and a write of one names the version that it replaces.
//!
//! One process per host: a crash is SIGKILL and a freeze is SIGSTOP, as in life.

mod cluster;
mod collections;
mod connection;
mod control;
mod http;
mod leases;
mod lifecycle;
mod objects;
mod pings;
mod ports;
mod settings;
mod state;
mod watches;

use std::path::Path;

use anyhow::{Context, Result};

pub use control::{Request, ask};
pub use objects::{Endpoint, Objects, Offer, Replica, pod};
pub use ports::{Port, Speaks};
pub use settings::{Api, Modes, Service, Settings, Startup, VERSION};
pub use state::Stats;

/// The port of TLS, as kube-apiserver's. Raw clients may use it too, see [`ASK_NAME`].
pub const TLS_PORT: u16 = 6443;
/// The port that greets everyone with the server's name in plain text and closes.
pub const PLAIN_PORT: u16 = 6444;
/// Sent instead of a TLS handshake: the server answers with its name and closes.
pub const ASK_NAME: u8 = b'N';
/// Sent instead of a TLS handshake: the server answers with its name, then echoes what it gets.
pub const ASK_ECHO: u8 = b'E';
/// Sent instead of a TLS handshake, with a number of eight bytes, the highest first: the server sends so many
/// bytes and closes.
pub const ASK_BULK: u8 = b'B';

/// Runs a server until it is told to stop. `settings` is a file with [`Settings`] as JSON.
pub fn run(settings: &Path) -> Result<()> {
    let text = std::fs::read_to_string(settings)
        .with_context(|| format!("cannot read {}", settings.display()))?;
    let settings: Settings =
        serde_json::from_str(&text).context("the settings are not what this version writes")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lifecycle::serve(settings))
}
