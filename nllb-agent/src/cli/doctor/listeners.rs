//! Who listens on an address of this host.

use super::processes;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Name and id of the process that listens there; `None` when nobody does.
pub(super) fn owner(address: SocketAddr) -> Option<String> {
    let table = if address.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let inode = listener(&fs::read_to_string(table).ok()?, address)?;
    Some(process(inode).unwrap_or_else(|| "another program".to_owned()))
}

/// Whether somebody listens there, be it on every address of both families.
pub(super) fn hears(address: SocketAddr) -> bool {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
    owner(address).or_else(|| owner(both)).is_some()
}

/// The inode of the socket that listens there, or on every address (`proc_net(5)`).
fn listener(table: &str, address: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let local = parse(words.next()?)?;
        let listens = words.nth(1)? == LISTEN;
        let inode = words.nth(5)?.parse().ok()?;
        let there = local.ip() == address.ip() || local.ip().is_unspecified();
        (listens && there && local.port() == address.port()).then_some(inode)
    })
}

/// An address as the kernel shows it: words in the order of the host's bytes, the port in hex.
fn parse(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = (0..ip.len() / 8).map(|n| u32::from_str_radix(&ip[n * 8..n * 8 + 8], 16));
    let bytes: Vec<u8> =
        words.collect::<Result<Vec<_>, _>>().ok()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        16 => IpAddr::from(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The process that has this socket open.
fn process(inode: u64) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let pid = processes::all().find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let mut links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.any(|link| link.as_os_str() == wanted.as_str())
    })?;
    Some(processes::named(pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn whoever_listens_is_found_and_nobody_where_nobody_does() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let Ok(listener) = TcpListener::bind((ip, 0)) else { continue };
            let address = listener.local_addr().expect("an address");
            let found = owner(address).expect("this process");
            assert!(found.ends_with(&format!("(process {})", std::process::id())), "{found}");
            assert!(hears(address));
            drop(listener);
            assert_eq!(owner(address), None);
        }
        let Ok(both) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) else { return };
        let port = both.local_addr().expect("an address").port();
        assert!(hears((Ipv4Addr::LOCALHOST, port).into()));
    }
}
