//! What a socket's record says is where the connection goes, whatever changes under it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap, MapData};
use nllb_common::addr::split;
use nllb_common::maps::{
    Evidence, Frontend, FrontendKey, PoolSet, Scope, Slot, State, Verdict, names,
};
use nllb_lab::client::protocol::{Attribution, Target};
use nllb_lab::lab::VIP_V4;
use nllb_lab::pins::{self, Swapper};
use nllb_lab::{Agent, Client, Configuration, Lab, Place};

/// Ids that the agent does not use here.
const FIRST_BACKEND: u32 = 200;
const EPOCH: u32 = 77;
/// Each call to the kernel waits some 10 ms for its programs, so many threads call at once and several
/// swaps share one call; an odd number, so that either set may be the last of a call.
const SWAPPERS: usize = 32;
const SWAPS_PER_CALL: usize = 9;

#[test]
fn pool_swaps_and_reconnects_never_attribute_a_connection_to_another_server() {
    let Some((lab, storm)) = prepared() else { return };
    let client = lab.client(0).expect("a client");
    let swapper = storm.swapper(&lab);
    let (done, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let plan = Attribution {
        threads: 8,
        connects: 30_000,
        frontend: (VIP_V4, 443).into(),
        targets: storm.targets.clone(),
        records: storm.agent.pins().join(names::SOCKS),
    };
    let started = Instant::now();
    let report = thread::scope(|scope| {
        for _ in 0..SWAPPERS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    swapper.swap(SWAPS_PER_CALL).expect("swapped");
                    swaps.fetch_add(SWAPS_PER_CALL as u64, Ordering::Relaxed);
                }
            });
        }
        let report = client.attribution(&plan);
        done.store(true, Ordering::Relaxed);
        report.expect("a report")
    });
    let took = started.elapsed();
    let swaps = swaps.into_inner();
    println!(
        "{} translated and {} direct connects ({} on reused sockets) in {took:?}",
        report.translated, report.direct, report.reused
    );
    println!("{swaps} swaps, {} a second", per_second(swaps, took));
    assert_eq!(report.wrong, Vec::<String>::new());
    assert!(report.errors.is_empty(), "a torn address and port? {:?}", report.errors);
    assert_eq!(report.translated + report.direct, plan.connects);
    // 10,000 a second on an idle machine with two cores.
    assert!(swaps >= 1_000, "{swaps} swaps in {took:?}");
    storm.every_connection_was_counted_in_and_out(report.translated);
}

#[test]
fn one_swap_takes_as_long_as_the_kernel_waits_for_its_programs() {
    let Some((lab, storm)) = prepared() else { return };
    let swapper = storm.swapper(&lab);
    for per_call in [1, SWAPS_PER_CALL] {
        let started = Instant::now();
        let calls = 10;
        for _ in 0..calls {
            swapper.swap(per_call).expect("swapped");
        }
        println!("{per_call} swaps in one call: {:?}", started.elapsed() / calls);
    }
}

/// Two sets of servers that share neither an address nor a port.
struct Storm {
    agent: Agent,
    pool: u32,
    targets: Vec<Target>,
    /// Held: they are the servers.
    _listeners: Vec<Client>,
}

impl Storm {
    fn swapper(&self, lab: &Lab) -> Swapper {
        let sets: Vec<_> = self.targets.chunks(3).map(pool_set).collect();
        let scratch = lab.node(0).bpffs();
        Swapper::new(&self.agent.pins(), scratch, self.pool, &sets).expect("two sets")
    }

    fn every_connection_was_counted_in_and_out(&self, translated: u64) {
        let evidence: Array<MapData, Evidence> =
            pins::open(&self.agent.pins(), names::EVIDENCE).expect("evidence");
        let (mut active, mut established) = (0, 0);
        for Target { backend, name, .. } in &self.targets {
            let evidence = evidence.get(backend, 0).expect("evidence");
            assert!(evidence.established > 0, "both sets were in force: {name}");
            active += evidence.active;
            established += evidence.established;
        }
        assert_eq!((active, established), (0, translated));
    }
}

fn prepared() -> Option<(Lab, Storm)> {
    let lab = Lab::builder().control_planes(6).build_or_skip()?;
    let mut targets = Vec::new();
    let mut listeners = Vec::new();
    for (plane, number) in lab.control_planes().iter().zip(0..) {
        let address = SocketAddr::from((plane.v4(), 7001 + number));
        let client = Client::start(&Place::in_netns(plane.netns())).expect("a client");
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        client.listen_tcp(any, plane.name()).expect("a listener");
        listeners.push(client);
        let backend = FIRST_BACKEND + u32::from(number);
        targets.push(Target { address, backend, name: plane.name().to_owned() });
    }
    // Without its agent nobody else writes to the maps; the verdicts hold all the same.
    let lease = Duration::from_secs(600);
    let configuration = Configuration { lease, ..Configuration::of(&lab) };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    agent.kill().expect("killed");
    let pool = introduce(&agent, &targets);
    Some((lab, Storm { agent, pool, targets, _listeners: listeners }))
}

/// Gives the servers verdicts and evidence, puts the first set in force and names the pool.
fn introduce(agent: &Agent, targets: &[Target]) -> u32 {
    let pins = agent.pins();
    let mut verdicts: Array<MapData, u64> = pins::open(&pins, names::VERDICT).expect("verdicts");
    let mut evidence: Array<MapData, Evidence> =
        pins::open(&pins, names::EVIDENCE).expect("evidence");
    for target in targets {
        let verdict = Verdict::new(State::Healthy, 0, 1, EPOCH);
        verdicts.set(target.backend, verdict.word(), 0).expect("a verdict");
        evidence.set(target.backend, Evidence::fresh(EPOCH), 0).expect("evidence");
    }
    let frontends: HashMap<MapData, FrontendKey, u64> =
        pins::open(&pins, names::FRONTENDS).expect("frontends");
    let (address, port) = split((VIP_V4, 443).into());
    let word = frontends.get(&FrontendKey::tcp(address, port, Scope::Host), 0).expect("the VIP");
    let pool = u32::from(Frontend::from_word(word).pool);
    let scratch = agent.bpffs();
    let swapper = Swapper::new(&pins, scratch, pool, &[pool_set(&targets[..3])]);
    swapper.expect("a set").swap(1).expect("swapped");
    pool
}

fn pool_set(targets: &[Target]) -> PoolSet {
    let slot = |target: &Target| {
        let (address, port) = split(target.address);
        Slot::new(address, port, target.backend, EPOCH)
    };
    let slots: Vec<_> = targets.iter().map(slot).collect();
    PoolSet::new(&slots).expect("a small set")
}

fn per_second(count: u64, time: Duration) -> u128 {
    u128::from(count) * 1_000 / time.as_millis().max(1)
}
