//! A certificate verifier that also remembers what it was shown.
//!
//! Names and expiry of a certificate matter most when verification fails, and then rustls keeps
//! nothing. One recorder serves one handshake.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, Mutex, PoisonError};

/// How server certificates are judged.
#[derive(Debug)]
pub(super) enum Verifier {
    /// By the pool's authorities and the name that was asked for.
    Authority(Arc<WebPkiServerVerifier>),
    /// Not at all; that the server holds the key is still checked.
    Anything(Arc<CryptoProvider>),
}

#[derive(Debug)]
pub(super) struct Recorder {
    verifier: Arc<Verifier>,
    shown: Mutex<Vec<CertificateDer<'static>>>,
}

impl Recorder {
    pub(super) const fn new(verifier: Arc<Verifier>) -> Self {
        Self { verifier, shown: Mutex::new(Vec::new()) }
    }

    /// The certificates of the handshake, the backend's own first; none when it did not get that far.
    pub(super) fn shown(&self) -> Vec<CertificateDer<'static>> {
        std::mem::take(&mut *self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = [end_entity].into_iter().chain(intermediates);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            shown.map(|certificate| certificate.clone().into_owned()).collect();
        match self.verifier.as_ref() {
            Verifier::Authority(verifier) => verifier.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            Verifier::Anything(_) => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.verifier.as_ref() {
            Verifier::Authority(verifier) => verifier.verify_tls12_signature(message, cert, dss),
            Verifier::Anything(provider) => verify_tls12_signature(
                message,
                cert,
                dss,
                &provider.signature_verification_algorithms,
            ),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.verifier.as_ref() {
            Verifier::Authority(verifier) => verifier.verify_tls13_signature(message, cert, dss),
            Verifier::Anything(provider) => verify_tls13_signature(
                message,
                cert,
                dss,
                &provider.signature_verification_algorithms,
            ),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self.verifier.as_ref() {
            Verifier::Authority(verifier) => verifier.supported_verify_schemes(),
            Verifier::Anything(provider) => {
                provider.signature_verification_algorithms.supported_schemes()
            }
        }
    }
}
