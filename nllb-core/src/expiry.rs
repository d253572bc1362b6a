//! How soon a certificate ends, early enough to do something about it.
//!
//! An expired serving certificate takes its API server away from every client at one second, and on a
//! control plane set up in one go it takes all of them. Every probe sees the dates, so nllb can tell
//! weeks before.
//!
//! The levels are a month, for who renews by hand and plans it, and a week, for who was sure that it
//! renews itself: kubeadm and k3s do that on upgrade or restart, so a week is the time left to notice
//! that neither happened.

use std::fmt;

use crate::report::CertificateFacts;

const DAY: i64 = 24 * 3600;

/// How urgent the end of a certificate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Urgency {
    /// There is time.
    #[default]
    None,
    /// It ends within 30 days.
    Month,
    /// It ends within 7 days.
    Week,
    /// It has ended.
    Expired,
}

impl Urgency {
    /// Every level, the calm one first.
    pub const ALL: [Self; 4] = [Self::None, Self::Month, Self::Week, Self::Expired];

    /// The word for it in status and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Month => "month",
            Self::Week => "week",
            Self::Expired => "expired",
        }
    }

    /// How long before the end of a certificate the level begins, in seconds.
    const fn ahead(self) -> i64 {
        match self {
            Self::None => i64::MAX,
            Self::Month => 30 * DAY,
            Self::Week => 7 * DAY,
            // The last second is still a valid one.
            Self::Expired => -1,
        }
    }
}

/// When a backend's certificate, or one that it depends on, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// How urgent that is.
    pub urgency: Urgency,
    /// Last second of the validity, unix time.
    pub ends: i64,
    /// Which certificate ends first.
    pub which: Ending,
}

/// Which certificate ends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The backend's own.
    Own,
    /// One of its chain: an authority between, or the one at the root.
    Chain,
}

impl Expiry {
    /// What the dates of `certificate` mean at a moment in unix seconds.
    #[must_use]
    pub fn of(certificate: &CertificateFacts, unix_time: i64) -> Self {
        let CertificateFacts { not_after, chain_not_after, .. } = certificate;
        let (ends, which) = match *chain_not_after {
            Some(chain) if chain < *not_after => (chain, Ending::Chain),
            Some(_) | None => (*not_after, Ending::Own),
        };
        let left = ends.saturating_sub(unix_time);
        let reached = |level: &Urgency| left <= level.ahead();
        let urgency = Urgency::ALL.into_iter().rev().find(reached).unwrap_or_default();
        Self { urgency, ends, which }
    }

    /// The unix second in which the urgency grows; `None` when it is as great as it gets.
    #[must_use]
    pub fn grows_at(&self) -> Option<i64> {
        let next = Urgency::ALL.into_iter().find(|level| *level > self.urgency)?;
        Some(self.ends.saturating_sub(next.ahead()))
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { urgency, ends, which } = self;
        f.write_str(match which {
            Ending::Own => "its certificate ",
            Ending::Chain => "the certificate of an authority above it ",
        })?;
        match urgency {
            Urgency::None => write!(f, "ends at unix time {ends}"),
            Urgency::Month => write!(f, "ends within 30 days, at unix time {ends}"),
            Urgency::Week => write!(f, "ends within 7 days, at unix time {ends}"),
            Urgency::Expired => write!(f, "has ended at unix time {ends}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expiry(own: i64, chain: Option<i64>, now: i64) -> Expiry {
        let facts = CertificateFacts {
            names: Vec::new(),
            not_before: 0,
            not_after: own,
            chain_not_after: chain,
            issuer: String::new(),
            subject: String::new(),
        };
        Expiry::of(&facts, now)
    }

    #[test]
    fn the_urgency_grows_30_days_and_7_days_before_and_after_the_last_second() {
        let ends = 1000 * DAY;
        for (now, urgency) in [
            (0, Urgency::None),
            (ends - 30 * DAY - 1, Urgency::None),
            (ends - 30 * DAY, Urgency::Month),
            (ends - 7 * DAY - 1, Urgency::Month),
            (ends - 7 * DAY, Urgency::Week),
            (ends, Urgency::Week),
            (ends + 1, Urgency::Expired),
            (i64::MAX, Urgency::Expired),
        ] {
            assert_eq!(expiry(ends, None, now).urgency, urgency, "{now}");
        }
    }

    #[test]
    fn an_authority_that_ends_earlier_is_what_counts() {
        let found = expiry(100 * DAY, Some(20 * DAY), 0);
        assert_eq!((found.urgency, found.ends), (Urgency::Month, 20 * DAY));
        assert_eq!(
            found.to_string(),
            "the certificate of an authority above it ends within 30 days, at unix time 1728000"
        );
        assert_eq!(expiry(100 * DAY, Some(100 * DAY), 0).which, Ending::Own);
    }

    proptest! {
        #[test]
        fn the_urgency_grows_in_the_second_it_says_and_in_none_before(
            own: i64, chain: Option<i64>, now in -1_000_000_000_000i64..1_000_000_000_000,
        ) {
            let found = expiry(own, chain, now);
            match found.grows_at() {
                None => prop_assert_eq!(found.urgency, Urgency::Expired),
                Some(at) if at < i64::MAX => {
                    prop_assert!(at > now);
                    prop_assert_eq!(expiry(own, chain, at - 1).urgency, found.urgency);
                    prop_assert!(expiry(own, chain, at).urgency > found.urgency);
                }
                Some(_) => {}
            }
        }
    }
}
