//! Versions of Kubernetes: what `/version` and a node's status say, and how two compare.
//!
//! Only major and minor decide: Kubernetes' promises about skew are made in minor versions, and what
//! follows the patch number differs by distribution.

use std::fmt;
use std::str::FromStr;

/// A version such as `v1.30.4+k3s1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KubeVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The whole text, for people.
    pub text: String,
}

/// Why a text is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no Kubernetes version such as \"v1.30.4\" or \"1.30\"")]
pub struct VersionError {
    /// The text.
    text: String,
}

impl KubeVersion {
    /// What decides, in an order: the major and the minor version.
    #[must_use]
    pub const fn release(&self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

impl FromStr for KubeVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError { text: text.to_owned() };
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let mut parts = numbers.splitn(3, '.');
        let mut next = || {
            // Some providers answer a minor version of "30+".
            let part = parts.next()?.trim_end_matches('+');
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let major = next().ok_or_else(error)?;
        let minor = next().ok_or_else(error)?;
        Ok(Self { major, minor, text: text.to_owned() })
    }
}

impl fmt::Display for KubeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_with_and_without_what_surrounds_its_two_numbers() {
        for (text, release) in [
            ("v1.30.4+k3s1", (1, 30)),
            ("1.30", (1, 30)),
            ("v1.9", (1, 9)),
            ("1.30+", (1, 30)),
            ("v1.32.0-rc.1", (1, 32)),
        ] {
            let version: KubeVersion = text.parse().expect("a version");
            assert_eq!(version.release(), release, "{text}");
            assert_eq!(version.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "v", "1", "one.two", "1.-3", "1.", "v1.+3", "99999999999.1"] {
            assert!(text.parse::<KubeVersion>().is_err(), "{text}");
        }
    }
}
