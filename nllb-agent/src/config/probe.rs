//! The `probe` section of a pool: the health check's rules and the health machine's settings. What is
//! asked is in `question`, when in `rhythm`.

use super::address::{absolute, server_name};
use super::duration::Limits;
use super::error::{Fault, Problem};
use super::place::{At, Place};
use super::profile::Profile;
use super::question::{self, Asked, Question};
use super::rhythm::Rhythm;
use crate::health_check::{
    self, ClientIdentity, Credentials, HealthCheck, HealthPort, Kind, Material,
};
use nllb_core::settings::HealthSettings;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A real API server answers in 7 ms at the 99th percentile, 4 s when its etcd is frozen.
const TIMEOUT: Limits = Limits {
    default: Duration::from_secs(2),
    min: Duration::from_millis(10),
    max: Duration::from_secs(60),
};

/// A name server answers for its own domain from memory. A resolver that is connected to a dead one asks it again
/// and again, so it has to be known as dead before the client gives up: after three silences of half as long.
const DNS_TIMEOUT: Limits = Limits { default: Duration::from_millis(500), ..TIMEOUT };

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawProbe {
    kind: Option<Spanned<String>>,
    port: Option<Spanned<u64>>,
    path: Option<Spanned<String>>,
    accept: Option<Spanned<Vec<Spanned<String>>>>,
    query: Option<Spanned<String>>,
    service: Option<Spanned<String>>,
    tls: Option<Spanned<bool>>,
    health_port: Option<Spanned<String>>,
    health_path: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
    jitter: Option<Spanned<f64>>,
    confirm_interval: Option<Spanned<String>>,
    max_backoff: Option<Spanned<String>>,
    rise: Option<Spanned<u32>>,
    fall: Option<Spanned<u32>>,
    sentinel: Option<Spanned<bool>>,
    ping_interval: Option<Spanned<String>>,
    fresh_every: Option<Spanned<u32>>,
    ca_file: Option<Spanned<String>>,
    server_name: Option<Spanned<String>>,
    client_certificate_file: Option<Spanned<String>>,
    client_key_file: Option<Spanned<String>>,
    bearer_token_file: Option<Spanned<String>>,
    insecure_skip_verify: Option<Spanned<bool>>,
}

/// The checked section. Credentials that it does not give may come from a kubeconfig.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) place: Place,
    pub(super) health: HealthSettings,
    pub(super) check: HealthCheck,
}

impl RawProbe {
    /// Whether it says what is asked.
    pub(super) const fn has_kind(&self) -> bool {
        self.kind.is_some()
    }

    /// Whether it says which name is asked for.
    pub(super) const fn asks_a_name(&self) -> bool {
        self.query.is_some()
    }
}

/// What holds where the section says nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Preset {
    /// What is asked; `None` when that has to be said.
    pub(super) kind: Option<Kind>,
    pub(super) health_port: Option<HealthPort>,
    /// Whether the backends are API servers.
    pub(super) is_api: bool,
    /// What a sentinel does not go together with, if there is such a thing.
    pub(super) no_sentinel: Option<&'static str>,
}

impl From<Profile> for Preset {
    fn from(profile: Profile) -> Self {
        Self {
            kind: profile.kind(),
            health_port: profile.health_port(),
            is_api: profile == Profile::Apiserver,
            no_sentinel: None,
        }
    }
}

impl Probe {
    /// Checks the section.
    pub(super) fn check(raw: At<RawProbe>, preset: Preset) -> Result<Self, Fault> {
        let (is_api, no_sentinel) = (preset.is_api, preset.no_sentinel);
        let At { place, value: raw } = raw;
        let RawProbe {
            kind,
            port,
            path,
            accept,
            query,
            service,
            tls,
            health_port,
            health_path,
            timeout,
            interval,
            jitter,
            confirm_interval,
            max_backoff,
            rise,
            fall,
            sentinel,
            ping_interval,
            fresh_every,
            ca_file,
            server_name: raw_server_name,
            client_certificate_file,
            client_key_file,
            bearer_token_file,
            insecure_skip_verify,
        } = raw;
        let question = Question {
            kind: place.optional("kind", kind),
            port: place.optional("port", port),
            path: place.optional("path", path),
            accept: place.optional("accept", accept),
            query: place.optional("query", query),
            service: place.optional("service", service),
            tls: place.optional("tls", tls),
            health_port: place.optional("healthPort", health_port),
            health_path: place.optional("healthPath", health_path),
        };
        let Asked { kind, port, health_port } = question.check(&place, preset)?;
        let health = HealthSettings::try_from(Rhythm {
            no_sentinel: no_sentinel.or(match (&kind, port) {
                (Kind::Https(_), None) => None,
                // It is a connection to the backend's own port.
                (Kind::Https(_), Some(_)) => Some("port"),
                // gRPC servers end connections that ping often; of the rest none speaks HTTP/2 for sure.
                (kind, _) => Some(question::as_written(kind)),
            }),
            interval: place.optional("interval", interval),
            jitter: place.optional("jitter", jitter),
            confirm_interval: place.optional("confirmInterval", confirm_interval),
            max_backoff: place.optional("maxBackoff", max_backoff),
            rise: place.optional("rise", rise),
            fall: place.optional("fall", fall),
            sentinel: place.optional("sentinel", sentinel),
            ping_interval: place.optional("pingInterval", ping_interval),
            fresh_every: place.optional("freshEvery", fresh_every),
        })?;
        let skip = place.optional("insecureSkipVerify", insecure_skip_verify);
        let authority = place.optional("caFile", ca_file);
        if let (Some(At { value: true, .. }), Some(authority)) = (&skip, &authority) {
            return Err(authority.clone().fault(Problem::Excludes { other: "insecureSkipVerify" }));
        }
        let client_certificate = place.optional("clientCertificateFile", client_certificate_file);
        let client_key = place.optional("clientKeyFile", client_key_file);
        let raw_server_name = place.optional("serverName", raw_server_name);
        let token = place.optional("bearerTokenFile", bearer_token_file);
        let other = question::as_written(&kind);
        if !kind.uses_tls() {
            let keys = [&authority, &raw_server_name, &client_certificate, &client_key, &token];
            keys.into_iter().try_for_each(|key| question::refuse(key.as_ref(), other))?;
            question::refuse(skip.as_ref(), other)?;
        }
        if matches!(kind, Kind::Tls) {
            question::refuse(token.as_ref(), other)?;
        }
        let credentials = Credentials {
            authority: authority
                .map(|raw| file(raw, "/etc/kubernetes/pki/ca.crt", holds_authority))
                .transpose()?,
            server_name: match raw_server_name {
                Some(raw) => Some(raw.check(server_name)?.value),
                None => None,
            },
            client: client(client_certificate, client_key)?,
            token: token.map(|raw| file(raw, "/var/lib/nllb/token", holds_token)).transpose()?,
            insecure_skip_verify: skip.is_some_and(|skip| skip.value),
        };
        let limits = if matches!(kind, Kind::Dns(_)) { DNS_TIMEOUT } else { TIMEOUT };
        let check = HealthCheck {
            kind,
            port,
            health_port,
            is_api,
            timeout: limits.apply(place.optional("timeout", timeout))?,
            credentials,
        };
        Ok(Self { place, health, check })
    }
}

fn client(
    certificate: Option<At<String>>,
    key: Option<At<String>>,
) -> Result<Option<ClientIdentity>, Fault> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), None) => {
            Err(certificate.fault(Problem::Needs { other: "clientKeyFile" }))
        }
        (None, Some(key)) => Err(key.fault(Problem::Needs { other: "clientCertificateFile" })),
        (Some(certificate), Some(key)) => Ok(Some(ClientIdentity {
            certificate: file(certificate, "/etc/nllb/client.crt", holds_chain)?,
            key: file(key, "/etc/nllb/client.key", holds_key)?,
        })),
    }
}

/// A file that holds what it should hold now. The probe reads it again when it changes.
fn file(
    raw: At<String>,
    example: &'static str,
    holds: impl Fn(&Path, &[u8]) -> Result<(), Problem>,
) -> Result<Material, Fault> {
    let checked =
        raw.check(absolute(example))?.check(|path: PathBuf| match std::fs::read(&path) {
            Err(source) => Err(Problem::File { path, source }),
            Ok(content) => holds(&path, &content).map(|()| path),
        })?;
    Ok(Material::File(checked.value))
}

fn holds_authority(path: &Path, content: &[u8]) -> Result<(), Problem> {
    holds(health_check::holds_authority(content), path, "certificate")
}

fn holds_chain(path: &Path, content: &[u8]) -> Result<(), Problem> {
    holds(health_check::holds_chain(content), path, "certificate")
}

fn holds_key(path: &Path, content: &[u8]) -> Result<(), Problem> {
    holds(PrivateKeyDer::from_pem_slice(content).is_ok(), path, "private key")
}

fn holds(it: bool, path: &Path, what: &'static str) -> Result<(), Problem> {
    if it { Ok(()) } else { Err(Problem::NotPem { path: path.to_owned(), what }) }
}

fn holds_token(path: &Path, content: &[u8]) -> Result<(), Problem> {
    if content.trim_ascii().is_empty() {
        return Err(Problem::NoToken { path: path.to_owned() });
    }
    Ok(())
}
