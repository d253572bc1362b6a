//! Single frames through the program, by `BPF_PROG_TEST_RUN`: what becomes of each, and what it looks like then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ipv4Header, NetSlice, PacketBuilder,
    SlicedPacket, TransportSlice,
};
use nllb_common::maps::{
    Control, State, Verdict, VipControl, VipOutcome, VipWays, names, way_flags,
};
use nllb_lab::netns;
use nllb_lab::packets::vip::{
    CLIENT, DROP, FROM4, FROM6, OWN, PASS, PORT, Program, Segment, TX, VIP4, VIP6, mac, member,
    segment, set_fragment,
};

/// Checks every checksum in a frame, and gives its two MAC addresses.
fn sound(frame: &[u8]) -> ([u8; 6], [u8; 6]) {
    let packet = SlicedPacket::from_ethernet(frame).expect("a packet");
    let transport = match packet.net.as_ref().expect("a network header") {
        NetSlice::Ipv4(v4) => {
            let header = v4.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            match packet.transport.as_ref() {
                Some(TransportSlice::Tcp(tcp)) => {
                    let sum = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload());
                    Some((tcp.checksum(), sum.expect("short enough")))
                }
                Some(TransportSlice::Icmpv4(icmp)) => {
                    let header = icmp.header();
                    Some((header.checksum, header.icmp_type.calc_checksum(icmp.payload())))
                }
                _ => None,
            }
        }
        NetSlice::Ipv6(v6) => {
            let header = v6.header().to_header();
            match packet.transport.as_ref() {
                Some(TransportSlice::Tcp(tcp)) => {
                    let sum = tcp.to_header().calc_checksum_ipv6(&header, tcp.payload());
                    Some((tcp.checksum(), sum.expect("short enough")))
                }
                Some(TransportSlice::Icmpv6(icmp)) => {
                    let is = icmp.is_checksum_valid(header.source, header.destination);
                    assert!(is, "ICMPv6");
                    None
                }
                _ => None,
            }
        }
        NetSlice::Arp(_) => None,
    };
    if let Some((is, should)) = transport {
        assert_eq!(is, should, "of the transport header");
    }
    let [a, b] = [&frame[0..6], &frame[6..12]].map(|mac| mac.try_into().expect("six bytes"));
    (a, b)
}

/// What a router changes of a frame.
fn forwarded(frame: &[u8], v6: bool, to: [u8; 6]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[0..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&OWN);
    if v6 {
        frame[21] -= 1;
    } else {
        frame[22] -= 1;
        let header = Ipv4Header::from_slice(&frame[14..]).expect("a header").0;
        frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    }
    frame
}

#[test]
fn a_new_connection_is_kept_or_sent_to_whom_its_order_has_first() {
    let Some(mut program) = Program::load() else { return };
    for v6 in [false, true] {
        for port in 2000..2100 {
            let frame = segment(v6, CLIENT, port, Segment::Syn, 0);
            let place = program.place(v6, port);
            let (action, out) = program.run(&frame);
            if place == 0 {
                assert_eq!((action, out), (PASS, frame));
            } else {
                assert_eq!((action, out.clone()), (TX, forwarded(&frame, v6, mac(place))));
                assert_eq!(sound(&out), (mac(place), OWN));
            }
        }
    }
    assert!(program.count(VipOutcome::Local) > 0 && program.count(VipOutcome::Forwarded) > 0);
}

#[test]
fn what_nobody_has_goes_along_the_order_and_is_left_to_the_last() {
    let Some(mut program) = Program::load() else { return };
    for v6 in [false, true] {
        let port = program.port_for(v6, 1);
        let (action, out) = program.run(&segment(v6, CLIENT, port, Segment::Ack, 10));
        assert_eq!((action, sound(&out).0), (TX, mac(1)), "the first of its order");
        // Sent on by another member, to whoever is next after this one; never back.
        for place in 0..3 {
            let port = program.port_for(v6, place);
            let frame = segment(v6, mac(1), port, Segment::Ack, 0);
            let (action, out) = program.run(&frame);
            match action {
                TX => assert_ne!(sound(&out).0, OWN),
                _ => assert_eq!((action, out), (PASS, frame)),
            }
        }
        let syn = segment(v6, mac(2), program.port_for(v6, 1), Segment::Syn, 0);
        program.passes(&syn, "another member has decided");
    }
    assert!(program.count(VipOutcome::SecondChance) > 0);
    assert!(program.count(VipOutcome::LastChance) > 0);
}

#[test]
fn the_dead_get_nothing_as_long_as_the_lease_holds() {
    let Some(mut program) = Program::load() else { return };
    let port = program.port_for(false, 1);
    program.set(names::VERDICT, 1, Verdict::new(State::Unhealthy, 0, 1, 1).word());
    for what in [Segment::Syn, Segment::Ack] {
        let (action, out) = program.run(&segment(false, CLIENT, port, what, 0));
        assert!(action == PASS || sound(&out).0 == mac(2), "{action}");
    }
    program.set(names::CONTROL, 0, Control::new(250));
    let (action, out) = program.run(&segment(false, CLIENT, port, Segment::Syn, 0));
    assert_eq!((action, sound(&out).0), (TX, mac(1)), "nobody is known to be dead");
}

#[test]
fn frames_that_are_cut_short_pass_untouched() {
    let Some(mut program) = Program::load() else { return };
    for v6 in [false, true] {
        let frame = segment(v6, CLIENT, program.port_for(v6, 1), Segment::Syn, 0);
        for length in 14..frame.len() {
            program.passes(&frame[..length], &format!("{length} bytes"));
        }
        let tunnel = tunnelled(v6, 1, &segment(v6, CLIENT, 4000, Segment::Syn, 0));
        for length in 14..tunnel.len() - 20 {
            // What is in the tunnel is found to be cut only when it has been taken out.
            assert!(matches!(program.run(&tunnel[..length]).0, PASS | TX), "{length} bytes");
        }
    }
    for frame in [arp(ArpOperation::REQUEST, VIP4, FROM4), solicitation(VIP6, true)] {
        for length in 14..frame.len() {
            let (action, _) = program.run(&frame[..length]);
            assert!(matches!(action, PASS | DROP), "{length} bytes: {action}");
        }
    }
}

#[test]
fn what_is_none_of_ours_passes_untouched() {
    let Some(mut program) = Program::load() else { return };
    let port = program.port_for(false, 1);
    let syn = segment(false, CLIENT, port, Segment::Syn, 0);
    let ip = |mac, ip: Ipv4Addr| {
        PacketBuilder::ethernet2(CLIENT, mac).ipv4(FROM4.octets(), ip.octets(), 64)
    };
    let to = |mac, address, port| {
        let mut frame = Vec::new();
        let tcp = ip(mac, address).tcp(4000, port, 1, 1).syn();
        tcp.write(&mut frame, &[]).expect("written");
        frame
    };
    program.passes(&to(OWN, Ipv4Addr::new(10, 0, 0, 1), PORT), "another address");
    program.passes(&to(OWN, VIP4, 22), "another port");
    program.passes(&to([2, 9, 9, 9, 9, 9], VIP4, PORT), "another host's frame");
    for word in [0x2000, 0x2001, 0x0004, 0x6000] {
        let mut fragment = syn.clone();
        set_fragment(&mut fragment, 14, word);
        program.passes(&fragment, "a fragment");
    }
    let mut udp = Vec::new();
    ip(OWN, VIP4).udp(4000, PORT).write(&mut udp, &[1, 2]).expect("written");
    program.passes(&udp, "UDP");
    let mut echo = Vec::new();
    ip(OWN, VIP4).icmpv4_echo_request(1, 2).write(&mut echo, &[]).expect("written");
    program.passes(&echo, "a ping");
    for tags in [1, 2] {
        let mut tagged = syn[..12].to_vec();
        for tag in 0..tags {
            let kind: u16 = if tag + 1 < tags { 0x88a8 } else { 0x8100 };
            tagged.extend([kind.to_be_bytes(), [0, 5]].concat());
        }
        tagged.extend(&syn[12..]);
        program.passes(&tagged, "of another network");
    }
    let mut version = syn.clone();
    version[14] = 0x65;
    program.passes(&version, "another version than the frame says");
    let mut length = syn;
    length[14] = 0x44;
    program.passes(&length, "a header shorter than any");
}

#[test]
fn options_and_extensions_are_looked_past_and_wrong_checksums_stay_wrong() {
    let Some(mut program) = Program::load() else { return };
    let port = program.port_for(false, 1);
    let plain = segment(false, CLIENT, port, Segment::Syn, 0);
    let mut header = Ipv4Header::from_slice(&plain[14..]).expect("a header").0;
    header.options = [1; 8][..].try_into().expect("two words");
    header.total_len += 8;
    header.header_checksum = header.calc_header_checksum();
    let mut frame = plain[..14].to_vec();
    header.write(&mut frame).expect("written");
    frame.extend(&plain[34..]);
    let (action, out) = program.run(&frame);
    assert_eq!((action, out.clone()), (TX, forwarded(&frame, false, mac(1))));
    sound(&out);

    let mut wrong = plain.clone();
    wrong[24] ^= 0x55;
    let (action, out) = program.run(&wrong);
    assert_eq!(action, TX);
    let after = Ipv4Header::from_slice(&out[14..]).expect("a header").0;
    assert_ne!(after.header_checksum, after.calc_header_checksum());

    let port = program.port_for(true, 2);
    let plain = segment(true, CLIENT, port, Segment::Syn, 0);
    let mut frame = plain[..54].to_vec();
    frame[20] = 0;
    frame[19] += 16;
    frame.extend([60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend(&plain[54..]);
    let (action, out) = program.run(&frame);
    assert_eq!((action, out), (TX, forwarded(&frame, true, mac(2))));

    let mut last = segment(false, CLIENT, program.port_for(false, 1), Segment::Syn, 0);
    last[22] = 1;
    assert_eq!(program.run(&last).0, DROP, "forwarded too often");
    assert_eq!(program.count(VipOutcome::Expired), 1);
}

fn arp(operation: ArpOperation, target: Ipv4Addr, sender: Ipv4Addr) -> Vec<u8> {
    let arp = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        operation,
        &CLIENT,
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    );
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(CLIENT, [0xff; 6]).arp(arp.expect("a packet"));
    builder.write(&mut frame).expect("written");
    frame
}

#[test]
fn the_owner_answers_for_its_address_and_nobody_else_does() {
    let Some(mut program) = Program::load() else { return };
    let request = arp(ArpOperation::REQUEST, VIP4, FROM4);
    program.own_for_ever(false);
    assert_eq!(program.run(&request).0, DROP);
    program.own_for_ever(true);
    let (action, out) = program.run(&request);
    assert_eq!((action, sound(&out)), (TX, (CLIENT, OWN)));
    let packet = SlicedPacket::from_ethernet(&out).expect("a packet");
    let Some(NetSlice::Arp(answer)) = packet.net else { panic!("no ARP") };
    assert_eq!(answer.operation(), ArpOperation::REPLY);
    assert_eq!(
        (answer.sender_hw_addr(), answer.sender_protocol_addr()),
        (&OWN[..], &VIP4.octets()[..])
    );
    assert_eq!(
        (answer.target_hw_addr(), answer.target_protocol_addr()),
        (&CLIENT[..], &FROM4.octets()[..])
    );
    assert_eq!(program.run(&arp(ArpOperation::REQUEST, VIP4, VIP4)).0, DROP, "an announcement");
    assert_eq!(program.run(&request).0, DROP, "somebody else has it now");
    program.passes(&arp(ArpOperation::REQUEST, Ipv4Addr::new(10, 0, 0, 1), FROM4), "another");
    program.passes(&arp(ArpOperation::REPLY, VIP4, FROM4), "a reply");
}

/// A solicitation for an address, with or without the sender's own addresses.
fn solicitation(target: Ipv6Addr, addressed: bool) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(target.octets());
    let source = if addressed { FROM6 } else { Ipv6Addr::UNSPECIFIED };
    if addressed {
        message.extend([1, 1]);
        message.extend(CLIENT);
    }
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x100);
    let ethernet = PacketBuilder::ethernet2(CLIENT, [0x33, 0x33, 0xff, 0, 1, 0]);
    let builder = ethernet.ipv6(source.octets(), group.octets(), 255).icmpv6_raw(135, 0, [0; 4]);
    let mut frame = Vec::new();
    builder.write(&mut frame, &message[4..]).expect("written");
    frame
}

#[test]
fn the_owner_answers_solicitations_of_those_with_and_without_an_address() {
    let Some(mut program) = Program::load() else { return };
    for addressed in [true, false] {
        let request = solicitation(VIP6, addressed);
        program.own_for_ever(false);
        assert_eq!(program.run(&request).0, DROP);
        program.own_for_ever(true);
        let (action, out) = program.run(&request);
        assert_eq!(action, TX);
        let (to, from) = sound(&out);
        let all = [0x33, 0x33, 0, 0, 0, 1];
        assert_eq!((to, from), (if addressed { CLIENT } else { all }, OWN));
        assert_eq!((out[21], out[54], out[58]), (255, 136, if addressed { 0x60 } else { 0x20 }));
        assert_eq!(out[22..38], VIP6.octets());
        assert_eq!(out[62..78], VIP6.octets());
        if addressed {
            assert_eq!(out[38..54], FROM6.octets());
            assert_eq!((&out[78..80], &out[80..86]), (&[2, 1][..], &OWN[..]));
        }
        let mut wrong = request.clone();
        wrong[57] ^= 1;
        assert_eq!(program.run(&wrong).0, DROP, "a wrong checksum");
        let mut routed = request;
        routed[21] = 254;
        assert_eq!(program.run(&routed).0, DROP, "from beyond the link");
    }
    program.passes(&solicitation(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), true), "another");

    let announcement = |hops| {
        let ethernet = PacketBuilder::ethernet2(CLIENT, [0x33, 0x33, 0, 0, 0, 1]);
        let nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let builder = ethernet.ipv6(VIP6.octets(), nodes.octets(), hops);
        let builder = builder.icmpv6_raw(136, 0, [0x20, 0, 0, 0]);
        let mut message = VIP6.octets().to_vec();
        message.extend([2, 1]);
        message.extend(CLIENT);
        let mut frame = Vec::new();
        builder.write(&mut frame, &message).expect("written");
        frame
    };
    let request = solicitation(VIP6, true);
    program.own_for_ever(true);
    program.passes(&announcement(254), "from beyond the link");
    assert_eq!(program.run(&request).0, TX);
    program.passes(&announcement(255), "another has it");
    assert_eq!(program.run(&request).0, DROP);
}

/// A packet in the tunnel of the member at `place`.
fn tunnelled(v6: bool, place: u8, frame: &[u8]) -> Vec<u8> {
    let inner = &frame[14..];
    let ethernet = PacketBuilder::ethernet2(CLIENT, OWN);
    let mut out = Vec::new();
    match (member(v6, place), member(v6, 0)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let builder = ethernet.ipv4(from.octets(), to.octets(), 64);
            builder.write(&mut out, etherparse::IpNumber::IPV4, inner).expect("written");
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let builder = ethernet.ipv6(from.octets(), to.octets(), 64);
            builder.write(&mut out, etherparse::IpNumber::IPV6, inner).expect("written");
        }
        _ => panic!("of one family"),
    }
    out
}

#[test]
fn packets_go_into_tunnels_and_come_out_as_they_were() {
    let Some(mut program) = Program::load() else { return };
    program.ways(way_flags::TUNNEL);
    for v6 in [false, true] {
        let port = program.port_for(v6, 1);
        let frame = segment(v6, CLIENT, port, Segment::Syn, 100);
        let (action, out) = program.run(&frame);
        assert_eq!(action, TX);
        assert_eq!(sound(&out), (mac(1), OWN));
        let overhead = if v6 { 40 } else { 20 };
        assert_eq!(out.len(), frame.len() + overhead);
        let inner = forwarded(&frame, v6, mac(1));
        assert_eq!(out[14 + overhead..], inner[14..]);
        let outer = SlicedPacket::from_ethernet(&out).expect("a packet");
        let (from, to): (IpAddr, IpAddr) = match outer.net.expect("a header") {
            NetSlice::Ipv4(v4) => {
                (v4.header().source_addr().into(), v4.header().destination_addr().into())
            }
            NetSlice::Ipv6(v6) => {
                (v6.header().source_addr().into(), v6.header().destination_addr().into())
            }
            NetSlice::Arp(_) => panic!("no ARP"),
        };
        assert_eq!((from, to), (member(v6, 0), member(v6, 1)));

        let (action, out) = program.run(&tunnelled(v6, 2, &frame));
        assert_eq!((action, out), (PASS, frame.clone()), "taken out, and kept");
        let stranger = {
            let mut frame = tunnelled(v6, 2, &frame);
            let last = if v6 { 37 } else { 29 };
            frame[last] = 99;
            if !v6 {
                set_fragment(&mut frame, 14, 0);
            }
            frame
        };
        program.passes(&stranger, "not from a member");
        let mut other = frame;
        let last = if v6 { 53 } else { 33 };
        other[last] = 1;
        program.passes(&tunnelled(v6, 2, &other), "somebody else's tunnel");
    }
    assert_eq!(program.count(VipOutcome::Decapsulated), 2);
}

#[test]
fn who_sends_what_does_not_fit_into_the_tunnel_is_told() {
    let Some(mut program) = Program::load() else { return };
    program.ways(way_flags::TUNNEL);
    for (v6, headers, mtu) in [(false, 40, 1480), (true, 60, 1460)] {
        let port = program.port_for(v6, 1);
        let fits = segment(v6, CLIENT, port, Segment::Ack, usize::from(mtu) - headers);
        assert_eq!(program.run(&fits).1.len(), 1514);
        let frame = segment(v6, CLIENT, port, Segment::Ack, usize::from(mtu) - headers + 1);
        let (action, out) = program.run(&frame);
        assert_eq!((action, sound(&out)), (TX, (CLIENT, OWN)));
        let (kind, said, quote): (_, _, &[u8]) = if v6 {
            (out[54..56].to_vec(), u16::from_be_bytes([out[60], out[61]]), &out[62..])
        } else {
            (out[34..36].to_vec(), u16::from_be_bytes([out[40], out[41]]), &out[42..])
        };
        assert_eq!((kind, said), (if v6 { vec![2, 0] } else { vec![3, 4] }, mtu));
        assert_eq!(*quote, frame[14..14 + quote.len()], "quoted as it came");
        let aggregated = segment(v6, CLIENT, port, Segment::Ack, 2000);
        assert_eq!(program.run(&aggregated).0, DROP, "put together by the interface");
    }
    let mut may_be_cut = segment(false, CLIENT, program.port_for(false, 1), Segment::Ack, 1460);
    set_fragment(&mut may_be_cut, 14, 0);
    assert_eq!(program.run(&may_be_cut).0, DROP);
    assert_eq!(program.count(VipOutcome::TooBig), 2);
    assert_eq!(program.count(VipOutcome::TooLong), 3);
}

#[test]
fn icmp_errors_go_where_the_connection_is_that_they_speak_of() {
    let Some(mut program) = Program::load() else { return };
    for v6 in [false, true] {
        let port = program.port_for(v6, 2);
        let mut quoted = Vec::new();
        let router = PacketBuilder::ethernet2(CLIENT, OWN);
        let mut frame = Vec::new();
        if v6 {
            let inner = PacketBuilder::ipv6(VIP6.octets(), FROM6.octets(), 64);
            inner.tcp(PORT, port, 1, 1).ack(2).write(&mut quoted, &[]).expect("written");
            let ip =
                router.ipv6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9).octets(), VIP6.octets(), 64);
            ip.icmpv6_raw(2, 0, [0, 0, 5, 0]).write(&mut frame, &quoted).expect("written");
        } else {
            let inner = PacketBuilder::ipv4(VIP4.octets(), FROM4.octets(), 64);
            inner.tcp(PORT, port, 1, 1).ack(2).write(&mut quoted, &[]).expect("written");
            // A router need not quote more than eight bytes of what the packet carried.
            let ip = router.ipv4([10, 9, 9, 9], VIP4.octets(), 64);
            ip.icmpv4_raw(3, 4, [0, 0, 5, 0]).write(&mut frame, &quoted[..28]).expect("written");
        }
        let (action, out) = program.run(&frame);
        assert_eq!((action, out.clone()), (TX, forwarded(&frame, v6, mac(2))));
        sound(&out);
        let (kind, port_at) = if v6 { (54, 54 + 8 + 40) } else { (34, 34 + 8 + 20) };
        let mut about_another = frame.clone();
        about_another[port_at] ^= 1;
        program.passes(&about_another, "of another port");
        let mut no_error = frame;
        no_error[kind] = if v6 { 128 } else { 8 };
        program.passes(&no_error, "no error");
    }
}

#[test]
fn without_a_way_nothing_is_sent_and_without_a_vip_nothing_is_touched() {
    let Some(mut program) = Program::load() else { return };
    let port = program.port_for(false, 1);
    program.set(names::VIP_WAYS, 0, VipWays::default());
    let frame = segment(false, CLIENT, port, Segment::Syn, 0);
    assert_eq!(program.run(&frame).0, DROP);
    assert_eq!(program.count(VipOutcome::NoWay), 1);
    program.set(names::VIP_CONTROL, 0, VipControl::default());
    program.passes(&frame, "no VIP");
    program.passes(&arp(ArpOperation::REQUEST, VIP4, FROM4), "no VIP");
    program.passes(&solicitation(VIP6, true), "no VIP");
}

#[test]
fn a_connection_of_this_host_stays_here_whatever_its_order_says() {
    let Some(mut program) = Program::load() else { return };
    let node = program.lab.node(0).netns().to_owned();
    // A connection of the VIP with itself, by which a client and a server are at hand.
    netns::ip(
        Some(&node),
        &[format!("addr add {VIP4}/32 dev lo"), format!("addr add {FROM4}/32 dev lo")],
    )
    .expect("added");
    let done = netns::run_in(&node, || {
        let listener = std::net::TcpListener::bind((VIP4, PORT)).expect("bound");
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let client = client.expect("a socket");
        let port = program.port_for(false, 1);
        client.bind(&std::net::SocketAddrV4::new(FROM4, port).into()).expect("bound");
        let to = std::net::SocketAddrV4::new(VIP4, PORT).into();
        client.connect_timeout(&to, Duration::from_secs(5)).expect("connected");
        let _server = listener.accept().expect("accepted");
        program.passes(&segment(false, CLIENT, port, Segment::Ack, 0), "its own");
        program.passes(&segment(false, mac(1), port, Segment::Ack, 0), "its own, handed on");
        let other = (port + 1..).find(|port| program.place(false, *port) == 1).expect("one");
        let (action, out) = program.run(&segment(false, CLIENT, other, Segment::Ack, 0));
        assert_eq!((action, sound(&out).0), (TX, mac(1)), "of nobody here, listener or not");
    });
    done.expect("the node is there");
}

#[test]
fn frames_that_are_damaged_anywhere_pass_as_they_are_or_go_to_members_or_back_to_who_sent_them() {
    const FRAMES: u32 = 20_000;
    let Some(mut program) = Program::load() else { return };
    program.own_for_ever(true);
    let mut sound = vec![arp(ArpOperation::REQUEST, VIP4, FROM4), solicitation(VIP6, true)];
    for v6 in [false, true] {
        for place in 0..3 {
            let port = program.port_for(v6, place);
            sound.push(segment(v6, CLIENT, port, Segment::Syn, 0));
            sound.push(segment(v6, CLIENT, port, Segment::Ack, 100));
        }
        sound.push(tunnelled(v6, 1, &segment(v6, CLIENT, 2000, Segment::Ack, 100)));
    }
    let mut drawn: u32 = 0;
    let mut draw = |below: usize| {
        drawn = nllb_common::mix(u32::wrapping_add(drawn, 1));
        drawn as usize % below
    };
    let mut changed = 0;
    for round in 0..FRAMES {
        program.ways([0, way_flags::TUNNEL][(round / 1000 % 2) as usize]);
        let mut frame = sound[draw(sound.len())].clone();
        for _ in 0..=draw(3) {
            let at = draw(frame.len());
            frame[at] = [0, 0xff, frame[at] ^ 1 << draw(8)][draw(3)];
        }
        if draw(4) == 0 {
            // No shorter than the kernel takes it.
            frame.truncate(14 + draw(frame.len() - 13));
        }
        let (action, out) = program.run(&frame);
        let (to, from) = (&out[..6], &out[6..12]);
        let is_right = match action {
            DROP => true,
            // What comes out of a tunnel is shorter.
            PASS => out == frame || out.len() < frame.len(),
            TX => {
                from == OWN
                    && ((1..3).any(|place| to == mac(place))
                        || to == &frame[6..12]
                        || to == [0x33, 0x33, 0, 0, 0, 1])
            }
            _ => false,
        };
        assert!(is_right, "{action}: {frame:02x?} became {out:02x?}");
        changed += u32::from(action == TX);
    }
    println!("{changed} of {FRAMES} were sent on");
    assert!(changed > FRAMES / 20);
}
