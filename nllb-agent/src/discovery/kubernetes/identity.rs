//! Whom to trust and who to be: a service account's directory, or a kubeconfig.
//!
//! Files are read for every connection, and the token for every request. Both are rare, and so whatever
//! rotates them, a kubelet or a projected volume, needs no watching.

use crate::discovery::kubeconfig::{self, KubeconfigError};
use crate::health_check::{ClientIdentity, Credentials, Material};
use hyper::header::{HeaderValue, InvalidHeaderValue};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a pod has its service account.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A directory with `ca.crt` and `token`, usually [`SERVICE_ACCOUNT`].
    ServiceAccount(PathBuf),
    /// The current context of a kubeconfig.
    Kubeconfig(PathBuf),
}

/// Why credentials cannot be used. The line ends in what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The kubeconfig is at fault.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// A file cannot be read.
    #[error("{}: cannot be read ({source}): check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is not PEM, or not what it should be.
    #[error("{place}: {what} is not usable PEM ({source}): copy it again")]
    Pem {
        /// The file, or where the data stands.
        place: String,
        /// What was read.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Nobody to trust.
    #[error("{place}: no usable certificate authority: give the cluster's, in PEM")]
    NoAuthority {
        /// The file, or the kubeconfig.
        place: String,
    },
    /// An identity that is not to be sent to just anybody.
    #[error(
        "{}: insecure-skip-tls-verify would give these credentials to anybody: \
         use certificate-authority instead",
        file.display()
    )]
    Insecure {
        /// The kubeconfig.
        file: PathBuf,
    },
    /// A client certificate and key that do not go together, or an unusable set-up.
    #[error("{place}: the client certificate cannot be used ({source}): renew it")]
    Client {
        /// The file, or the kubeconfig.
        place: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A token with characters that no header takes.
    #[error("{place}: the bearer token cannot be sent ({source}): write it again")]
    Token {
        /// The file, or the kubeconfig.
        place: String,
        /// Why.
        #[source]
        source: InvalidHeaderValue,
    },
}

/// What one connection is made with.
pub(super) struct Access {
    pub(super) tls: Arc<ClientConfig>,
    token: Option<Material>,
    /// For messages about what is not in a file.
    place: String,
}

impl Identity {
    /// Where it comes from, for messages.
    pub(super) fn place(&self) -> &Path {
        match self {
            Self::ServiceAccount(path) | Self::Kubeconfig(path) => path,
        }
    }

    /// The credentials, which could be used just now. Blocks on files.
    ///
    /// # Errors
    /// One line that names the file and what to do.
    pub fn usable(&self) -> Result<Credentials, IdentityError> {
        self.access()?.authorization()?;
        self.credentials()
    }

    fn credentials(&self) -> Result<Credentials, IdentityError> {
        match self {
            Self::Kubeconfig(file) => {
                let credentials = kubeconfig::identity(file)?;
                if credentials.insecure_skip_verify {
                    return Err(IdentityError::Insecure { file: file.clone() });
                }
                Ok(credentials)
            }
            Self::ServiceAccount(directory) => Ok(Credentials {
                authority: Some(Material::File(directory.join("ca.crt"))),
                token: Some(Material::File(directory.join("token"))),
                ..Credentials::default()
            }),
        }
    }

    /// The credentials as the files hold them now.
    pub(super) fn access(&self) -> Result<Access, IdentityError> {
        let Credentials { authority, server_name: _, client, token, insecure_skip_verify: _ } =
            self.credentials()?;
        let own = self.place().display().to_string();
        let place = |material: &Material| {
            material.path().map_or_else(|| own.clone(), |path| path.display().to_string())
        };
        let mut roots = RootCertStore::empty();
        if let Some(authority) = &authority {
            // One that cannot be used does no harm to the rest.
            let pem = read(authority)?;
            let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            roots.add_parsable_certificates(certificates);
        }
        if roots.is_empty() {
            let place = authority.as_ref().map_or_else(|| own.clone(), place);
            return Err(IdentityError::NoAuthority { place });
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable = |source| IdentityError::Client { place: own.clone(), source };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots);
        let mut tls = match &client {
            None => builder.with_no_client_auth(),
            Some(ClientIdentity { certificate, key }) => {
                let pem = |what, material| {
                    let place = place(material);
                    move |source| IdentityError::Pem { place, what, source }
                };
                let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
                    .collect::<Result<_, _>>()
                    .map_err(pem("the client certificate", certificate))?;
                let private = PrivateKeyDer::from_pem_slice(&read(key)?)
                    .map_err(pem("the client key", key))?;
                let place = place(certificate);
                let unusable = |source| IdentityError::Client { place, source };
                builder.with_client_auth_cert(chain, private).map_err(unusable)?
            }
        };
        // Connections last, so nothing is gained by what would be kept for the next one.
        tls.resumption = Resumption::disabled();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Access { tls: Arc::new(tls), token, place: own })
    }
}

impl Access {
    /// The `Authorization` of a request, with the token as its file holds it now.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, IdentityError> {
        let Some(token) = &self.token else { return Ok(None) };
        let content = read(token)?;
        let value = [b"Bearer ", content.trim_ascii()].concat();
        let mut header = HeaderValue::from_bytes(&value).map_err(|source| {
            let place = token.path().map_or(self.place.clone(), |path| path.display().to_string());
            IdentityError::Token { place, source }
        })?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}

fn read(material: &Material) -> Result<Cow<'_, [u8]>, IdentityError> {
    match material {
        Material::Inline(bytes) => Ok(Cow::Borrowed(bytes)),
        Material::File(path) => std::fs::read(path)
            .map(Cow::Owned)
            .map_err(|source| IdentityError::Read { path: path.clone(), source }),
    }
}
