//! Frames of every shape, and what etherparse says of their checksums. For the tests here and in the lab alike, which
//! has this file as a module.

use std::format;
use std::net::{IpAddr, SocketAddr};
use std::string::String;
use std::vec::Vec;

use etherparse::{LaxPacketHeaders, NetHeaders, PacketHeaders, TransportHeader};

/// Numbers of extension headers that may stand between the IPv6 header and what it carries.
pub(crate) const EXTENSIONS: [u8; 3] = [0, 60, 43];
/// Bits of TCP.
pub(crate) const SYN: u8 = 2;
/// Bits of TCP.
pub(crate) const ACK: u8 = 16;

/// Addresses of the two ends of a link.
const MAC: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// A segment.
    Tcp {
        /// Its bits.
        flags: u8,
        /// Number of its first octet.
        sequence: u32,
        /// Number of the octet that is awaited.
        acknowledged: u32,
    },
    /// A datagram, with a checksum or without.
    Udp {
        /// With.
        checksum: bool,
    },
}

impl Carried {
    /// The first segment of a connection.
    pub(crate) const fn syn(sequence: u32) -> Self {
        Self::Tcp { flags: SYN, sequence, acknowledged: 0 }
    }

    const fn protocol(self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
        }
    }
}

/// What is around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Around {
    /// Tags of virtual networks.
    pub(crate) tags: Vec<u16>,
    /// Words of IPv4 options.
    pub(crate) options: u8,
    /// Extension headers of IPv6, by number.
    pub(crate) extensions: Vec<u8>,
}

/// A frame with this payload.
pub(crate) fn frame(
    around: &Around,
    from: SocketAddr,
    to: SocketAddr,
    carried: Carried,
    payload: &[u8],
) -> Vec<u8> {
    let segment = segment(from, to, carried, payload);
    let packet = packet(around, (from.ip(), to.ip()), carried.protocol(), &segment, None);
    link(around, to.is_ipv6(), &packet)
}

/// The same in two frames, with the ports in the first.
pub(crate) fn fragments(
    around: &Around,
    from: SocketAddr,
    to: SocketAddr,
    carried: Carried,
    payload: &[u8],
) -> [Vec<u8>; 2] {
    let segment = segment(from, to, carried, payload);
    let cut = 24;
    let part = |range: std::ops::Range<usize>, place, more| {
        let packet = packet(
            around,
            (from.ip(), to.ip()),
            carried.protocol(),
            &segment[range],
            Some((place, more)),
        );
        link(around, to.is_ipv6(), &packet)
    };
    [part(0..cut, 0, true), part(cut..segment.len(), cut, false)]
}

/// An error of ICMP about a packet, of which it has so many octets at most.
pub(crate) fn error(
    around: &Around,
    (from, to): (IpAddr, IpAddr),
    kind: u8,
    about: &[u8],
    length: usize,
) -> Vec<u8> {
    let about = &about[..about.len().min(length)];
    let mut message = [&[kind, 0, 0, 0, 0, 0, 0, 0], about].concat();
    let (protocol, pseudo) = match to {
        IpAddr::V4(_) => (1, Vec::new()),
        IpAddr::V6(_) => (58, pseudo_header((from, to), 58, message.len())),
    };
    let checksum = checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    link(around, to.is_ipv6(), &packet(around, (from, to), protocol, &message, None))
}

/// What follows the Ethernet header and the tags of a frame.
pub(crate) fn network(frame: &[u8]) -> &[u8] {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    &frame[at + 2..]
}

/// A packet within a frame.
pub(crate) fn link(around: &Around, v6: bool, packet: &[u8]) -> Vec<u8> {
    let mut frame = MAC.concat();
    for (index, tag) in around.tags.iter().enumerate() {
        let inner = index + 1 == around.tags.len();
        frame.extend(if inner { [0x81, 0] } else { [0x88, 0xa8] });
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(if v6 { [0x86, 0xdd] } else { [8, 0] });
    frame.extend(packet);
    frame
}

fn segment(from: SocketAddr, to: SocketAddr, carried: Carried, payload: &[u8]) -> Vec<u8> {
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let (mut header, at) = match carried {
        Carried::Tcp { flags, sequence, acknowledged } => {
            let numbers = [sequence.to_be_bytes(), acknowledged.to_be_bytes()].concat();
            ([ports, numbers, [0x50, flags, 0x72, 0x10, 0, 0, 0, 0].into()].concat(), 16)
        }
        Carried::Udp { .. } => {
            let length = u16::try_from(payload.len() + 8).expect("a small datagram");
            ([ports, length.to_be_bytes().into(), [0, 0].into()].concat(), 6)
        }
    };
    header.extend(payload);
    if carried != (Carried::Udp { checksum: false }) {
        let pseudo = pseudo_header((from.ip(), to.ip()), carried.protocol(), header.len());
        let sum = match (checksum(&[&pseudo, &header]), carried) {
            (0, Carried::Udp { .. }) => 0xffff,
            (sum, _) => sum,
        };
        header[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    header
}

fn packet(
    around: &Around,
    (from, to): (IpAddr, IpAddr),
    protocol: u8,
    content: &[u8],
    fragment: Option<(usize, bool)>,
) -> Vec<u8> {
    let place = fragment.map_or(0, |(place, _)| u16::try_from(place).expect("small"));
    let more = fragment.is_some_and(|(_, more)| more);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = 20 + 4 * usize::from(around.options);
            let total = u16::try_from(length + content.len()).expect("a small packet");
            let mut header = Vec::from([0x45 + around.options, 0]);
            header.extend(total.to_be_bytes());
            header.extend([0x12, 0x34]);
            header.extend(((place / 8) | if more { 0x2000 } else { 0 }).to_be_bytes());
            header.extend([64, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            // No operation, as often as there is room.
            header.resize(length, 1);
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&header, content].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut between: Vec<(u8, Vec<u8>)> = Vec::new();
            // Options that are padding; of a routing header, no place is left.
            between.extend(around.extensions.iter().map(|kind| {
                let rest = if *kind == 43 { [0; 6] } else { [1, 4, 0, 0, 0, 0] };
                (*kind, [&[0], rest.as_slice()].concat())
            }));
            if fragment.is_some() {
                let [high, low] = (place | u16::from(more)).to_be_bytes();
                between.push((44, [0, high, low, 1, 2, 3, 4].into()));
            }
            let mut next: Vec<u8> = between.iter().map(|(kind, _)| *kind).collect();
            next.push(protocol);
            let headers: Vec<u8> = between
                .iter()
                .zip(&next[1..])
                .flat_map(|((_, rest), next)| [&[*next], rest.as_slice()].concat())
                .collect();
            let length = u16::try_from(headers.len() + content.len()).expect("a small packet");
            let mut header = Vec::from([0x60, 0, 0, 0]);
            header.extend(length.to_be_bytes());
            header.extend([next[0], 64]);
            header.extend(from.octets());
            header.extend(to.octets());
            [&header, headers.as_slice(), content].concat()
        }
        _ => panic!("both are of one family"),
    }
}

fn pseudo_header((from, to): (IpAddr, IpAddr), protocol: u8, length: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    for addr in [from, to] {
        match addr {
            IpAddr::V4(addr) => octets.extend(addr.octets()),
            IpAddr::V6(addr) => octets.extend(addr.octets()),
        }
    }
    octets.extend(u32::try_from(length).expect("small").to_be_bytes());
    octets.extend([0, 0, 0, protocol]);
    octets
}

/// The sum of all octets of each, in the plainest way.
fn checksum(of: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in of {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !u16::try_from(sum).expect("folded")
}

/// Says which checksum of a frame is wrong; none when all are right, those of a packet in an error included.
pub(crate) fn wrong_checksum(frame: &[u8]) -> Option<String> {
    let headers = match PacketHeaders::from_ethernet_slice(frame) {
        Ok(headers) => headers,
        Err(error) => return Some(format!("not understood: {error}")),
    };
    let payload = headers.payload.slice();
    let net = headers.net.as_ref()?;
    if let Some(wrong) = wrong_in(net, headers.transport.as_ref(), payload) {
        return Some(wrong);
    }
    if !matches!(headers.transport, Some(TransportHeader::Icmpv4(_) | TransportHeader::Icmpv6(_))) {
        return None;
    }
    let Ok(quoted) = LaxPacketHeaders::from_ip(payload) else {
        return Some("no packet in the error".into());
    };
    let whole = quoted.stop_err.is_none() && !is_cut(payload, &quoted);
    let transport = quoted.transport.as_ref().filter(|_| whole);
    wrong_in(quoted.net.as_ref()?, transport, quoted.payload.slice())
        .map(|wrong| format!("{wrong} in the error"))
}

/// Whether there is less of a packet than it says itself.
fn is_cut(packet: &[u8], headers: &LaxPacketHeaders<'_>) -> bool {
    let length = match headers.net.as_ref() {
        Some(NetHeaders::Ipv4(header, _)) => usize::from(header.total_len),
        Some(NetHeaders::Ipv6(header, _)) => 40 + usize::from(header.payload_length),
        _ => return true,
    };
    packet.len() < length
}

fn wrong_in(
    net: &NetHeaders,
    transport: Option<&TransportHeader>,
    payload: &[u8],
) -> Option<String> {
    let (found, right) = match net {
        NetHeaders::Ipv4(ip, _) => {
            let right = ip.calc_header_checksum();
            if ip.header_checksum != right {
                return Some(format!("IPv4: {:04x}, not {right:04x}", ip.header_checksum));
            }
            match transport? {
                TransportHeader::Tcp(tcp) => (tcp.checksum, tcp.calc_checksum_ipv4(ip, payload)),
                TransportHeader::Udp(udp) if udp.checksum == 0 => return None,
                TransportHeader::Udp(udp) => (udp.checksum, udp.calc_checksum_ipv4(ip, payload)),
                TransportHeader::Icmpv4(icmp) => {
                    (icmp.checksum, Ok(icmp.icmp_type.calc_checksum(payload)))
                }
                TransportHeader::Icmpv6(_) | TransportHeader::Igmp(_) => {
                    return Some("a protocol of another family".into());
                }
            }
        }
        NetHeaders::Ipv6(ip, _) => match transport? {
            TransportHeader::Tcp(tcp) => (tcp.checksum, tcp.calc_checksum_ipv6(ip, payload)),
            TransportHeader::Udp(udp) if udp.checksum == 0 => return None,
            TransportHeader::Udp(udp) => (udp.checksum, udp.calc_checksum_ipv6(ip, payload)),
            TransportHeader::Icmpv6(icmp) => {
                (icmp.checksum, icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload))
            }
            TransportHeader::Icmpv4(_) | TransportHeader::Igmp(_) => {
                return Some("a protocol of another family".into());
            }
        },
        NetHeaders::Arp(_) => return Some("no IP".into()),
    };
    match right {
        Ok(right) if right == found => None,
        Ok(right) => Some(format!("{transport:?}: not {right:04x}")),
        Err(error) => Some(format!("{error}")),
    }
}
