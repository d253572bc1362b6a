//! What can be asked for by name: a fault of API servers, of name servers, or of what clients elsewhere depend on.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::fault::Fault;
use super::{lookups, outside};

/// A fault, and of whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Case {
    /// Of API servers, to which clients connect.
    Connects(Fault),
    /// Of name servers, which resolvers ask.
    Lookups(lookups::Fault),
    /// Of what clients depend on that no hook for connects sees.
    Outside(outside::Fault),
}

/// How many there are.
const COUNT: usize = Fault::ALL.len() + lookups::Fault::ALL.len() + outside::Fault::ALL.len();

impl Case {
    const ALL: [Self; COUNT] = {
        let (connects, lookups) = (Fault::ALL.len(), lookups::Fault::ALL.len());
        let mut all = [Self::Connects(Fault::Crash); COUNT];
        let mut index = 0;
        while index < all.len() {
            all[index] = if index < connects {
                Self::Connects(Fault::ALL[index])
            } else if index < connects + lookups {
                Self::Lookups(lookups::Fault::ALL[index - connects])
            } else {
                Self::Outside(outside::Fault::ALL[index - connects - lookups])
            };
            index += 1;
        }
        all
    };

    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        Self::ALL.to_vec()
    }

    /// The fault, if it is one of API servers.
    pub(super) fn connects(self) -> Option<Fault> {
        match self {
            Self::Connects(fault) => Some(fault),
            Self::Lookups(_) | Self::Outside(_) => None,
        }
    }

    /// The fault, if it is one of name servers.
    pub(super) fn lookups(self) -> Option<lookups::Fault> {
        match self {
            Self::Lookups(fault) => Some(fault),
            Self::Connects(_) | Self::Outside(_) => None,
        }
    }

    /// The fault, if it is one of what clients elsewhere depend on.
    pub(super) fn outside(self) -> Option<outside::Fault> {
        match self {
            Self::Outside(fault) => Some(fault),
            Self::Connects(_) | Self::Lookups(_) => None,
        }
    }
}

impl ValueEnum for Case {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Connects(fault) => fault.to_possible_value(),
            Self::Lookups(fault) => fault.to_possible_value(),
            Self::Outside(fault) => fault.to_possible_value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Case::ALL
            .iter()
            .map(|case| case.to_possible_value().expect("none is hidden").get_name().to_owned())
            .collect();
        assert_eq!(names.len(), Case::ALL.len());
        assert_eq!(Case::from_str("crash", false), Ok(Case::Connects(Fault::Crash)));
        let power_off = Case::Lookups(lookups::Fault::PowerOff);
        assert_eq!(Case::from_str("dns-power-off", false), Ok(power_off));
    }
}
