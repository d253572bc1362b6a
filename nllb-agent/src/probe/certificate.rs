//! Names and validity of a certificate, read without judging it.

use super::chain::{self, Anchor};
use crate::text::OneLine;
use nllb_core::{CertificateFacts, SubjectName};
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use x509_parser::extensions::GeneralName;

/// What the core needs to know of the first of the certificates that were shown, when the pool trusts
/// these authorities; `None` when it is not one.
pub(super) fn facts(shown: &[CertificateDer<'_>], anchors: &[Anchor]) -> Option<CertificateFacts> {
    let (_, certificate) = x509_parser::parse_x509_certificate(shown.first()?).ok()?;
    let names = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name).collect(),
        Ok(None) | Err(_) => Vec::new(),
    };
    let validity = certificate.validity();
    Some(CertificateFacts {
        names,
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        chain_not_after: chain::not_after(shown, anchors),
        issuer: OneLine(certificate.issuer()).to_string(),
        subject: OneLine(certificate.subject()).to_string(),
    })
}

/// A name that a client can dial; mail addresses and the like are none.
fn name(name: &GeneralName<'_>) -> Option<SubjectName> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only two kinds of name are dialled")]
    match name {
        // Whoever answers chooses what stands there, also who is not to be trusted.
        GeneralName::DNSName(name) => name
            .bytes()
            .all(|byte| byte.is_ascii_graphic())
            .then(|| SubjectName::Dns((*name).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let ip = match bytes.len() {
                4 => IpAddr::from(*bytes.first_chunk::<4>()?),
                16 => IpAddr::from(*bytes.first_chunk::<16>()?),
                _ => return None,
            };
            Some(SubjectName::Ip(ip))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn what_a_stranger_shows_is_no_order_to_a_terminal() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "a\u{1b}[2J\nb");
        let der = params.self_signed(&KeyPair::generate().expect("a key")).expect("signed");
        let facts = facts(&[der.der().clone()], &[]).expect("a certificate");
        for text in [&facts.issuer, &facts.subject] {
            assert!(text.contains("a\\u{1b}[2J\\nb"), "{text:?}");
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        assert_eq!(name(&GeneralName::DNSName("a\u{1b}[2J")), None);
        assert_eq!(
            name(&GeneralName::DNSName("*.a-1.b")),
            Some(SubjectName::Dns("*.a-1.b".into()))
        );
    }
}
