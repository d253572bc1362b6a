//! The two programs, loaded by themselves, with two frontends of each family that lead to two backends.

use std::net::SocketAddr;
use std::time::Duration;

use aya::maps::{Array, ArrayOfMaps, HashMap, HashOfMaps, Map, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader, Pod};
use nllb_common::Counter;
use nllb_common::addr::{join, split};
use nllb_common::maps::{
    Control, Evidence, Flow, FlowKey, FlowTag, Frontend, FrontendKey, Guest, NO_HOME, Policy,
    PoolSet, Protocol, Scope, Slot, State, Verdict, frontend_flags, names,
};
use nllb_common::packet::parse;

use super::frames;
use crate::lab::say_skipped;

/// What the programs return for a packet that goes on.
pub const ON: i32 = -1;
/// What they return for one that they send back.
pub const REDIRECTED: i32 = 7;
/// The interface of a test run: the loopback of this network namespace.
const INTERFACE: u32 = 1;
/// `BPF_MAP_TYPE_LRU_HASH`
const LRU_HASH: u32 = 9;
const EPOCH: u32 = 1;

/// The guest's end, IPv4 and IPv6.
pub const GUEST: [&str; 2] = ["10.244.0.7:40001", "[fd00:244::7]:40001"];
/// A frontend of each family.
pub const VIP: [&str; 2] = ["10.96.0.1:443", "[fd00:96::1]:443"];
/// Another.
pub const OTHER_VIP: [&str; 2] = ["10.96.0.2:443", "[fd00:96::2]:443"];
/// The backends of each family.
pub const BACKENDS: [[&str; 2]; 2] =
    [["192.0.2.11:6443", "192.0.2.12:6443"], ["[2001:db8::11]:6443", "[2001:db8::12]:6443"]];

/// Such an address.
#[must_use]
pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The programs and their maps.
pub struct Kernel {
    bpf: Ebpf,
    table: HashMap<MapData, FlowTag, Flow>,
    /// Kept, since a map of maps does not keep them for user space.
    pools: Vec<Array<MapData, PoolSet>>,
}

impl Kernel {
    /// `None` without root.
    pub fn load() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            say_skipped("only root can load programs");
            return None;
        }
        let mut bpf = EbpfLoader::new()
            .btf(None)
            .override_global("HAS_SET_RETVAL", &0u8, true)
            .override_global("AYA_LOG_LEVEL", &0u8, false)
            .load(nllb_agent::datapath::object())
            .expect("an object");
        for name in ["nllb_from_guest", "nllb_to_guest"] {
            let program = bpf.program_mut(name).expect("in the object");
            let program: &mut SchedClassifier = program.try_into().expect("of its type");
            program.load().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        let table = aya_obj::Map::new_from_params(LRU_HASH, 16, 60, 4096, 0);
        let table = MapData::create(table, "GUEST", None).expect("a table");
        let mut guests: HashOfMaps<_, u32, MapData> =
            bpf.map_mut(names::GUESTS).expect("there").try_into().expect("of its type");
        guests.insert(INTERFACE, &table, 0).expect("written");
        let table = HashMap::try_from(Map::LruHashMap(table)).expect("of its type");
        let mut kernel = Self { bpf, table, pools: Vec::new() };
        kernel.set_guest(Guest::NONE);
        kernel.fill();
        Some(kernel)
    }

    fn fill(&mut self) {
        for family in 0..2u16 {
            let slots: Vec<_> = (0..2u32).map(|index| self.slot(family, index)).collect();
            self.pool(family + 1, &slots);
            for (id, vip) in [VIP, OTHER_VIP].iter().enumerate() {
                let id = 1 + u16::try_from(id).expect("few");
                self.frontend(id, at(vip[usize::from(family)]), family + 1);
            }
        }
        for backend in 0..4 {
            self.judge(backend, State::Healthy);
            self.array(names::EVIDENCE).set(backend, Evidence::fresh(EPOCH), 0).expect("written");
        }
        self.lease(true);
    }

    /// Makes a frontend of the first backend's own address, of each family: what is translated there stays as it is.
    pub fn add_own_addresses(&mut self) {
        for family in 0..2u16 {
            let slot = self.slot(family, 0);
            self.pool(family + 3, &[slot]);
            self.frontend(3, at(BACKENDS[usize::from(family)][0]), family + 3);
        }
    }

    fn pool(&mut self, pool: u16, slots: &[Slot]) {
        let mut map = Array::create(1, 0).expect("a map");
        map.set(0, PoolSet::new(slots).expect("few"), 0).expect("written");
        let mut pools: ArrayOfMaps<_, Array<MapData, PoolSet>> =
            self.bpf.map_mut(names::POOLS).expect("there").try_into().expect("of its type");
        pools.set(u32::from(pool), &map, 0).expect("written");
        self.pools.push(map);
    }

    fn frontend(&mut self, id: u16, address: SocketAddr, pool: u16) {
        let (addr, port) = split(address);
        let frontend = Frontend { id, pool, home: NO_HOME, flags: 0 };
        let mut frontends: HashMap<_, FrontendKey, u64> = self.hash(names::FRONTENDS);
        for protocol in Protocol::ALL {
            let key = FrontendKey::new(addr, port, protocol, Scope::Other);
            frontends.insert(key, frontend.word(), 0).expect("written");
        }
    }

    fn slot(&self, family: u16, index: u32) -> Slot {
        let (addr, port) = split(at(BACKENDS[usize::from(family)][index as usize]));
        Slot::new(addr, port, u32::from(family) * 2 + index, EPOCH)
    }

    fn array<V: Pod>(&mut self, name: &str) -> Array<&mut MapData, V> {
        self.bpf.map_mut(name).expect("there").try_into().expect("of its type")
    }

    fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        self.bpf.map_mut(name).expect("there").try_into().expect("of its type")
    }

    /// Gives the agent's word on a backend, by id.
    pub fn judge(&mut self, backend: u32, state: State) {
        let verdict = Verdict::new(state, 0, 1, EPOCH).word();
        self.array(names::VERDICT).set(backend, verdict, 0).expect("written");
    }

    /// Lets the agent live, or not.
    pub fn lease(&mut self, valid: bool) {
        let lease_until_ns = if valid { u64::MAX } else { 0 };
        let control = Control { lease_until_ns, host_netns: 1, ..Control::new(250) };
        self.array(names::CONTROL).set(0, control, 0).expect("written");
    }

    /// What is known of a backend.
    pub fn evidence(&mut self, backend: u32) -> Evidence {
        self.array(names::EVIDENCE).get(&backend, 0).expect("read")
    }

    /// What is noted of the interface.
    pub fn guest(&mut self) -> Guest {
        self.hash(names::GUEST_STATES).get(&INTERFACE, 0).expect("read")
    }

    /// Writes what is noted of the interface.
    pub fn set_guest(&mut self, guest: Guest) {
        self.hash(names::GUEST_STATES).insert(INTERFACE, guest, 0).expect("written");
    }

    /// How often something was counted.
    pub fn count(&mut self, counter: Counter) -> u64 {
        let map = self.bpf.map_mut(names::STATS).expect("there");
        let stats: PerCpuArray<_, u64> = map.try_into().expect("of its type");
        stats.get(&(counter as u32), 0).expect("read").iter().sum()
    }

    /// Entries of the guest's table.
    pub fn flows(&self) -> Vec<(FlowTag, Flow)> {
        self.table.iter().map(|entry| entry.expect("read")).collect()
    }

    /// A backend, by id, has answered guests of the interface before.
    pub fn hear(&mut self, backend: u32) {
        let (key, slot) = (FlowKey::heard(backend), self.slot(0, backend));
        let heard = Flow::new(&key, (slot.addr, slot.port), &slot, 0, (0, 0));
        self.table.insert(key.tag(), heard, 0).expect("written");
    }

    /// Lets so much time pass for every entry of the guest's table.
    pub fn pass_ms(&mut self, ms: u32) {
        self.change(|flow| flow.asked_ms = flow.asked_ms.wrapping_sub(ms));
    }

    /// Gives a backend, by id, another epoch, as one that has left and another that has its id.
    pub fn replace(&mut self, backend: u32) {
        let verdict = Verdict::new(State::Unhealthy, 0, 1, EPOCH + 1).word();
        self.array(names::VERDICT).set(backend, verdict, 0).expect("written");
    }

    /// Gives the frontends of IPv4 a policy.
    pub fn set_policy(&mut self, policy: Policy) {
        for protocol in Protocol::ALL {
            let (addr, port) = split(at(VIP[0]));
            let flags = (policy as u16) << frontend_flags::POLICY_SHIFT;
            let frontend = Frontend { id: 1, pool: 1, home: NO_HOME, flags };
            let key = FrontendKey::new(addr, port, protocol, Scope::Other);
            let mut frontends: HashMap<_, FrontendKey, u64> = self.hash(names::FRONTENDS);
            frontends.insert(key, frontend.word(), 0).expect("written");
        }
    }

    /// Changes every entry of the guest's table.
    pub fn change(&mut self, change: impl Fn(&mut Flow)) {
        let mut flows = self.flows();
        flows.iter_mut().for_each(|(_, flow)| change(flow));
        self.restore(&flows);
    }

    /// Writes these entries to the guest's table.
    pub fn restore(&mut self, flows: &[(FlowTag, Flow)]) {
        for (key, flow) in flows {
            self.table.insert(key, flow, 0).expect("written");
        }
    }

    /// What becomes of a frame that the guest sends.
    pub fn leaves(&mut self, frame: &[u8]) -> (i32, Vec<u8>) {
        self.run("nllb_from_guest", frame).expect("a test run")
    }

    /// What becomes of a frame that goes to it.
    pub fn reaches(&mut self, frame: &[u8]) -> (i32, Vec<u8>) {
        self.run("nllb_to_guest", frame).expect("a test run")
    }

    /// What becomes of a frame; `None` when the kernel makes no packet of it.
    pub fn run(&mut self, name: &str, frame: &[u8]) -> Option<(i32, Vec<u8>)> {
        let (verdict, out, _) = self.repeat(name, frame, 1)?;
        Some((verdict, out))
    }

    /// The same so often one after the other, each time with the frame as the time before has left it, and how long
    /// once took.
    pub fn repeat(
        &mut self,
        name: &str,
        frame: &[u8],
        times: u32,
    ) -> Option<(i32, Vec<u8>, Duration)> {
        let program = self.bpf.program_mut(name).expect("in the object");
        let program: &mut SchedClassifier = program.try_into().expect("of its type");
        let mut out = vec![0; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.repeat = times;
        let result = program.test_run(options).ok()?;
        out.truncate(result.data_size_out as usize);
        Some((result.return_value.cast_signed(), out, result.duration))
    }

    /// Where a frame that the guest sends goes; `None` when it is left alone. Whatever is rewritten has right checksums.
    pub fn sends(&mut self, frame: &[u8]) -> Option<SocketAddr> {
        let (verdict, out) = self.leaves(frame);
        assert_eq!(verdict, ON);
        if out == frame {
            return None;
        }
        let packet = parse(out.as_slice(), 0).expect("understood");
        if packet.fragment == 0 {
            assert_eq!(frames::wrong_checksum(&out), None);
        }
        Some(join(packet.destination, packet.destination_port))
    }

    /// From where a frame comes that goes to the guest; `None` when it is left alone.
    pub fn gets(&mut self, frame: &[u8]) -> Option<SocketAddr> {
        let (verdict, out) = self.reaches(frame);
        assert_eq!(verdict, ON);
        if out == frame {
            return None;
        }
        let packet = parse(out.as_slice(), 0).expect("understood");
        if packet.fragment == 0 {
            assert_eq!(frames::wrong_checksum(&out), None);
        }
        Some(join(packet.source, packet.source_port))
    }
}
