//! What connections are made with: whom to trust and which certificate to show.
//!
//! A file of authorities often holds several, an old one beside its successor. One that cannot be used
//! is named in the log and left out; the others go on.

use super::{CredentialsError, read};
use crate::health_check::{ClientIdentity, Credentials, Material};
use crate::probe::chain::Anchor;
use crate::probe::unix_time;
use crate::probe::verify::{Recorder, Verifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

/// What every connection to a backend begins with.
#[derive(Debug)]
pub(in crate::probe) struct Tls {
    pub(in crate::probe) config: ClientConfig,
    pub(in crate::probe) verifier: Arc<Verifier>,
    /// The authorities that are trusted.
    pub(in crate::probe) anchors: Vec<Anchor>,
    /// Whether a client certificate is shown.
    known: bool,
    digest: u64,
}

/// The files, read.
#[derive(Hash)]
pub(super) struct Content {
    authority: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Content {
    pub(super) fn read(source: &Credentials) -> Result<Self, CredentialsError> {
        let Credentials { authority, server_name: _, client, token: _, insecure_skip_verify } =
            source;
        let authority = authority.as_ref().filter(|_| !insecure_skip_verify);
        let client = match client {
            Some(ClientIdentity { certificate, key }) => Some((read(certificate)?, read(key)?)),
            None => None,
        };
        Ok(Self { authority: authority.map(read).transpose()?, client })
    }

    /// Tells one content from another without keeping a second copy of a key.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl Tls {
    pub(super) fn new(source: &Credentials, content: &Content) -> Result<Self, CredentialsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let Authorities { roots, anchors } = Authorities::read(source, content)?;
        let verifier = Arc::new(if source.insecure_skip_verify {
            Verifier::Anything(Arc::clone(&provider))
        } else {
            let provider = Arc::clone(&provider);
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
            Verifier::Authority(builder.build()?)
        });
        let recorder = Arc::new(Recorder::new(Arc::clone(&verifier)));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(recorder);
        let mut config = match &content.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate)
                    .collect::<Result<_, _>>()
                    .map_err(CredentialsError::pem("the client certificate"))?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(CredentialsError::pem("the client key"))?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        // A resumed session shows no certificate.
        config.resumption = Resumption::disabled();
        let known = content.client.is_some();
        Ok(Self { config, verifier, anchors, known, digest: content.digest() })
    }

    /// Whether servers learn from it who we are.
    pub(super) const fn known(&self) -> bool {
        self.known
    }

    /// Whether it was made of this content.
    pub(super) fn is_of(&self, content: &Content) -> bool {
        self.digest == content.digest()
    }

    /// Whether connections made with both are alike.
    pub(in crate::probe) const fn is_like(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// The authorities that can be used.
struct Authorities {
    roots: RootCertStore,
    anchors: Vec<Anchor>,
}

impl Authorities {
    /// Fails when there are some but none can be used. An expired one stays, since no harm comes of
    /// it, but is named too.
    fn read(source: &Credentials, content: &Content) -> Result<Self, CredentialsError> {
        let mut roots = RootCertStore::empty();
        let (mut anchors, mut unusable) = (Vec::new(), Vec::new());
        let pem = content.authority.as_deref().unwrap_or_default();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let added = certificate
                .map_err(CredentialsError::pem("the certificate authority"))
                .and_then(|der| {
                    let anchor = Anchor::read(&der);
                    roots.add(der).map_err(CredentialsError::Authority)?;
                    Ok(anchor)
                });
            match added {
                Ok(anchor) => anchors.extend(anchor),
                Err(error) => unusable.push(error),
            }
        }
        if roots.is_empty() && !unusable.is_empty() {
            return Err(unusable.swap_remove(0));
        }
        let path = source.authority.as_ref().and_then(Material::path);
        let file = path.map(|path| tracing::field::display(path.display()));
        for error in unusable {
            tracing::warn!(file, %error, "an authority cannot be used; the others are");
        }
        let now = unix_time();
        for Anchor { name, .. } in anchors.iter().filter(|anchor| anchor.not_after < now) {
            tracing::warn!(file, authority = name, "an authority has expired");
        }
        Ok(Self { roots, anchors })
    }
}
