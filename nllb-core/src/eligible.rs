//! Which backend may serve which frontend, by certificate and version.
//!
//! A client that dialled an address checks that the certificate shown is for it. Sending it to a
//! backend whose certificate is not would turn a working connect into a TLS error. The rules are not
//! the same for every frontend:
//!
//! - A VIP or a loopback address works through this table only, so the check must never empty it: a
//!   backend not seen yet is used (a node must boot), and as long as no backend is known to fit, all
//!   are used (a mistaken check must not cut the node off).
//! - A node address works without us, so nobody but its own backend is used on a guess.
//!
//! Versions come second, see [`skew`].

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::report::{CertificateFacts, SubjectName};
use crate::settings::{Coverage, FrontendKind};
use crate::version::KubeVersion;

mod names;
pub mod skew;

use names::{covers_ip, covers_name};
pub use skew::Skew;

/// Whether a backend may serve a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// It may.
    Eligible,
    /// Its certificate says no, but no other is known to fit, and a frontend is never emptied by that. Or
    /// its version does, but fewer than two in service fit.
    Overruled(Reason),
    /// It may not.
    NotEligible(Reason),
}

impl Eligibility {
    /// Whether the backend is among those that the kernel chooses from.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        match self {
            Self::Eligible | Self::Overruled(_) => true,
            Self::NotEligible(_) => false,
        }
    }

    /// What stands against the backend, in one word for status: address, certificate or version.
    #[must_use]
    pub const fn about(&self) -> Option<&'static str> {
        match self {
            Self::Eligible => None,
            Self::Overruled(reason) | Self::NotEligible(reason) => Some(reason.about()),
        }
    }
}

impl fmt::Display for Eligibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eligible => f.write_str("eligible"),
            Self::Overruled(reason) => {
                let why = if reason.is_version() {
                    "fewer than two backends in service are"
                } else {
                    "no backend is"
                };
                write!(f, "used although {reason}, because {why} known to fit")
            }
            Self::NotEligible(reason) => write!(f, "not eligible: {reason}"),
        }
    }
}

/// Why a backend may not serve a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The node address is this host's own: whoever dials it here, a liveness probe above all, wants
    /// this host's API server and no other.
    OwnAddress,
    /// No probe has seen its certificate yet.
    NoCertificateSeen,
    /// Its certificate is for other names.
    NotCovered {
        /// The name or address that clients dial.
        wanted: String,
        /// What the certificate covers.
        names: Vec<SubjectName>,
    },
    /// Its certificate has expired.
    Expired {
        /// Last second of its validity, unix time.
        not_after: i64,
    },
    /// Its certificate is not valid yet, or this host's clock is behind.
    NotYetValid {
        /// First second of its validity, unix time.
        not_before: i64,
    },
    /// Its version was not heard yet.
    VersionUnknown,
    /// It is older than the frontend may be served by.
    TooOld {
        /// Its version.
        version: KubeVersion,
        /// The oldest that would do.
        oldest: KubeVersion,
    },
    /// A newer one is in service.
    NotNewest {
        /// Its version.
        version: KubeVersion,
        /// The newest one in service.
        newest: KubeVersion,
    },
}

impl Reason {
    const fn is_version(&self) -> bool {
        match self {
            Self::VersionUnknown | Self::TooOld { .. } | Self::NotNewest { .. } => true,
            Self::OwnAddress
            | Self::NoCertificateSeen
            | Self::NotCovered { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. } => false,
        }
    }

    /// What it is about, in one word for status.
    const fn about(&self) -> &'static str {
        match self {
            Self::OwnAddress => "address",
            Self::VersionUnknown | Self::TooOld { .. } | Self::NotNewest { .. } => "version",
            Self::NoCertificateSeen
            | Self::NotCovered { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. } => "certificate",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnAddress => f.write_str("the address is this host's own"),
            Self::NoCertificateSeen => f.write_str("its certificate was not seen yet"),
            Self::NotCovered { wanted, names } if names.is_empty() => {
                write!(f, "its certificate does not cover {wanted} nor any other name")
            }
            Self::NotCovered { wanted, names } => {
                write!(f, "its certificate does not cover {wanted}, only ")?;
                for (index, name) in names.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{name}")?;
                }
                Ok(())
            }
            Self::Expired { not_after } => {
                write!(f, "its certificate expired at unix time {not_after}")
            }
            Self::NotYetValid { not_before } => {
                write!(f, "its certificate is not valid before unix time {not_before}")
            }
            Self::VersionUnknown => f.write_str("its version is not known yet"),
            Self::TooOld { version, oldest } => {
                write!(f, "its version {version} is older than {oldest}")
            }
            Self::NotNewest { version, newest } => {
                write!(f, "its version {version} is older than {newest}, which is in service")
            }
        }
    }
}

/// The certificate a backend showed last, with the wall clock of its last probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The certificate.
    pub certificate: Arc<CertificateFacts>,
    /// Unix time at which its validity is judged.
    pub unix_time: i64,
}

impl Seen {
    /// Why its dates forbid its use, if they do.
    fn outdated(&self) -> Option<Reason> {
        let CertificateFacts { not_before, not_after, .. } = *self.certificate;
        if self.unix_time > not_after {
            Some(Reason::Expired { not_after })
        } else if self.unix_time < not_before {
            Some(Reason::NotYetValid { not_before })
        } else {
            None
        }
    }

    /// Whether `self` and `other` lead to the same answers for every frontend.
    pub(crate) fn same_answers(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.certificate, &other.certificate)
            || self.certificate == other.certificate)
            && self.outdated() == other.outdated()
    }
}

/// What a frontend asks of a backend.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// What sort of frontend asks.
    pub kind: FrontendKind,
    /// Which certificate it wants.
    pub coverage: &'a Coverage,
    /// The addresses that clients dial.
    pub addresses: &'a [SocketAddr],
    /// For a node address: index of the backend whose own address it is.
    pub home: Option<usize>,
    /// Whether it is an address of this very host.
    pub own: bool,
    /// Which versions it wants.
    pub skew: Skew<'a>,
}

/// A backend of the frontend's pool.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What is known of its certificate.
    pub certificate: Knowledge<'a>,
    /// Its version, once it was heard.
    pub version: Option<&'a KubeVersion>,
    /// Whether its state lets it have connections.
    pub serving: bool,
}

/// What is known of a backend's certificate.
#[derive(Clone, Copy, Debug)]
pub enum Knowledge<'a> {
    /// Nothing.
    Nothing,
    /// Nothing by this agent, but the one before it decided on this frontend.
    Inherited {
        /// Whether it used the backend.
        used: bool,
    },
    /// It was seen.
    Seen(&'a Seen),
}

/// Says for each backend of a pool whether it may serve.
#[must_use]
pub fn decide(demand: Demand<'_>, backends: &[Candidate<'_>]) -> Vec<Eligibility> {
    skew::narrow(demand, backends, by_certificate(demand, backends))
}

fn by_certificate(demand: Demand<'_>, backends: &[Candidate<'_>]) -> Vec<Eligibility> {
    let objections: Vec<_> =
        backends.iter().map(|backend| objection(demand, backend.certificate)).collect();
    let some_fit = objections.iter().any(Option::is_none);
    let judge = |(index, objection)| match (demand.kind, objection) {
        (FrontendKind::NodeAddress, _) if demand.home == Some(index) => Eligibility::Eligible,
        (FrontendKind::NodeAddress, _) if demand.own => {
            Eligibility::NotEligible(Reason::OwnAddress)
        }
        (_, None) => Eligibility::Eligible,
        (FrontendKind::NodeAddress, Some(reason)) => Eligibility::NotEligible(reason),
        (FrontendKind::Vip | FrontendKind::Loopback, Some(reason)) => {
            match (reason, backends[index].certificate) {
                (Reason::NoCertificateSeen, Knowledge::Nothing) => Eligibility::Eligible,
                (reason, _) if some_fit => Eligibility::NotEligible(reason),
                (reason, _) => Eligibility::Overruled(reason),
            }
        }
    };
    objections.into_iter().enumerate().map(judge).collect()
}

/// Why this certificate does not do, if it does not.
fn objection(demand: Demand<'_>, known: Knowledge<'_>) -> Option<Reason> {
    if matches!(demand.coverage, Coverage::Trusted) {
        return None;
    }
    let seen = match known {
        Knowledge::Inherited { used: true } => return None,
        Knowledge::Nothing | Knowledge::Inherited { used: false } => {
            return Some(Reason::NoCertificateSeen);
        }
        Knowledge::Seen(seen) => seen,
    };
    uncovered(&seen.certificate, demand.coverage, demand.addresses).or_else(|| seen.outdated())
}

/// Which name or address of a frontend a certificate is not for, if there is one.
#[must_use]
pub fn uncovered(
    certificate: &CertificateFacts,
    coverage: &Coverage,
    addresses: &[SocketAddr],
) -> Option<Reason> {
    let names = &certificate.names;
    let wanted = match coverage {
        Coverage::Trusted => None,
        Coverage::ServerName(name) => (!covers_name(names, name)).then(|| name.clone()),
        Coverage::Address => {
            let uncovered = addresses.iter().find(|addr| !covers_ip(names, addr.ip()));
            uncovered.map(|addr| addr.ip().to_string())
        }
    }?;
    Some(Reason::NotCovered { wanted, names: names.clone() })
}

#[cfg(test)]
mod tests;
