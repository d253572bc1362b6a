//! What the netlink crates lack of `SOCK_DIAG`: attributes of a request (`INET_DIAG_REQ_BYTECODE`,
//! `INET_DIAG_REQ_SK_BPF_STORAGES`), and the storages in an answer.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::MapData;
use netlink_packet_core::{
    DefaultNla, Emitable as _, NLA_TYPE_MASK, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, Nla as _, NlasIterator,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, SOCK_DIAG_BY_FAMILY};
use nllb_common::maps::{Protocol, SocketRecord};

// Attributes (`uapi/linux/inet_diag.h`, `sock_diag.h`).
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_REQ_SK_BPF_STORAGES: u16 = 2;
const SK_DIAG_BPF_STORAGE_REQ_MAP_FD: u16 = 1;
const INET_DIAG_SK_BPF_STORAGES: u16 = 20;
const SK_DIAG_BPF_STORAGE: u16 = 1;
const SK_DIAG_BPF_STORAGE_MAP_VALUE: u16 = 3;

/// Compares the destination (`INET_DIAG_BC_D_COND`).
const BC_D_COND: u8 = 8;

/// An address family, as netlink numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The families of sockets that can be connected to an address: a v6 socket also to a v4 one, by its
    /// mapped form.
    pub(super) const fn reaching(address: SocketAddr) -> &'static [Self] {
        match address.ip().to_canonical() {
            IpAddr::V4(_) => &Self::ALL,
            IpAddr::V6(_) => &[Self::V6],
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::V4 => AF_INET,
            Self::V6 => AF_INET6,
        }
    }

    fn any_socket(self) -> SocketId {
        match self {
            Self::V4 => SocketId::new_v4(),
            Self::V6 => SocketId::new_v6(),
        }
    }
}

/// A request about sockets.
pub(super) fn request(
    protocol: Protocol,
    family: Family,
    states: StateFlags,
    socket_id: SocketId,
) -> InetRequest {
    InetRequest {
        family: family.number(),
        protocol: protocol as u8,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    }
}

/// A request to list sockets together with their storages.
pub(super) struct List {
    request: InetRequest,
    attributes: Vec<DefaultNla>,
}

impl List {
    /// Sockets in these states with what `storage` holds of each, if one is given; only those connected to `peer` if one is
    /// given.
    pub(super) fn new(
        protocol: Protocol,
        family: Family,
        states: StateFlags,
        storage: Option<&MapData>,
        peer: Option<SocketAddr>,
    ) -> Self {
        let mut socket_id = family.any_socket();
        let mut attributes = Vec::new();
        if let Some(storage) = storage {
            let map = DefaultNla::new(
                SK_DIAG_BPF_STORAGE_REQ_MAP_FD,
                storage.fd().as_fd().as_raw_fd().to_ne_bytes().to_vec(),
            );
            let mut nested = vec![0; map.buffer_len()];
            map.emit(&mut nested);
            attributes.push(DefaultNla::new(INET_DIAG_REQ_SK_BPF_STORAGES, nested));
        }
        if let Some(peer) = peer {
            socket_id.destination_port = peer.port();
            attributes.push(DefaultNla::new(INET_DIAG_REQ_BYTECODE, is_peer(peer)));
        }
        Self { request: request(protocol, family, states, socket_id), attributes }
    }
}

impl NetlinkSerializable for List {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        self.request.buffer_len() + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (request, attributes) = buffer.split_at_mut(self.request.buffer_len());
        self.request.emit(request);
        self.attributes.as_slice().emit(attributes);
    }
}

/// A program of one instruction for the kernel's filter of sockets, which accepts those connected to
/// `peer`; for a v4 address also in its mapped form. A jump to the end accepts, one beyond it rejects.
fn is_peer(peer: SocketAddr) -> Vec<u8> {
    let (family, address) = match peer.ip().to_canonical() {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    };
    // `inet_diag_bc_op`, then `inet_diag_hostcond`, then the address.
    let length = u8::try_from(4 + 8 + address.len()).expect("at most 28");
    let bits = u8::try_from(address.len() * 8).expect("at most 128");
    let mut program = vec![BC_D_COND, length];
    program.extend(u16::from(length + 4).to_ne_bytes());
    program.extend([family, bits, 0, 0]);
    program.extend(i32::from(peer.port()).to_ne_bytes());
    program.extend(address);
    program
}

/// Appends a message to a buffer.
pub(super) fn append<M: NetlinkSerializable>(
    buffer: &mut Vec<u8>,
    message: M,
    flags: u16,
    sequence: u32,
) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    // Requests are multiples of four bytes long, so the next one may follow at once.
    let start = buffer.len();
    buffer.resize(start + message.buffer_len(), 0);
    message.serialize(&mut buffer[start..]);
}

/// What SOCKS holds of a socket, from the attributes of an answer; none for a socket without a record.
pub(super) fn record(attributes: &[Nla]) -> Option<SocketRecord> {
    let storages = attributes.iter().find_map(|attribute| {
        let Nla::Other(other) = attribute else {
            return None;
        };
        let mut value = vec![0; other.value_len()];
        other.emit_value(&mut value);
        (other.kind() & NLA_TYPE_MASK == INET_DIAG_SK_BPF_STORAGES).then_some(value)
    })?;
    let storage = attribute(&storages, SK_DIAG_BPF_STORAGE)?;
    let value = attribute(storage, SK_DIAG_BPF_STORAGE_MAP_VALUE)?;
    if value.len() != size_of::<SocketRecord>() {
        return None;
    }
    // SAFETY: as many bytes as a record has, any alignment; a record is `Pod`, so any bytes are one.
    Some(unsafe { std::ptr::read_unaligned(value.as_ptr().cast()) })
}

/// The value of the first attribute of a kind.
fn attribute(nested: &[u8], kind: u16) -> Option<&[u8]> {
    let mut offset = 0;
    for attribute in NlasIterator::new(nested) {
        let attribute = attribute.ok()?;
        let (start, length) = (offset + 4, attribute.value_length());
        if attribute.kind() == kind {
            return nested.get(start..start + length);
        }
        offset = (start + length).next_multiple_of(4);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_what_the_kernel_expects() {
        let peer: SocketAddr = "10.1.2.3:6443".parse().expect("an address");
        let program = is_peer(peer);
        assert_eq!(program.len(), 16);
        assert_eq!(program[..2], [8, 16], "compare the destination, on success go to the end");
        assert_eq!(program[2..4], 20u16.to_ne_bytes(), "else beyond it");
        assert_eq!(program[4..8], [2, 32, 0, 0]);
        assert_eq!(program[8..12], 6443i32.to_ne_bytes());
        assert_eq!(program[12..], [10, 1, 2, 3]);
        assert_eq!(is_peer("[::ffff:10.1.2.3]:6443".parse().expect("an address")), program);
        assert_eq!(is_peer("[fd00::1]:6443".parse().expect("an address")).len(), 28);
    }

    #[test]
    fn a_v4_backend_has_sockets_of_both_families() {
        let families = |text: &str| Family::reaching(text.parse().expect("an address"));
        assert_eq!(families("10.1.2.3:6443"), [Family::V4, Family::V6]);
        assert_eq!(families("[fd00::1]:6443"), [Family::V6]);
    }

    #[test]
    fn a_record_is_found_between_other_attributes() {
        let nla = |kind, value: &[u8]| DefaultNla::new(kind, value.to_vec());
        let bytes = |attributes: &[DefaultNla]| {
            let mut bytes = vec![0; attributes.buffer_len()];
            attributes.emit(&mut bytes);
            bytes
        };
        let value: Vec<u8> =
            (0..size_of::<SocketRecord>()).map(|byte| byte.to_le_bytes()[0]).collect();
        let storage = bytes(&[nla(2, &7u32.to_ne_bytes()), nla(1, &[]), nla(3, &value)]);
        let storages =
            nla(INET_DIAG_SK_BPF_STORAGES, &bytes(&[nla(SK_DIAG_BPF_STORAGE, &storage)]));
        let found = record(&[Nla::Tos(0), Nla::Other(storages)]).expect("a record");
        assert_eq!(found.netns, u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(record(&[Nla::Tos(0)]), None);
        let short = bytes(&[nla(SK_DIAG_BPF_STORAGE, &bytes(&[nla(3, &value[1..])]))]);
        assert_eq!(record(&[Nla::Other(nla(INET_DIAG_SK_BPF_STORAGES, &short))]), None);
    }
}
