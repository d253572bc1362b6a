//! The `admin` and `http` sections: where the agent itself can be asked.

use super::address::{absolute, socket_address};
use super::error::{Fault, Problem};
use super::place::{At, Place};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where `nllb status` looks when it is told nothing else.
pub const DEFAULT_SOCKET: &str = "/run/nllb/admin.sock";
const DEFAULT_PORT: u16 = 7473;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawAdmin {
    socket: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawHttp {
    listen: Option<Spanned<String>>,
}

/// The root-only unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Its path.
    pub socket: PathBuf,
}

/// The listener for metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// A loopback address.
    pub listen: SocketAddr,
}

impl Admin {
    pub(super) fn check(document: &Place, raw: Option<At<RawAdmin>>) -> Result<Self, Fault> {
        let (place, RawAdmin { socket }) = match raw {
            Some(At { place, value }) => (place, value),
            None => (document.named("admin"), RawAdmin::default()),
        };
        let socket = match place.optional("socket", socket) {
            Some(raw) => raw.check(absolute(DEFAULT_SOCKET))?.value,
            None => PathBuf::from(DEFAULT_SOCKET),
        };
        Ok(Self { socket })
    }
}

impl Http {
    pub(super) fn check(document: &Place, raw: Option<At<RawHttp>>) -> Result<Self, Fault> {
        let (place, RawHttp { listen }) = match raw {
            Some(At { place, value }) => (place, value),
            None => (document.named("http"), RawHttp::default()),
        };
        let listen = match place.optional("listen", listen) {
            Some(raw) => raw.check(listen_address)?.value,
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
        };
        Ok(Self { listen })
    }
}

fn listen_address(found: String) -> Result<SocketAddr, Problem> {
    // The unspecified address is an open listener too, and that is the better thing to say.
    match found.parse::<SocketAddr>() {
        Ok(address) if !address.ip().to_canonical().is_loopback() => {
            Err(Problem::OpenListener { address })
        }
        Ok(_) | Err(_) => socket_address(found).map_err(|problem| {
            let Problem::NoPort { found, .. } = problem else {
                return problem;
            };
            Problem::NoPort { example: format!("{found}:{DEFAULT_PORT}"), found }
        }),
    }
}
