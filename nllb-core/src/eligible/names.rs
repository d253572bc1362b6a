//! Whether a certificate's names cover an address or a name.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::report::SubjectName;

/// Whether one of `names` is this address.
pub(super) fn covers_ip(names: &[SubjectName], wanted: IpAddr) -> bool {
    names.iter().any(|name| match name {
        SubjectName::Ip(ip) => ip.to_canonical() == wanted.to_canonical(),
        SubjectName::Dns(_) => false,
    })
}

/// Whether one of `names` covers this DNS name, or this address when it is one.
pub(super) fn covers_name(names: &[SubjectName], wanted: &str) -> bool {
    if let Ok(ip) = wanted.parse() {
        return covers_ip(names, ip);
    }
    let wanted = normal(wanted);
    names.iter().any(|name| match name {
        SubjectName::Dns(pattern) => matches_dns(&normal(pattern), &wanted),
        SubjectName::Ip(_) => false,
    })
}

/// Names differ neither by case nor by the dot of the root.
fn normal(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// A wildcard stands for exactly one label, the first, and never for a part of one (RFC 6125 6.4.3).
fn matches_dns(pattern: &str, wanted: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => wanted
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && !rest.is_empty() && rest == parent),
        None => !pattern.is_empty() && pattern == wanted,
    }
}
