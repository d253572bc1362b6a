//! What can go wrong between the agent and the API server, each in words for an operator.
//!
//! A reason stays the same as long as its cause does, since it is told once for each.

use super::identity::IdentityError;
use crate::text::printable;
use rustls::{CertificateError, Error as TlsError};
use std::io;
use std::net::SocketAddr;

/// Why a list or a watch did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0} cannot be reached ({1})")]
    Connect(SocketAddr, #[source] io::Error),
    #[error("\"{0}\" is no server name: set controlPlane.kubernetes.serverName to a DNS name")]
    ServerName(String),
    #[error("no TLS with the API server: {0}")]
    Tls(#[source] io::Error),
    #[error(
        "the API server's certificate is not valid yet: look at the clocks of this host and of the \
         one that signed it"
    )]
    NotValidYet,
    #[error("the API server's certificate has expired, unless the clock of this host is wrong")]
    Expired,
    #[error("the API server's certificate is of an authority that {0} does not hold")]
    UnknownAuthority(String),
    #[error(
        "the API server's certificate is not for \"{0}\": set controlPlane.kubernetes.serverName \
         to a name that it carries"
    )]
    NotForName(String),
    #[error("no HTTP with the API server: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made: {0}")]
    Request(#[source] kube::core::request::Error),
    #[error("the API server did not answer in time")]
    Silent,
    #[error("401: it does not accept the credentials, which are read again at every try")]
    Unauthorized,
    #[error("403: allow the account to list and watch them ({0})")]
    Forbidden(String),
    #[error("410: the version to watch from is gone")]
    Gone,
    #[error("the API server answered {0} {1}")]
    Status(u16, String),
    #[error("the answer is longer than {0} bytes, which no honest one is")]
    TooLong(usize),
    #[error("the answer makes no sense: {0}")]
    Nonsense(#[source] serde_json::Error),
}

impl Trouble {
    /// A handshake that failed; `place` holds the authority.
    pub(super) fn of_handshake(error: io::Error, server_name: &str, place: &str) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        let certificate = match inner {
            Some(TlsError::InvalidCertificate(certificate)) => certificate,
            Some(_) | None => return Self::Tls(error),
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "the others speak for themselves")]
        match certificate {
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotValidYet
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::UnknownIssuer => Self::UnknownAuthority(place.to_owned()),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::NotForName(server_name.to_owned())
            }
            _ => Self::Tls(error),
        }
    }

    /// An answer or an event that is an error.
    pub(super) fn of_status(code: u16, message: &str) -> Self {
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(printable(message)),
            410 => Self::Gone,
            _ => Self::Status(code, printable(message)),
        }
    }

    /// In one line, with what was asked for.
    pub(super) fn reason(&self, plural: &str) -> String {
        // What others said is in some of the messages.
        printable(&format!("{plural}: {self}"))
    }
}
