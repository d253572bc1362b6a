//! Segments of established connections, sent past the sender's own TCP: it would wait for what it has sent to be
//! acknowledged, and a raw socket does not.
//!
//! What is sent again and again is the last acknowledgement of each connection. Its numbers are right, so whoever tracks
//! connections takes it for what it is, and the server has nothing to answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::{PATIENCE, dial};
use crate::apiserver::ASK_ECHO;

/// Packets between two looks at the clock.
const BATCH: usize = 64;
const ACK: u8 = 16;
/// Length of a TCP header without options, and its mark in the header.
const HEADER: u8 = 20;
/// More than any packet of a handshake or of a server's name.
const MOST: usize = 2048;

/// A connection, and the packet that is sent for it.
struct Flow {
    /// Whose raw socket is that: one for each address dialled.
    target: usize,
    segment: Vec<u8>,
    _stream: TcpStream,
}

/// Opens so many connections, and sends packets of them for so long; gives how many packets, and the nanoseconds.
pub(super) fn send(targets: &[SocketAddr], flows: usize, span: Duration) -> Result<Vec<u64>> {
    let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP));
    // It gets a copy of what comes in.
    let copies = raw().context("cannot open a raw socket")?;
    copies.set_nonblocking(true)?;
    let targets = targets.iter().map(|target| v4(*target)).collect::<Result<Vec<_>>>()?;
    let open = |index| Flow::open(index % targets.len(), targets[index % targets.len()], &copies);
    let flows = (0..flows).map(open).collect::<Result<Vec<_>>>()?;
    drop(copies);
    let mut sockets = Vec::new();
    for target in &targets {
        let socket = raw()?;
        // What comes back is for the connections, and of no use here.
        socket.set_recv_buffer_size(1)?;
        socket.connect(&SocketAddrV4::new(*target.ip(), 0).into())?;
        sockets.push(socket);
    }
    let mut sent = 0;
    let began = Instant::now();
    let mut turns = flows.iter().cycle();
    while began.elapsed() < span {
        for flow in turns.by_ref().take(BATCH) {
            sockets[flow.target].send(&flow.segment).context("cannot send a packet")?;
        }
        sent += BATCH;
    }
    let ns = began.elapsed().as_nanos();
    Ok(vec![u64::try_from(sent)?, u64::try_from(ns)?])
}

impl Flow {
    fn open(index: usize, target: SocketAddrV4, copies: &Socket) -> Result<Self> {
        let (socket, _) = dial(target.into()).with_context(|| format!("cannot dial {target}"))?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[ASK_ECHO])?;
        let mut name = String::new();
        BufReader::with_capacity(1, &stream).read_line(&mut name)?;
        ensure!(!name.is_empty(), "{target} does not answer");
        let own = v4(stream.local_addr()?)?;
        let (sequence, acknowledged) = last(copies, own.port(), target.port())?;
        let segment = segment(own, target, sequence, acknowledged);
        Ok(Self { target: index, segment, _stream: stream })
    }
}

fn v4(address: SocketAddr) -> Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => bail!("only packets of IPv4 are sent"),
    }
}

/// The numbers of the next segment to a server, by the last one that came from it.
fn last(mut copies: &Socket, own: u16, server: u16) -> Result<(u32, u32)> {
    let mut found = None;
    let mut packet = [0; MOST];
    while let Ok(length) = copies.read(&mut packet) {
        found = next(&packet[..length], own, server).or(found);
    }
    found.context("no packet of a connection was seen")
}

/// Sequence and acknowledgement number of what follows an IPv4 packet on a connection; none if it is of another.
fn next(packet: &[u8], own: u16, server: u16) -> Option<(u32, u32)> {
    let length = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let segment = packet.get(length..total)?;
    let half = |at: usize| Some(u16::from_be_bytes(segment.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_be_bytes(segment.get(at..at + 4)?.try_into().ok()?));
    if (half(0)?, half(2)?) != (server, own) {
        return None;
    }
    let header = usize::from(segment.get(12)? >> 4) * 4;
    let flags = *segment.get(13)?;
    let begins = u32::from(flags & 2 != 0);
    let carried = u32::try_from(segment.len().checked_sub(header)?).ok()? + begins;
    Some((word(8)?, word(4)?.wrapping_add(carried)))
}

/// An acknowledgement.
fn segment(from: SocketAddrV4, to: SocketAddrV4, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([(HEADER / 4) << 4, ACK, 0x72, 0x10, 0, 0, 0, 0]);
    let sum = checksum(*from.ip(), *to.ip(), &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

fn checksum(from: Ipv4Addr, to: Ipv4Addr, segment: &[u8]) -> u16 {
    let pseudo = [from.octets(), to.octets(), [0, 6, 0, HEADER]].concat();
    let mut sum = 0u32;
    for pair in pseudo.chunks(2).chain(segment.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !u16::try_from(sum).expect("folded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 87, 0, 2), 40_000);
    const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 443);

    #[test]
    fn what_follows_a_segment_begins_where_that_ended() {
        let ip = PacketBuilder::ipv4(SERVER.ip().octets(), CLIENT.ip().octets(), 64);
        let mut packet = Vec::new();
        let tcp = ip.tcp(SERVER.port(), CLIENT.port(), u32::MAX, 512).ack(77);
        tcp.write(&mut packet, b"name\n").expect("written");
        assert_eq!(next(&packet, CLIENT.port(), SERVER.port()), Some((77, 4)));
        assert_eq!(next(&packet, CLIENT.port(), 444), None);
        assert_eq!(next(&packet[..30], CLIENT.port(), SERVER.port()), None);
    }

    #[test]
    fn a_segment_is_what_another_reader_understands() {
        let segment = segment(CLIENT, SERVER, 77, 4);
        let ip = PacketBuilder::ipv4(CLIENT.ip().octets(), SERVER.ip().octets(), 64);
        let mut packet = Vec::new();
        let tcp = ip.tcp(CLIENT.port(), SERVER.port(), 77, 0x7210).ack(4);
        tcp.write(&mut packet, &[]).expect("written");
        assert_eq!(segment, packet[20..]);
        let sliced = SlicedPacket::from_ip(&packet).expect("a packet");
        assert!(matches!(sliced.transport, Some(TransportSlice::Tcp(tcp)) if tcp.ack()));
    }
}
