//! The program of a control-plane host's interface, loaded by itself, with a VIP of both families that three members
//! serve.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aya::Pod;
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use etherparse::{Ipv4Header, PacketBuilder};
use nllb_agent::datapath::load::{self, BpfLogLevel, Extras, Object, VIP_PROGRAM};
use nllb_agent::datapath::{monotonic_ns, pin_directory};
use nllb_common::addr::{Addr, Port};
use nllb_common::maps::{
    Control, State, VIP_GENERATIONS, Verdict, VipControl, VipMember, VipOutcome, VipSet, VipWay,
    VipWays, mac_word, names, way_flags,
};
use nllb_common::vip::{Flow, Kind, Step, View, flow_hash};

use crate::Lab;

/// `XDP_DROP`
pub const DROP: u32 = 1;
/// `XDP_PASS`
pub const PASS: u32 = 2;
/// `XDP_TX`
pub const TX: u32 = 3;

/// The port of the VIP.
pub const PORT: u16 = 6443;
/// The MAC address of this host.
pub const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// That of the client, or of the last router on the way from it.
pub const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 0xcc];
/// The VIP by IPv4.
pub const VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
/// The VIP by IPv6.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);
/// The client by IPv4.
pub const FROM4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// The client by IPv6.
pub const FROM6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
/// The interface where frames come in.
const INTERFACE: u32 = 1;

/// The program with a VIP of both families, served by three members of which this host is the first.
pub struct Program {
    object: Object,
    /// The sets of members, IPv4 and IPv6.
    pub sets: [VipSet; 2],
    /// Where the pins are.
    pub lab: Lab,
}

struct Healthy;

impl View for Healthy {
    fn verdict(&self, _: u32) -> Verdict {
        Verdict::new(State::Healthy, 0, 1, 1)
    }
}

/// The MAC address of a member.
#[must_use]
pub fn mac(place: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, place + 1]
}

/// The address of a member.
#[must_use]
pub fn member(v6: bool, place: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(place) + 1).into()
    } else {
        Ipv4Addr::new(10, 0, 0, place + 1).into()
    }
}

impl Program {
    /// `None` where labs cannot be.
    #[must_use]
    pub fn load() -> Option<Self> {
        let lab = Lab::builder().control_planes(0).build_or_skip()?;
        let directory = pin_directory(lab.node(0).bpffs());
        std::fs::create_dir(&directory).expect("created");
        let extras = Extras { vip: true, ..Extras::default() };
        let object = load::load(&directory, BpfLogLevel::Off, extras).expect("loaded");
        object.vip.as_ref().expect("the kernel takes it");
        let sets = [false, true].map(|v6| {
            let vip: IpAddr = if v6 { VIP6.into() } else { VIP4.into() };
            let mut set = VipSet { len: 3, own: 0, ..VipSet::empty(vip.into(), Port::new(PORT)) };
            for place in 0..3u8 {
                let id = u32::from(place) + if v6 { 3 } else { 0 };
                set.members[usize::from(place)] = VipMember::new(member(v6, place).into(), id, 1);
            }
            for (entry, place) in set.maglev.iter_mut().zip([0u8, 1, 2].into_iter().cycle()) {
                *entry = place;
            }
            set
        });
        let mut program = Self { object, sets, lab };
        for id in 0..6 {
            program.set(names::VERDICT, id, Verdict::new(State::Healthy, 0, 1, 1).word());
        }
        let control = Control { lease_until_ns: u64::MAX, ..Control::new(250) };
        program.set(names::CONTROL, 0, control);
        program.set(names::VIP_SETS, 0, sets[0]);
        program.set(names::VIP_SETS, VIP_GENERATIONS, sets[1]);
        program.ways(0);
        let control =
            VipControl { mac: mac_word(OWN), sets: [1, VIP_GENERATIONS + 1], mtu: 1500, added: 0 };
        program.set(names::VIP_CONTROL, 0, control);
        Some(program)
    }

    /// Writes an entry of an array.
    pub fn set<T: Pod>(&mut self, map: &str, index: u32, value: T) {
        let map = self.object.bpf.map_mut(map).expect("a map");
        let mut map: Array<&mut MapData, T> = Array::try_from(map).expect("of this type");
        map.set(index, value, 0).expect("written");
    }

    /// Ways to all members, with these flags besides.
    pub fn ways(&mut self, flags: u64) {
        let mut ways = VipWays::default();
        for place in 0..3u8 {
            ways[usize::from(place)] = VipWay {
                to: mac_word(mac(place)) | way_flags::KNOWN | flags,
                from: mac_word(OWN),
                interface: INTERFACE,
                mtu: 1500,
            };
        }
        self.set(names::VIP_WAYS, 0, ways);
        self.set(names::VIP_WAYS, VIP_GENERATIONS, ways);
    }

    /// Ways to all members that lead back here and change nothing but how many hops are left: a frame that is sent on
    /// looks as if it had just come in from the client.
    pub fn ways_back(&mut self) {
        let way = VipWay {
            to: mac_word(OWN) | way_flags::KNOWN,
            from: mac_word(CLIENT),
            interface: INTERFACE,
            mtu: 1500,
        };
        let mut ways = VipWays::default();
        ways[..3].fill(way);
        self.set(names::VIP_WAYS, 0, ways);
        self.set(names::VIP_WAYS, VIP_GENERATIONS, ways);
    }

    /// Lets this host own the VIP, or not.
    pub fn own_for_ever(&mut self, own: bool) {
        self.set(names::VIP_OWNER, 0, if own { u64::MAX } else { monotonic_ns() - 1 });
    }

    /// The program itself.
    pub fn program(&mut self) -> &mut Xdp {
        let program = self.object.bpf.program_mut(VIP_PROGRAM).expect("in the object");
        program.try_into().expect("of this type")
    }

    /// What becomes of a frame, and how it looks then.
    pub fn run(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let (action, out, _) = self.repeat(frame, 1);
        (action, out)
    }

    /// The same so often one after the other, each time with the frame as the time before has left it, and how long
    /// once took.
    pub fn repeat(&mut self, frame: &[u8], times: u32) -> (u32, Vec<u8>, Duration) {
        let mut out = vec![0; 4096];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            repeat: times,
            ..TestRunOptions::new()
        };
        let result = self.program().test_run(options).expect("it runs");
        out.truncate(result.data_size_out as usize);
        (result.return_value, out, result.duration)
    }

    /// Lets a frame pass unchanged.
    pub fn passes(&mut self, frame: &[u8], what: &str) {
        let (action, out) = self.run(frame);
        assert_eq!((action, out.as_slice()), (PASS, frame), "{what}");
    }

    /// How many packets had this outcome.
    #[must_use]
    pub fn count(&self, outcome: VipOutcome) -> u64 {
        let map = self.object.bpf.map(names::VIP_STATS).expect("a map");
        let map: PerCpuArray<&MapData, u64> = PerCpuArray::try_from(map).expect("of this type");
        map.get(&(outcome as u32), 0).expect("read").iter().sum()
    }

    /// The place that a connection from this port is for.
    #[must_use]
    pub fn place(&self, v6: bool, port: u16) -> u8 {
        let set = &self.sets[usize::from(v6)];
        let client: IpAddr = if v6 { FROM6.into() } else { FROM4.into() };
        let hash = flow_hash(Addr::from(client), Port::new(port));
        let flow = Flow { set, hash, lease_valid: true, zero: 0 };
        match flow.step(&Healthy, Kind::Opening, false, None) {
            Step::Keep => 0,
            Step::Forward(place) => u8::try_from(place).expect("small"),
            Step::Look => panic!("not for a SYN"),
        }
    }

    /// A port whose connections are for this place.
    #[must_use]
    pub fn port_for(&self, v6: bool, place: u8) -> u16 {
        (1024..).find(|port| self.place(v6, *port) == place).expect("one of them")
    }
}

/// A segment of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The first.
    Syn,
    /// One of those that follow.
    Ack,
}

/// A frame with a segment for the VIP.
#[must_use]
pub fn segment(v6: bool, from: [u8; 6], port: u16, what: Segment, payload: usize) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from, OWN);
    let ip = if v6 {
        ethernet.ipv6(FROM6.octets(), VIP6.octets(), 64)
    } else {
        ethernet.ipv4(FROM4.octets(), VIP4.octets(), 64)
    };
    let tcp = ip.tcp(port, PORT, 1000, 512);
    let tcp = if what == Segment::Syn { tcp.syn() } else { tcp.ack(77) };
    let mut frame = Vec::new();
    tcp.write(&mut frame, &vec![7; payload]).expect("written");
    if !v6 {
        // As every TCP sends them.
        set_fragment(&mut frame, 14, 0x4000);
    }
    frame
}

/// Writes flags and offset of an IPv4 header, and its checksum.
pub fn set_fragment(frame: &mut [u8], ip: usize, word: u16) {
    frame[ip + 6..ip + 8].copy_from_slice(&word.to_be_bytes());
    let header = Ipv4Header::from_slice(&frame[ip..]).expect("a header").0;
    frame[ip + 10..ip + 12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
}
