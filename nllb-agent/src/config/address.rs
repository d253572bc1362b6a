//! Addresses, paths and names: the words that more than one section uses.

use super::error::{Fault, Problem};
use super::place::At;
use nllb_core::{KubeVersion, Sighting};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The address of one host, with a port. A v4-mapped address becomes the IPv4 one that it is.
pub(super) fn socket_address(found: String) -> Result<SocketAddr, Problem> {
    let Ok(address) = found.parse::<SocketAddr>() else {
        return Err(match found.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => Problem::NoPort { example: SocketAddr::new(ip, 443).to_string(), found },
            Err(_) => Problem::Address { found },
        });
    };
    if address.port() == 0 {
        return Err(Problem::PortZero { found });
    }
    let ip = address.ip().to_canonical();
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Problem::NotUnicast { found });
    }
    Ok(SocketAddr::new(ip, address.port()))
}

/// A port.
pub(super) fn port(found: u64) -> Result<u16, Problem> {
    match u16::try_from(found) {
        Ok(port @ 1..) => Ok(port),
        Ok(0) | Err(_) => {
            let (min, max) = ("1".to_owned(), u16::MAX.to_string());
            Err(Problem::Range { found: found.to_string(), min, max })
        }
    }
}

/// The address of one host, with the port of its API server or without.
pub(super) fn host(found: String) -> Result<Sighting, Problem> {
    let (ip, port) = match (found.parse::<SocketAddr>(), found.parse::<IpAddr>()) {
        (Ok(address), _) => (address.ip(), Some(address.port())),
        (_, Ok(ip)) => (ip, None),
        (Err(_), Err(_)) => return Err(Problem::Host { found }),
    };
    let ip = ip.to_canonical();
    if port == Some(0) {
        return Err(Problem::PortZero { found });
    }
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Problem::NotUnicast { found });
    }
    Ok(Sighting::new(ip, port))
}

/// A DNS name that is no IP address, in lower case.
pub(super) fn dns_name(found: &str) -> Option<String> {
    let name = rustls_pki_types::ServerName::try_from(found).ok()?;
    matches!(name, rustls_pki_types::ServerName::DnsName(_)).then(|| found.to_ascii_lowercase())
}

/// A name that fits a metric label and a log line: a DNS label.
pub(super) fn name(found: String) -> Result<String, Problem> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=63).contains(&found.len()) && found.chars().all(fits) {
        Ok(found)
    } else {
        Err(Problem::Name { found })
    }
}

/// A name of a node: a DNS subdomain. It becomes part of a URL.
pub(super) fn node_name(found: String) -> Result<String, Problem> {
    let label = |label: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty()
            && label.chars().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if found.len() <= 253 && found.split('.').all(label) {
        Ok(found)
    } else {
        Err(Problem::NodeName { found })
    }
}

/// A version of Kubernetes.
pub(super) fn version(found: String) -> Result<KubeVersion, Problem> {
    found.parse().map_err(|_| Problem::Version { found })
}

/// A path from the root, since the agent's working directory is nobody's business.
pub(super) fn absolute(example: &'static str) -> impl Fn(String) -> Result<PathBuf, Problem> {
    move |text| {
        let found = PathBuf::from(text);
        if found.is_absolute() { Ok(found) } else { Err(Problem::Relative { found, example }) }
    }
}

/// A DNS name or an IP address that a certificate can carry.
pub(super) fn server_name(found: String) -> Result<String, Problem> {
    match rustls_pki_types::ServerName::try_from(found.as_str()) {
        Ok(_) => Ok(found),
        Err(_) => Err(Problem::ServerName { found }),
    }
}

/// One of a few values, by the word for it.
pub(super) fn one_of<T: Copy>(
    raw: At<String>,
    values: &[T],
    label: impl Fn(T) -> &'static str,
) -> Result<At<T>, Fault> {
    raw.check(|found| match values.iter().find(|value| label(**value) == found) {
        Some(value) => Ok(*value),
        None => {
            let known = values.iter().map(|value| label(*value)).collect();
            Err(Problem::UnknownValue { found, known })
        }
    })
}
