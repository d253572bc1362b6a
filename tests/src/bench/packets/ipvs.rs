//! A service of IPVS with masquerading, as kube-proxy's ipvs mode has it: by its generic netlink family, so that none of
//! its tools is needed. Numbers are those of `include/uapi/linux/{genetlink,ip_vs}.h`.

use std::net::SocketAddrV4;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::netns;

const REQUEST: u16 = 1;
const ACKNOWLEDGED: u16 = 4;
/// The type of an answer that is a number: 0 when all is well.
const ERROR: u16 = 2;
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const NEW_SERVICE: u8 = 1;
const NEW_DESTINATION: u8 = 5;
const SERVICE: u16 = 1;
const DESTINATION: u16 = 2;
const NESTED: u16 = 0x8000;
/// Length of both headers of a message.
const HEADERS: usize = 20;

/// Whether this kernel has it.
pub(super) fn is_here() -> bool {
    Path::new("/proc/net/ip_vs").exists()
}

/// Serves a VIP in a network namespace, which has it as an address of its own from then on.
pub(super) fn serve(netns: &str, vip: SocketAddrV4, servers: &[SocketAddrV4]) -> Result<()> {
    // What is to be rewritten is looked at on its way to the host itself.
    netns::ip(Some(netns), &[format!("addr add {}/32 dev lo", vip.ip())])?;
    netns::run_in(netns, || {
        let family = ask(CONTROL, GET_FAMILY, 0, &attribute(FAMILY_NAME, b"IPVS\0"))?;
        let family = family.context("no family IPVS")?;
        let of_vip = nested(SERVICE, &service(vip));
        // Round robin; no flags, no persistence.
        let (flags, rest) =
            (attribute(7, &[0; 8]), [attribute(8, &[0; 4]), attribute(9, &[0xff; 4])]);
        let whole = [service(vip), attribute(6, b"rr\0"), flags, rest.concat()].concat();
        ask(family, NEW_SERVICE, ACKNOWLEDGED, &nested(SERVICE, &whole))?;
        for server in servers {
            let server = nested(DESTINATION, &destination(*server));
            let both = [of_vip.clone(), server].concat();
            ask(family, NEW_DESTINATION, ACKNOWLEDGED, &both)?;
        }
        anyhow::Ok(())
    })?
    .with_context(|| format!("cannot serve {vip} by IPVS"))
}

/// Family, protocol, address and port.
fn service(vip: SocketAddrV4) -> Vec<u8> {
    let half = |value: libc::c_int| u16::try_from(value).unwrap_or_default().to_ne_bytes();
    [
        attribute(1, &half(libc::AF_INET)),
        attribute(2, &half(libc::IPPROTO_TCP)),
        attribute(3, &address(vip)),
        attribute(4, &vip.port().to_be_bytes()),
    ]
    .concat()
}

/// Address, port, masquerading, weight, and no thresholds.
fn destination(server: SocketAddrV4) -> Vec<u8> {
    [
        attribute(1, &address(server)),
        attribute(2, &server.port().to_be_bytes()),
        attribute(3, &0u32.to_ne_bytes()),
        attribute(4, &1u32.to_ne_bytes()),
        attribute(5, &0u32.to_ne_bytes()),
        attribute(6, &0u32.to_ne_bytes()),
    ]
    .concat()
}

/// With room for an IPv6 address, as all are told.
fn address(of: SocketAddrV4) -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&of.ip().octets());
    address
}

fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, attributes)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Sends a message; gives the number of the family that the answer names, if it does.
fn ask(family: u16, command: u8, flags: u16, attributes: &[u8]) -> Result<Option<u16>> {
    let length = u32::try_from(HEADERS + attributes.len())?;
    let mut message = Vec::from(length.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend((REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    let (kind, protocol) = (SockType::Raw, SockProtocol::NetlinkGeneric);
    let socket = socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut answer = [0; 8192];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let answer = &answer[..length];
    ensure!(length >= HEADERS, "an answer of {length} bytes");
    if answer[4..6] == ERROR.to_ne_bytes() {
        let error = i32::from_ne_bytes(answer[16..20].try_into()?);
        if error != 0 {
            bail!(std::io::Error::from_raw_os_error(-error));
        }
        return Ok(None);
    }
    Ok(family_id(&answer[HEADERS..]))
}

/// Of an answer's attributes.
fn family_id(mut attributes: &[u8]) -> Option<u16> {
    loop {
        let half =
            |at: usize| Some(u16::from_ne_bytes(attributes.get(at..at + 2)?.try_into().ok()?));
        let (length, kind) = (usize::from(half(0)?), half(2)?);
        if kind == FAMILY_ID {
            return half(4);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_as_long_as_they_say_and_begin_at_words() {
        let name = attribute(FAMILY_NAME, b"IPVS\0");
        assert_eq!((name.len(), name[..2].to_vec()), (12, 9u16.to_ne_bytes().to_vec()));
        let id = attribute(FAMILY_ID, &33u16.to_ne_bytes());
        assert_eq!(family_id(&[name.clone(), id].concat()), Some(33));
        assert_eq!(family_id(&name), None);
    }
}
