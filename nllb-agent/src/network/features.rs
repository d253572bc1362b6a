//! Whether an interface puts several packets together into one before the host sees them, asked over netlink.
//!
//! The older way, an ioctl, can change the interface as well, and the agent's filter of system calls could not tell one
//! from the other. Numbers are those of `uapi/linux/ethtool_netlink.h` and `uapi/linux/genetlink.h`.

use std::io;

use netlink_packet_core::{
    NLA_ALIGNTO, NLA_F_NESTED, NLA_HEADER_SIZE, NLM_F_REQUEST, NlasIterator,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_GENERIC;

/// More than the features of an interface take.
const ANSWER_BYTES: usize = 32 << 10;
/// The message's own header, and that of generic netlink.
const HEADERS: usize = 16 + 4;

/// `NLMSG_ERROR`
const ERROR: u16 = 2;
/// `GENL_ID_CTRL`: who knows the numbers of the others.
const CONTROLLER: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID`
const FAMILY_ID: u16 = 1;
/// `CTRL_ATTR_FAMILY_NAME`
const FAMILY_NAME: u16 = 2;
/// `ETHTOOL_MSG_FEATURES_GET`
const GET_FEATURES: u8 = 11;
/// `ETHTOOL_A_FEATURES_HEADER`
const HEADER: u16 = 1;
/// `ETHTOOL_A_HEADER_DEV_INDEX`
const INTERFACE: u16 = 1;
/// `ETHTOOL_A_FEATURES_ACTIVE`
const ACTIVE: u16 = 4;
/// `ETHTOOL_A_BITSET_BITS`
const BITS: u16 = 3;
/// `ETHTOOL_A_BITSET_BITS_BIT`
const BIT: u16 = 1;
/// `ETHTOOL_A_BITSET_BIT_NAME`
const NAME: u16 = 2;
/// The features that put packets together.
const MERGING: [&[u8]; 3] = [b"rx-gro\0", b"rx-gro-hw\0", b"rx-lro\0"];

/// Whether the interface with this number does.
///
/// # Errors
/// When the kernel cannot be asked, one that was built without this among others.
pub fn merges(interface: u32) -> io::Result<bool> {
    let socket = Socket::new(NETLINK_GENERIC)?;
    // The kernel has answered when the request was sent; a wait would be for ever.
    socket.set_non_blocking(true)?;
    let answer = ask(&socket, CONTROLLER, GET_FAMILY, &attribute(FAMILY_NAME, b"ethtool\0"))?;
    let id = values(&answer, FAMILY_ID).next().and_then(|id| id.try_into().ok());
    let family = u16::from_ne_bytes(id.ok_or(io::ErrorKind::InvalidData)?);
    let which = attribute(INTERFACE, &interface.to_ne_bytes());
    let answer = ask(&socket, family, GET_FEATURES, &attribute(HEADER | NLA_F_NESTED, &which))?;
    Ok(is_merging(&answer))
}

/// Whether one of these features is among those that are active.
fn is_merging(answer: &[u8]) -> bool {
    let bits = values(answer, ACTIVE).flat_map(|set| values(set, BITS));
    let names = bits.flat_map(|bits| values(bits, BIT)).flat_map(|bit| values(bit, NAME));
    names.into_iter().any(|name| MERGING.contains(&name))
}

/// What the kernel answers, without the headers.
fn ask(socket: &Socket, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(HEADERS + attributes.len()).map_err(io::Error::other)?;
    let mut request = Vec::with_capacity(HEADERS + attributes.len());
    request.extend(length.to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    // No sequence, since each answer is awaited, and nobody's port.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(attributes);
    socket.send(&request, 0)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    socket.recv(&mut answer, 0)?;
    let word = |at: usize| answer.get(at..at + 4).and_then(|word| word.try_into().ok());
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    if kind == Some(ERROR) {
        let code = word(16).map_or(0, i32::from_ne_bytes);
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    let length = word(0).map(u32::from_ne_bytes).and_then(|length| usize::try_from(length).ok());
    let body = length.and_then(|length| answer.get(HEADERS..length));
    Ok(body.ok_or(io::ErrorKind::InvalidData)?.to_vec())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = NLA_HEADER_SIZE + value.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(NLA_ALIGNTO));
    bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(NLA_ALIGNTO), 0);
    bytes
}

/// The values of the attributes of this kind; what is malformed ends them.
fn values(attributes: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    let sound = NlasIterator::new(attributes).map_while(Result::ok);
    sound.filter(move |one| one.kind() == kind).filter_map(|one| {
        let length = usize::from(one.length());
        one.into_inner().get(NLA_HEADER_SIZE..length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(names: &[&[u8]]) -> Vec<u8> {
        let bits: Vec<_> =
            names.iter().flat_map(|name| attribute(BIT, &attribute(NAME, name))).collect();
        let set = attribute(ACTIVE | NLA_F_NESTED, &attribute(BITS | NLA_F_NESTED, &bits));
        [attribute(HEADER, &[]), attribute(2, &set), set].concat()
    }

    #[test]
    fn an_interface_merges_by_each_of_the_features_that_do_and_by_no_other() {
        for name in MERGING {
            assert!(is_merging(&answer(&[b"tx-checksum-ipv4\0", name])));
        }
        assert!(!is_merging(&answer(&[b"rx-gro-list\0", b"rx-checksum\0"])));
        assert!(!is_merging(&answer(&[])) && !is_merging(&[7, 0, 1]));
    }

    #[test]
    fn the_kernel_is_asked_about_the_loopback_interface() {
        match merges(1) {
            Ok(_) => {}
            Err(error) => println!("skipped: {error}"),
        }
        assert!(merges(u32::MAX).is_err(), "there is none");
    }
}
