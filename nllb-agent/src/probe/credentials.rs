//! Credentials in memory, read again when a file they came from has changed.
//!
//! A kubelet rotates its client certificate and projected tokens live for an hour, so files change
//! under a running agent. They are looked at before each probe (one stat each) and read only when
//! something differs. New content that cannot be used is reported once and the old stays.

mod tls;

use crate::health_check::{ClientIdentity, Credentials, Material};
use hyper::header::{HeaderValue, InvalidHeaderValue};
use nllb_core::Outcome;
use rustls::client::VerifierBuilderError;
use rustls_pki_types::pem;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use tls::Tls;

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

impl CredentialsError {
    const fn pem(what: &'static str) -> impl Fn(pem::Error) -> Self {
        move |source| Self::Pem { what, source }
    }
}

/// Everything a probe needs to speak TLS and to be known.
pub(super) struct Keys {
    pub(super) tls: Arc<Tls>,
    pub(super) token: Option<HeaderValue>,
    /// Whether a backend has refused them, which is said once.
    refused: AtomicBool,
}

impl Keys {
    /// Whether servers learn from them who we are.
    pub(super) fn known(&self) -> bool {
        self.tls.known() || self.token.is_some()
    }

    /// Passes an outcome on, and says once that the backend refuses what was sent along.
    pub(super) fn judge(&self, outcome: Outcome, address: SocketAddr) -> Outcome {
        if outcome == Outcome::CredentialsRefused && !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                backend = %address,
                "our credentials are refused, so readiness stays unknown; have they expired?"
            );
        }
        outcome
    }
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

    /// The credentials as the files held them when they were last looked at; `None` before that.
    pub(super) fn last(&self) -> Option<Arc<Keys>> {
        self.cache().keys.clone()
    }

    /// The credentials as the files hold them now.
    pub(super) fn current(&self) -> Result<Arc<Keys>, CredentialsError> {
        let mut cache = self.cache();
        // Looked at before reading: a change in between is seen the next time.
        let stamps = self.stamps();
        match &cache.keys {
            Some(keys) if stamps == cache.stamps => return Ok(Arc::clone(keys)),
            Some(_) | None => {}
        }
        match (load(&self.source, cache.keys.as_deref()), &cache.keys) {
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

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Tokens change every hour and connections need not; so what they are made with stays when it can.
fn load(source: &Credentials, old: Option<&Keys>) -> Result<Keys, CredentialsError> {
    let token = source.token.as_ref().map(bearer).transpose()?;
    let read = tls::Content::read(source)?;
    let tls = match old {
        Some(old) if old.tls.is_of(&read) => Arc::clone(&old.tls),
        Some(_) | None => Arc::new(Tls::new(source, &read)?),
    };
    Ok(Keys { tls, token, refused: AtomicBool::new(false) })
}

fn bearer(material: &Material) -> Result<HeaderValue, CredentialsError> {
    let content = read(material)?;
    let mut value = b"Bearer ".to_vec();
    value.extend_from_slice(content.trim_ascii());
    let mut header = HeaderValue::from_bytes(&value)?;
    header.set_sensitive(true);
    Ok(header)
}
