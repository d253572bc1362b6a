//! What a probe asks: the keys of the `probe` section that say it, over what the pool's profile presets.
//!
//! A key that the kind of probe has no use for is refused, since whoever wrote it expects something of it.

use super::address::{dns_name, one_of, port};
use super::error::{Fault, Problem, QuestionProblem};
use super::place::{At, Place};
use super::probe::Preset;
use crate::health_check::{Accept, Dns, Get, HealthPort, Kind, Rcode};
use serde_saphyr::Spanned;
use std::ops::RangeInclusive;

/// Alive, as Kubernetes' own components say it.
pub(super) const HEALTH_PATH: &str = "/healthz";
/// What HTTP has; 1xx is never the last word.
const STATUSES: RangeInclusive<u16> = 200..=599;

/// The keys as they are written.
pub(super) struct Question {
    pub(super) kind: Option<At<String>>,
    pub(super) port: Option<At<u64>>,
    pub(super) path: Option<At<String>>,
    pub(super) accept: Option<At<Vec<Spanned<String>>>>,
    pub(super) query: Option<At<String>>,
    pub(super) service: Option<At<String>>,
    pub(super) tls: Option<At<bool>>,
    pub(super) health_port: Option<At<String>>,
    pub(super) health_path: Option<At<String>>,
}

/// What is asked, and where.
pub(super) struct Asked {
    pub(super) kind: Kind,
    pub(super) port: Option<u16>,
    pub(super) health_port: Option<HealthPort>,
}

/// The words for the kinds.
#[derive(Clone, Copy)]
enum Word {
    Https,
    Http,
    Tcp,
    Tls,
    Grpc,
    Dns,
}

impl Word {
    const ALL: [Self; 6] = [Self::Https, Self::Http, Self::Tcp, Self::Tls, Self::Grpc, Self::Dns];

    const fn label(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Grpc => "grpc",
            Self::Dns => "dns",
        }
    }

    const fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Https(_) => Self::Https,
            Kind::Http(_) => Self::Http,
            Kind::Tcp => Self::Tcp,
            Kind::Tls => Self::Tls,
            Kind::Grpc { .. } => Self::Grpc,
            Kind::Dns(_) => Self::Dns,
        }
    }
}

/// A kind as it stands in a message.
pub(super) const fn as_written(kind: &Kind) -> &'static str {
    match kind {
        Kind::Https(_) => "kind: https",
        Kind::Http(_) => "kind: http",
        Kind::Tcp => "kind: tcp",
        Kind::Tls => "kind: tls",
        Kind::Grpc { tls: true, .. } => "kind: grpc",
        Kind::Grpc { tls: false, .. } => "tls: false",
        Kind::Dns(_) => "kind: dns",
    }
}

impl Question {
    /// Checks them. `place` is the section's.
    pub(super) fn check(self, place: &Place, preset: Preset) -> Result<Asked, Fault> {
        let Self { kind, port: own, path, accept, query, service, tls, health_port, health_path } =
            self;
        let Preset { kind: preset, health_port: objects, .. } = preset;
        let word = match (kind, &preset) {
            (Some(raw), _) => one_of(raw, &Word::ALL, Word::label)?.value,
            (None, Some(preset)) => Word::of(preset),
            (None, None) => {
                let example =
                    "one of https, http, tcp, tls, grpc, dns, since profile: custom presets none";
                return Err(place.named("kind").fault(Problem::Missing { example }));
            }
        };
        let kind = match word {
            Word::Https => Kind::Https(get(path.as_ref(), accept.as_ref(), preset)?),
            Word::Http => Kind::Http(get(path.as_ref(), accept.as_ref(), preset)?),
            Word::Tcp => Kind::Tcp,
            Word::Tls => Kind::Tls,
            Word::Grpc => Kind::Grpc {
                service: service.as_ref().map(|raw| raw.value.clone()).unwrap_or_default(),
                tls: tls.as_ref().is_none_or(|tls| tls.value),
            },
            Word::Dns => Kind::Dns(dns(query.as_ref(), accept.as_ref())?),
        };
        let other = as_written(&kind);
        if !matches!(kind, Kind::Https(_) | Kind::Http(_)) {
            refuse(path.as_ref(), other)?;
        }
        if !matches!(kind, Kind::Https(_) | Kind::Http(_) | Kind::Dns(_)) {
            refuse(accept.as_ref(), other)?;
        }
        if !matches!(kind, Kind::Dns(_)) {
            refuse(query.as_ref(), other)?;
        }
        if !matches!(kind, Kind::Grpc { .. }) {
            refuse(service.as_ref(), other)?;
            refuse(tls.as_ref(), other)?;
        }
        Ok(Asked {
            kind,
            port: own.map(|raw| Ok(raw.check(port)?.value)).transpose()?,
            health_port: objector(health_port, health_path, objects)?,
        })
    }
}

/// Refuses a key that is of no use beside another.
pub(super) fn refuse<T: Clone>(raw: Option<&At<T>>, other: &'static str) -> Result<(), Fault> {
    match raw {
        Some(raw) => Err(raw.clone().fault(Problem::Excludes { other })),
        None => Ok(()),
    }
}

/// What is got: the keys, else what the profile presets for either kind of GET, else the root.
fn get(
    path: Option<&At<String>>,
    accept: Option<&At<Vec<Spanned<String>>>>,
    preset: Option<Kind>,
) -> Result<Get, Fault> {
    let preset = match preset {
        Some(Kind::Https(get) | Kind::Http(get)) => get,
        Some(Kind::Tcp | Kind::Tls | Kind::Grpc { .. } | Kind::Dns(_)) | None => {
            Get { path: "/".to_owned(), accept: Accept::default() }
        }
    };
    Ok(Get {
        path: match path {
            Some(raw) => raw.clone().check(url_path)?.value,
            None => preset.path,
        },
        accept: match accept {
            Some(raw) => statuses(raw.clone())?,
            None => preset.accept,
        },
    })
}

fn dns(
    query: Option<&At<String>>,
    accept: Option<&At<Vec<Spanned<String>>>>,
) -> Result<Dns, Fault> {
    let preset = Dns::default();
    let rcode = |found: String| {
        let known = || Rcode::NAMES.to_vec();
        Rcode::named(&found).ok_or_else(|| Problem::UnknownValue { found, known: known() })
    };
    Ok(Dns {
        query: match query {
            Some(raw) => raw.clone().check(query_name)?.value,
            None => preset.query,
        },
        accept: match accept.cloned() {
            Some(raw) if raw.value.is_empty() => {
                return Err(raw.fault(Problem::Empty { what: "code, like NOERROR" }));
            }
            Some(raw) => {
                let codes = raw.items().into_iter().map(|item| Ok(item.check(rcode)?.value));
                codes.collect::<Result<_, Fault>>()?
            }
            None => preset.accept,
        },
        tcp: false,
    })
}

fn query_name(found: String) -> Result<String, Problem> {
    dns_name(found.trim_end_matches('.')).ok_or_else(|| QuestionProblem::QueryName { found }.into())
}

fn statuses(raw: At<Vec<Spanned<String>>>) -> Result<Accept, Fault> {
    if raw.value.is_empty() {
        return Err(raw.fault(Problem::Empty { what: "status, like 200 or 200-299" }));
    }
    let ranges = raw.items().into_iter().map(|item| Ok(item.check(range)?.value));
    Ok(Accept(ranges.collect::<Result<_, Fault>>()?))
}

/// A status, or the first and the last of several.
fn range(found: String) -> Result<RangeInclusive<u16>, Problem> {
    let status = |text: &str| text.parse().ok().filter(|status: &u16| STATUSES.contains(status));
    let (first, last) = found.split_once('-').unwrap_or((&found, &found));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(QuestionProblem::Statuses { found }.into()),
    }
}

fn objector(
    raw: Option<At<String>>,
    path: Option<At<String>>,
    preset: Option<HealthPort>,
) -> Result<Option<HealthPort>, Fault> {
    let number = match raw {
        Some(raw) if raw.value == "off" => {
            refuse(path.as_ref(), "healthPort: off")?;
            return Ok(None);
        }
        Some(raw) => Some(raw.check(health_port)?.value),
        None => preset.as_ref().map(|preset| preset.port),
    };
    let Some(port) = number else {
        return match path {
            Some(path) => Err(path.fault(Problem::Needs { other: "healthPort" })),
            None => Ok(None),
        };
    };
    let path = match path {
        Some(raw) => raw.check(url_path)?.value,
        None => preset.map_or_else(|| HEALTH_PATH.to_owned(), |preset| preset.path),
    };
    Ok(Some(HealthPort { port, path }))
}

fn health_port(found: String) -> Result<u16, Problem> {
    match found.parse() {
        Ok(number) => port(number),
        Err(_) => Err(QuestionProblem::PortOrOff { found }.into()),
    }
}

fn url_path(found: String) -> Result<String, Problem> {
    if found.starts_with('/') && found.chars().all(|c| c.is_ascii_graphic()) {
        Ok(found)
    } else {
        Err(QuestionProblem::UrlPath { found }.into())
    }
}
