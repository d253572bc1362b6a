//! The lab's certificate authority.

use std::ops::RangeInclusive;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// A pair of keys without a certificate, both PEM.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What verifies.
    pub public: String,
    /// What signs.
    pub private: String,
}

impl Keys {
    /// A new pair.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate().context("cannot generate a key")?;
        Ok(Self { public: key.public_key_pem(), private: key.serialize_pem() })
    }
}

/// A certificate authority that lives in memory.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a key of its own.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate().context("cannot generate the authority's key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key).context("cannot sign the authority")?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server certificate for `names`, each a DNS name or an IP address.
    pub fn server(&self, common_name: &str, names: &[String]) -> Result<Identity> {
        self.issue(common_name, names, ExtendedKeyUsagePurpose::ServerAuth, |_| {})
    }

    /// A server certificate that is valid in these years alone.
    pub fn server_in(
        &self,
        common_name: &str,
        names: &[String],
        years: RangeInclusive<i32>,
    ) -> Result<Identity> {
        self.issue(common_name, names, ExtendedKeyUsagePurpose::ServerAuth, |params| {
            params.not_before = date_time_ymd(*years.start(), 1, 1);
            params.not_after = date_time_ymd(*years.end(), 12, 31);
        })
    }

    /// A client certificate.
    pub fn client(&self, common_name: &str) -> Result<Identity> {
        self.issue(common_name, &[], ExtendedKeyUsagePurpose::ClientAuth, |_| {})
    }

    fn issue(
        &self,
        common_name: &str,
        names: &[String],
        usage: ExtendedKeyUsagePurpose,
        tune: impl FnOnce(&mut CertificateParams),
    ) -> Result<Identity> {
        let key = KeyPair::generate().context("cannot generate a key")?;
        let mut params = CertificateParams::new(names).context("not a DNS name or IP address")?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        tune(&mut params);
        let certificate =
            params.signed_by(&key, &self.issuer).context("cannot sign a certificate")?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
