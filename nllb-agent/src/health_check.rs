//! The rules of a probe as they are configured: what to ask, how long to wait, whom to trust.
//!
//! No adapter owns these types: config and discovery produce them, the probe follows them.

mod kind;

pub use kind::{Accept, Dns, Get, HealthPort, Kind, Rcode};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a probe of one pool does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked, and over what.
    pub kind: Kind,
    /// The port that is asked instead of the backend's own.
    pub port: Option<u16>,
    /// A second port, which may only object.
    pub health_port: Option<HealthPort>,
    /// Whether the backends are API servers, which can be asked for versions and nodes.
    pub is_api: bool,
    /// Limit of the whole probe; the TCP connect gets half of it.
    pub timeout: Duration,
    /// Whom to trust and who to be.
    pub credentials: Credentials,
}

impl HealthCheck {
    /// Where the backend at `address` is asked.
    #[must_use]
    pub fn target(&self, address: SocketAddr) -> SocketAddr {
        SocketAddr::new(address.ip(), self.port.unwrap_or(address.port()))
    }
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some(port) = self.port {
            write!(f, " on port {port}")?;
        }
        if let Some(HealthPort { port, path }) = &self.health_port {
            write!(f, ", health port {port} {path}")?;
        }
        Ok(())
    }
}

/// Whom the probe trusts and who it claims to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Authorities that may sign a server certificate.
    pub authority: Option<Material>,
    /// Name the certificate must carry; the backend's IP address when `None`.
    pub server_name: Option<String>,
    /// Client certificate chain and its key.
    pub client: Option<ClientIdentity>,
    /// Bearer token.
    pub token: Option<Material>,
    /// Accept any server certificate. Its names are still read.
    pub insecure_skip_verify: bool,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM chain, leaf first.
    pub certificate: Material,
    /// PEM private key.
    pub key: Material,
}

/// A piece of PEM or a token: in a file, which may change, or given in place.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// Read again when the file has changed.
    File(PathBuf),
    /// Given in place.
    Inline(Vec<u8>),
}

impl Material {
    /// The file, when there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }
}

impl fmt::Debug for Material {
    /// Names the file; the content is a secret and never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
        }
    }
}

/// Whether this is PEM with at least one certificate and no broken one, as a chain must be.
pub(crate) fn holds_chain(pem: &[u8]) -> bool {
    let mut certificates = CertificateDer::pem_slice_iter(pem).peekable();
    certificates.peek().is_some() && certificates.all(|certificate| usable(certificate.ok()))
}

/// Whether this is PEM with at least one certificate that can be used. Authorities do not depend on
/// each other, so one that is broken does no harm to the rest.
pub(crate) fn holds_authority(pem: &[u8]) -> bool {
    CertificateDer::pem_slice_iter(pem).any(|certificate| usable(certificate.ok()))
}

fn usable(certificate: Option<CertificateDer<'_>>) -> bool {
    certificate.is_some_and(|der| x509_parser::parse_x509_certificate(&der).is_ok())
}
