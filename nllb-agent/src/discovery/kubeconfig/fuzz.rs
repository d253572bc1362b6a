//! For fuzz targets: a kubeconfig without a resolver. Only addresses are known, as if no DNS server answered.

use super::{Known, Kubeconfig, KubeconfigError, Server};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Reads the text of the kubeconfig at `file`.
///
/// # Errors
/// As [`super::load`].
pub fn read(text: &str, file: &Path, known: Known<'_>) -> Result<Kubeconfig, KubeconfigError> {
    super::read(text, file, known, addresses_only)
        .map_err(|problem| KubeconfigError { file: file.to_owned(), problem })
}

fn addresses_only(server: &Server<'_>) -> io::Result<Vec<SocketAddr>> {
    let address: IpAddr = server.host.parse().map_err(io::Error::other)?;
    Ok(vec![SocketAddr::new(address.to_canonical(), server.port)])
}
