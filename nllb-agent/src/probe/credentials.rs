//! Credentials in memory, read again when a file they came from has changed.
//!
//! A kubelet rotates its client certificate and projected tokens live for an hour, so files change
//! under a running agent. They are looked at before each probe (one stat each) and read only when
//! something differs. New content that cannot be used is reported once and the old stays.

use super::verify::Verifier;
use crate::health_check::{ClientIdentity, Credentials, Material};
use hyper::header::{HeaderValue, InvalidHeaderValue};
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is not PEM, or not what it should be.
    #[error("{what} is not usable PEM: {source}")]
    Pem {
        /// What was read.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// An authority that cannot be used to verify.
    #[error("the certificate authority cannot be used: {0}")]
    Authority(#[source] rustls::Error),
    /// No authority and no word to do without.
    #[error("no usable certificate authority: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// A client certificate and key that do not go together, or an unusable set-up.
    #[error("the client certificate cannot be used: {0}")]
    Client(#[from] rustls::Error),
    /// A token with characters that no header takes.
    #[error("the bearer token cannot be sent: {0}")]
    Token(#[from] InvalidHeaderValue),
}

/// Everything a probe needs to speak TLS and to be known.
pub(super) struct Keys {
    pub(super) tls: ClientConfig,
    pub(super) verifier: Arc<Verifier>,
    pub(super) token: Option<HeaderValue>,
}

/// What tells one content of a file from another without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp(Option<(u64, u64, i64, i64, u64)>);

#[derive(Default)]
struct Cache {
    stamps: Vec<Stamp>,
    keys: Option<Arc<Keys>>,
}

/// The credentials of one pool.
pub(super) struct Keyring {
    source: Credentials,
    cache: Mutex<Cache>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Keyring {
    pub(super) fn new(source: Credentials) -> Self {
        Self { source, cache: Mutex::default() }
    }

    /// The credentials as the files hold them now.
    pub(super) fn current(&self) -> Result<Arc<Keys>, CredentialsError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before reading: a change in between is seen the next time.
        let stamps = self.stamps();
        match &cache.keys {
            Some(keys) if stamps == cache.stamps => return Ok(Arc::clone(keys)),
            Some(_) | None => {}
        }
        match (load(&self.source), &cache.keys) {
            (Ok(keys), _) => {
                let keys = Arc::new(keys);
                *cache = Cache { stamps, keys: Some(Arc::clone(&keys)) };
                Ok(keys)
            }
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "changed credentials are unusable, the old ones stay");
                let keys = Arc::clone(old);
                cache.stamps = stamps;
                Ok(keys)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn stamps(&self) -> Vec<Stamp> {
        let Credentials { authority, server_name: _, client, token, insecure_skip_verify: _ } =
            &self.source;
        let client = client.as_ref().map(|ClientIdentity { certificate, key }| [certificate, key]);
        let materials = authority.iter().chain(client.into_iter().flatten()).chain(token);
        materials.filter_map(Material::path).map(stamp).collect()
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok();
    Stamp(metadata.map(|m| (m.dev(), m.ino(), m.ctime(), m.ctime_nsec(), m.size())))
}

fn read(material: &Material) -> Result<Vec<u8>, CredentialsError> {
    match material {
        Material::Inline(bytes) => Ok(bytes.clone()),
        Material::File(path) => std::fs::read(path)
            .map_err(|source| CredentialsError::Read { path: path.clone(), source }),
    }
}

fn load(source: &Credentials) -> Result<Keys, CredentialsError> {
    let Credentials { authority, server_name: _, client, token, insecure_skip_verify } = source;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(if *insecure_skip_verify {
        Verifier::Anything(Arc::clone(&provider))
    } else {
        let mut roots = RootCertStore::empty();
        if let Some(authority) = authority {
            for certificate in certificates("the certificate authority", authority)? {
                roots.add(certificate).map_err(CredentialsError::Authority)?;
            }
        }
        let roots = Arc::new(roots);
        let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        Verifier::Authority(builder.build()?)
    });
    let recorder = Arc::new(super::verify::Recorder::new(Arc::clone(&verifier)));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(recorder);
    let mut tls = match client {
        None => builder.with_no_client_auth(),
        Some(ClientIdentity { certificate, key }) => {
            let chain = certificates("the client certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|source| CredentialsError::Pem { what: "the client key", source })?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session shows no certificate.
    tls.resumption = Resumption::disabled();
    let token = token.as_ref().map(bearer).transpose()?;
    Ok(Keys { tls, verifier, token })
}

fn certificates(
    what: &'static str,
    material: &Material,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let content = read(material)?;
    CertificateDer::pem_slice_iter(&content)
        .collect::<Result<_, _>>()
        .map_err(|source| CredentialsError::Pem { what, source })
}

fn bearer(material: &Material) -> Result<HeaderValue, CredentialsError> {
    let content = read(material)?;
    let mut value = b"Bearer ".to_vec();
    value.extend_from_slice(content.trim_ascii());
    let mut header = HeaderValue::from_bytes(&value)?;
    header.set_sensitive(true);
    Ok(header)
}
