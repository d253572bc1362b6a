//! How long the authorities last that a certificate depends on.
//!
//! A certificate outlived by its authority is as dead as an expired one, and authorities end all at
//! once. The chain is followed by names and key identifiers, as verifiers choose candidates, so that
//! what a server shows besides (an old cross-signed authority, say) does not count. Signatures are not
//! looked at: this warns, it does not judge.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

/// More authorities in a row than any chain has.
const LONGEST: usize = 8;

/// An authority of the pool's, at which chains end.
#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) name: String,
    subject: Vec<u8>,
    key: Option<Vec<u8>>,
    pub(super) not_after: i64,
}

impl Anchor {
    /// `None` when it is no certificate that can be read.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        Some(Self {
            name: certificate.subject().to_string(),
            subject: certificate.subject().as_raw().to_vec(),
            key: own_key(&certificate).map(<[u8]>::to_vec),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// The earliest end among the authorities that lead from the first of `shown`, the backend's own, to
/// one of `anchors`; `None` when none of them is known.
pub(super) fn not_after(shown: &[CertificateDer<'_>], anchors: &[Anchor]) -> Option<i64> {
    let parsed = shown.iter().filter_map(|der| x509_parser::parse_x509_certificate(der).ok());
    let shown: Vec<_> = parsed.map(|(_, certificate)| certificate).collect();
    let mut current = shown.first()?;
    let mut earliest = None;
    let mut shorten =
        |end: i64| earliest = Some(earliest.map_or(end, |before: i64| before.min(end)));
    for _ in 0..LONGEST {
        // An authority that was renewed with its old key is there twice, and either serves.
        let known = anchors
            .iter()
            .filter(|anchor| signed_by(current, &anchor.subject, anchor.key.as_deref()));
        if let Some(end) = known.map(|anchor| anchor.not_after).max() {
            shorten(end);
            break;
        }
        let next = shown.iter().find(|other| {
            !std::ptr::eq(*other, current)
                && signed_by(current, other.subject().as_raw(), own_key(other))
        });
        let Some(next) = next else { break };
        shorten(next.validity().not_after.timestamp());
        current = next;
    }
    earliest
}

/// Whether `certificate` says that it was signed by this subject with this key, as far as is known.
fn signed_by(certificate: &X509Certificate<'_>, subject: &[u8], key: Option<&[u8]>) -> bool {
    let names_key = certificate.iter_extensions().find_map(|extension| {
        #[expect(clippy::wildcard_enum_match_arm, reason = "one kind of extension matters")]
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        }
    });
    let fits = names_key.zip(key).is_none_or(|(named, key)| named.0 == key);
    certificate.issuer().as_raw() == subject && fits
}

fn own_key<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.iter_extensions().find_map(|extension| {
        #[expect(clippy::wildcard_enum_match_arm, reason = "one kind of extension matters")]
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair,
        date_time_ymd,
    };

    type Ca = CertifiedIssuer<'static, KeyPair>;

    fn params(name: &str, until: i32) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(until, 1, 1);
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn authority(name: &str, until: i32) -> CertificateParams {
        let mut params = params(name, until);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn key() -> KeyPair {
        KeyPair::generate().expect("a key")
    }

    fn root(name: &str, until: i32) -> Ca {
        CertifiedIssuer::self_signed(authority(name, until), key()).expect("a root")
    }

    fn between(name: &str, until: i32, by: &Issuer<'_, KeyPair>) -> Ca {
        CertifiedIssuer::signed_by(authority(name, until), key(), by).expect("an authority")
    }

    fn leaf(by: &Issuer<'_, KeyPair>) -> CertificateDer<'static> {
        params("leaf", 2100).signed_by(&key(), by).expect("a leaf").der().clone()
    }

    fn anchors(of: &[&Ca]) -> Vec<Anchor> {
        of.iter().map(|ca| Anchor::read(ca.der()).expect("an anchor")).collect()
    }

    fn year(year: i32) -> i64 {
        date_time_ymd(year, 1, 1).unix_timestamp()
    }

    #[test]
    fn the_earliest_end_on_the_way_to_the_root_counts() {
        for (of_root, of_middle, earliest) in [(2050, 2040, 2040), (2030, 2040, 2030)] {
            let root = root("root", of_root);
            let middle = between("middle", of_middle, &root);
            let shown = [leaf(&middle), middle.der().clone()];
            assert_eq!(not_after(&shown, &anchors(&[&root])), Some(year(earliest)));
            // The root is not known, so only what was shown counts.
            assert_eq!(not_after(&shown, &[]), Some(year(of_middle)));
        }
    }

    #[test]
    fn what_a_server_shows_besides_does_not_count() {
        let (root, other) = (root("root", 2050), root("other", 2001));
        let shown = [leaf(&root), other.der().clone()];
        assert_eq!(not_after(&shown, &anchors(&[&other, &root])), Some(year(2050)));
    }

    #[test]
    fn of_authorities_with_one_name_the_one_with_the_key_counts() {
        let (old, new) = (root("root", 2001), root("root", 2050));
        let anchors = anchors(&[&old, &new]);
        assert_eq!(not_after(&[leaf(&new)], &anchors), Some(year(2050)));
        assert_eq!(not_after(&[leaf(&old)], &anchors), Some(year(2001)));
    }

    #[test]
    fn of_an_authority_that_was_renewed_with_its_key_the_later_counts() {
        let old = root("root", 2001);
        let renewed = authority("root", 2050).self_signed(old.key()).expect("renewed");
        let mut anchors = anchors(&[&old]);
        anchors.extend(Anchor::read(renewed.der()));
        assert_eq!(not_after(&[leaf(&old)], &anchors), Some(year(2050)));
    }

    #[test]
    fn chains_that_lead_nowhere_or_in_a_circle_end() {
        let (first, second) = (root("a", 2030), root("b", 2040));
        assert_eq!(not_after(&[], &[]), None);
        assert_eq!(not_after(&[CertificateDer::from(vec![1, 2, 3])], &[]), None);
        assert_eq!(not_after(&[leaf(&first)], &anchors(&[&second])), None);
        let circle = [
            authority("a", 2030).signed_by(first.key(), &second).expect("signed").der().clone(),
            authority("b", 2040).signed_by(second.key(), &first).expect("signed").der().clone(),
        ];
        assert_eq!(not_after(&circle, &[]), Some(year(2030)));
    }
}
