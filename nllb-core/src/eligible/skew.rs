//! Which backend may serve a frontend, by version.
//!
//! The certificate is looked at first: who fails its handshake serves nobody, while a version that is a
//! little too old mostly works. So versions only choose among those whose certificate does, and with
//! one further limit: the backend that is preferred for its version must be in service. Else the loss of
//! the one upgraded server would cut a node off from two that answer.
//!
//! And one is not enough. A VIP with a single backend has no other when that one fails, and the first server
//! that is upgraded would get the connections of all nodes. So where only one in service fits, the newest of
//! the others in service are used as well.

use super::{Candidate, Demand, Eligibility, Reason};
use crate::settings::FrontendKind;
use crate::version::KubeVersion;

/// What a frontend asks of a backend's version.
#[derive(Clone, Copy, Debug, Default)]
pub struct Skew<'a> {
    /// The oldest minor version that may serve it.
    pub oldest: Option<&'a KubeVersion>,
    /// Whether only the newest of those in service may. Who has not told its version is not called older.
    pub newest_only: bool,
}

impl<'a> Skew<'a> {
    const fn asks(&self) -> bool {
        self.oldest.is_some() || self.newest_only
    }

    /// Why this version does not do, if it does not.
    fn objection(
        &self,
        version: Option<&KubeVersion>,
        newest: Option<&'a KubeVersion>,
    ) -> Option<Reason> {
        let Some(version) = version else {
            return self.oldest.map(|_| Reason::VersionUnknown);
        };
        let older = |than: &&KubeVersion| version.release() < than.release();
        if let Some(oldest) = self.oldest.filter(older) {
            return Some(Reason::TooOld { version: version.clone(), oldest: oldest.clone() });
        }
        let newest = newest.filter(|_| self.newest_only).filter(older)?;
        Some(Reason::NotNewest { version: version.clone(), newest: newest.clone() })
    }
}

/// Narrows what the certificates allow.
pub(super) fn narrow(
    demand: Demand<'_>,
    backends: &[Candidate<'_>],
    by_certificate: Vec<Eligibility>,
) -> Vec<Eligibility> {
    let skew = demand.skew;
    if !skew.asks() {
        return by_certificate;
    }
    let is_home = |index| demand.kind == FrontendKind::NodeAddress && demand.home == Some(index);
    let fits_and_serves = |index: usize| {
        backends[index].serving
            && !is_home(index)
            && matches!(by_certificate[index], Eligibility::Eligible)
    };
    let serving = || (0..backends.len()).filter(|index| fits_and_serves(*index));
    let versions = serving().filter_map(|index| backends[index].version);
    let newest = versions.max_by_key(|version| version.release());
    let objection = |index: usize| skew.objection(backends[index].version, newest);
    let fitting = serving().filter(|index| objection(*index).is_none()).count();
    // Those whose certificate fits come first, then the newer ones.
    let rank = |index: usize| {
        let fits = matches!(by_certificate[index], Eligibility::Eligible);
        (fits, backends[index].version.map(KubeVersion::release))
    };
    let may_be_second = |index: usize| {
        backends[index].serving && by_certificate[index].is_used() && objection(index).is_some()
    };
    let seconds = (0..backends.len()).filter(|index| may_be_second(*index)).map(rank);
    let alone = fitting == 1 && demand.kind != FrontendKind::NodeAddress;
    let second = if alone { seconds.max() } else { None };
    let is_second = |index: usize| may_be_second(index) && second == Some(rank(index));

    let judge = |(index, certificate): (usize, &Eligibility)| {
        let before = certificate.clone();
        if !certificate.is_used() || is_home(index) {
            return before;
        }
        match (objection(index), demand.kind) {
            (None, _) => before,
            (Some(reason), _) if fitting > 0 && !is_second(index) => {
                Eligibility::NotEligible(reason)
            }
            (Some(Reason::VersionUnknown), _) => before,
            (Some(reason), FrontendKind::NodeAddress) => Eligibility::NotEligible(reason),
            (Some(reason), FrontendKind::Vip | FrontendKind::Loopback) => match before {
                // What is wrong with the certificate weighs more.
                Eligibility::Overruled(_) | Eligibility::NotEligible(_) => before,
                Eligibility::Eligible => Eligibility::Overruled(reason),
            },
        }
    };
    by_certificate.iter().enumerate().map(judge).collect()
}

#[cfg(test)]
mod tests;
