//! Which backend may serve which frontend, by certificate.

use crate::report::SubjectName;

/// Whether a backend may serve a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// It may.
    Eligible,
    /// Its certificate says no, but so does every other, and a frontend is never emptied by that.
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
}

/// Why a backend may not serve a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
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
}
