//! Versions in the machine: what is heard over sentinels narrows the pools, and who is in service counts.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::maps::Policy;
use nllb_core::{
    Answer, BackendId, Command, Coverage, FrontendSettings, KubeVersion, Machine, Outcome,
    PoolSettings, ProbeReport, Settings, VersionSkew,
};

struct Node {
    machine: Machine,
    now: Instant,
}

impl Node {
    fn new(frontend: FrontendSettings, kubelet: Option<&str>) -> Self {
        let endpoints: Vec<SocketAddr> =
            (1..=3).map(|last| SocketAddr::from(([10, 0, 0, last], 6443))).collect();
        let settings = Settings {
            pools: vec![PoolSettings { name: "api".into(), endpoints, ..PoolSettings::default() }],
            frontends: vec![FrontendSettings {
                name: "vip".into(),
                addresses: vec![SocketAddr::from(([10, 96, 0, 1], 443))],
                pool: "api".into(),
                coverage: Coverage::Trusted,
                ..frontend
            }],
            kubelet_version: kubelet.map(version),
        };
        let now = Instant::now();
        let mut node = Self { machine: Machine::new(settings, 1, now).expect("settings"), now };
        (0..3).for_each(|id| node.probe(id, &Outcome::Ready));
        node
    }

    /// Lets the next probe of a backend end like this.
    fn probe(&mut self, id: u32, outcome: &Outcome) {
        for _ in 0..50 {
            self.now = self.machine.poll_timeout().expect("probes are due").max(self.now);
            self.machine.handle_timeout(self.now);
            let mut done = false;
            while let Some(command) = self.machine.next_command() {
                let Command::Probe { id: of, epoch, .. } = command else { continue };
                let outcome = if of.0 == id { outcome.clone() } else { Outcome::Ready };
                done |= of.0 == id;
                let report = ProbeReport {
                    outcome,
                    rtt: None,
                    latency: Duration::from_millis(3),
                    certificate: None,
                    unix_time: 50,
                };
                self.machine.handle_probe(of, epoch, report, self.now);
            }
            if done {
                return;
            }
        }
        panic!("no probe of backend {id} came up");
    }

    fn hear(&mut self, id: u32, answer: Answer) {
        self.machine.handle_answer(BackendId(id), 1, answer, self.now);
    }

    fn hear_version(&mut self, id: u32, text: &str) {
        self.hear(id, Answer::Version(version(text)));
    }

    /// The backends that the frontend has in the maps.
    fn used(&self) -> Vec<u32> {
        let (_, set) = self.machine.table().pools.first_key_value().expect("a pool");
        set.iter().map(|slot| slot.backend).collect()
    }
}

fn version(text: &str) -> KubeVersion {
    text.parse().expect("a version")
}

fn skew(version_skew: VersionSkew) -> FrontendSettings {
    FrontendSettings { version_skew, ..FrontendSettings::default() }
}

#[test]
fn the_newest_serves_alone_until_it_goes_out_of_service() {
    let mut node = Node::new(skew(VersionSkew::PreferNewest), None);
    assert_eq!(node.used(), [0, 1, 2]);
    node.hear_version(0, "v1.30.1");
    node.hear_version(1, "v1.30.2");
    node.hear_version(2, "v1.31.0");
    assert_eq!(node.used(), [2]);
    let gone = Outcome::Refused;
    while node.used() == [2] {
        node.probe(2, &gone);
    }
    assert_eq!(node.used(), [0, 1, 2], "it stays in the pool, so that it is seen to come back");
    while node.used() != [2] {
        node.probe(2, &Outcome::Ready);
    }
}

#[test]
fn the_kubelet_s_version_is_what_the_operator_says_or_else_what_is_heard() {
    for (said, expected) in [(None, [1, 2].to_vec()), (Some("1.31"), [2].to_vec())] {
        let mut node = Node::new(skew(VersionSkew::Kubelet), said);
        for (id, text) in [(0, "v1.29.9"), (1, "v1.30.0"), (2, "v1.31.4")] {
            node.hear_version(id, text);
        }
        node.hear(0, Answer::KubeletVersion(version("v1.30.7")));
        assert_eq!(node.used(), expected, "{said:?}");
    }
}

#[test]
fn the_policy_of_a_frontend_and_a_maglev_table_of_its_backends_reach_the_maps() {
    let frontend = FrontendSettings { policy: Policy::Maglev, ..FrontendSettings::default() };
    let node = Node::new(frontend, None);
    let table = node.machine.table();
    assert!(table.frontends.values().all(|frontend| frontend.policy() == Policy::Maglev));
    let (_, set) = table.pools.first_key_value().expect("a pool");
    for slot in 0..3 {
        let entries = set.maglev.iter().take(251).filter(|entry| **entry == slot).count();
        assert!((83..=84).contains(&entries), "{entries} entries for slot {slot}");
    }
    assert!(table.to_string().contains("-> frontend 1 pool 1 maglev"), "{table}");
}
