//! Where a kubeconfig says that an API server is.

use super::KubeconfigProblem;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The port of https.
const HTTPS: u16 = 443;

/// `https://host[:port][/]`; the port of https when there is none.
pub(super) struct Server<'a> {
    /// Without brackets.
    pub(super) host: &'a str,
    pub(super) port: u16,
}

impl<'a> Server<'a> {
    pub(super) fn parse(key: &str, found: &'a str) -> Result<Self, KubeconfigProblem> {
        let bad = || KubeconfigProblem::Server { key: key.to_owned(), found: found.to_owned() };
        let rest = found.strip_prefix("https://").ok_or_else(bad)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '@', '?', ' ']) {
            return Err(bad());
        }
        let port = authority.rsplit_once(':').and_then(|(host, port)| {
            let whole = host.ends_with(']') || !host.contains(':');
            Some((host, port.parse().ok()?)).filter(|_| whole)
        });
        let (host, port) = port.unwrap_or((authority, HTTPS));
        Ok(Self { host: host.trim_matches(['[', ']']), port })
    }
}

/// Its addresses, as this host resolves names.
pub(super) fn resolve(server: &Server<'_>) -> io::Result<Vec<SocketAddr>> {
    let addresses = (server.host, server.port).to_socket_addrs()?;
    Ok(addresses.map(|found| SocketAddr::new(found.ip().to_canonical(), found.port())).collect())
}
