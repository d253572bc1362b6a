//! Real resolvers over UDP while one of three name servers loses its power.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nllb_lab::name_server::{KUBERNETES, command};
use nllb_lab::place::Place;
use nllb_lab::{netns, process};

use super::*;

/// How long lookups are made, and how often one is begun.
const LASTING: Duration = Duration::from_secs(6);
const EVERY: Duration = Duration::from_millis(100);
/// When the dead server is to be left for sure: twice what is promised, since the machine may be busy.
const RECOVERED: Duration = Duration::from_secs(4);
/// What takes so long has needed a second try, which clients make after a second.
const SLOW: Duration = Duration::from_millis(900);

/// A resolver, and the command that makes one lookup; it fails when nobody answers.
struct Resolver {
    name: &'static str,
    words: Vec<String>,
}

/// A lookup: when it began after the power went, how long it took, and whether it was answered.
struct Lookup {
    began: Duration,
    took: Duration,
    good: bool,
}

impl Scene {
    /// glibc's resolver with a configuration of its own, dig with the same patience, and musl's way.
    fn resolvers(&self) -> [Resolver; 3] {
        let write = |name: &str, text: String| -> PathBuf {
            let file = self.lab.directory().join(name);
            fs::write(&file, text).expect("written");
            file
        };
        let options = "options timeout:1 attempts:3";
        let resolv = write("resolv.conf", format!("nameserver {VIP}\n{options}\n"));
        let switch = write("nsswitch.conf", "hosts: dns\n".to_owned());
        // In a mount namespace of its own: the host's files stay as they are.
        let script = format!(
            "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && exec getent ahostsv4 {KUBERNETES}.",
            resolv.display(),
            switch.display()
        );
        let getent = ["unshare", "--mount", "sh", "-ec", &script].map(str::to_owned);
        let at = format!("@{VIP}");
        let dig = ["dig", "+time=1", "+tries=3", "+short", &at, KUBERNETES, "A"];
        let program = process::program().expect("built").display().to_string();
        let servers = format!("{VIP}:53");
        let musl = [program.as_str(), "resolve", KUBERNETES, &servers];
        [
            Resolver { name: "getent", words: getent.to_vec() },
            Resolver { name: "dig", words: dig.map(str::to_owned).to_vec() },
            Resolver { name: "musl's way", words: musl.map(str::to_owned).to_vec() },
        ]
    }
}

/// Makes lookups for some seconds, whatever becomes of those before.
fn look_up(place: &Place, resolver: &Resolver) -> Vec<Lookup> {
    let start = Instant::now();
    let words: Vec<&str> = resolver.words.iter().map(String::as_str).collect();
    thread::scope(|scope| {
        let mut lookups = Vec::new();
        while start.elapsed() < LASTING {
            let words = &words;
            lookups.push(scope.spawn(move || {
                let began = Instant::now();
                let mut lookup = command(place, words).expect("a command");
                let output = lookup.stderr(Stdio::null()).output().expect("a resolver");
                let good = output.status.success()
                    && String::from_utf8_lossy(&output.stdout).contains("10.96.0.1");
                Lookup { began: began - start, took: began.elapsed(), good }
            }));
            // reason: the pace of a client.
            thread::sleep(EVERY);
        }
        lookups.into_iter().map(|one| one.join().expect("a lookup")).collect()
    })
}

/// How many began when the dead server is to be left, how many of those were slow, and how many failed in all.
fn told(what: &str, lookups: &[Lookup]) -> (usize, usize, usize) {
    let slow = |one: &&Lookup| one.took >= SLOW;
    let failed = lookups.iter().filter(|one| !one.good).count();
    let ended = lookups.iter().filter(slow).map(|one| one.began + one.took).max();
    println!(
        "{what}: {} lookups, {failed} failed, {} needed more than one try, the slowest took {:?}, the last of these was answered {:?} after the power-off",
        lookups.len(),
        lookups.iter().filter(slow).count(),
        lookups.iter().map(|one| one.took).max().unwrap_or_default(),
        ended.unwrap_or_default(),
    );
    let late = lookups.iter().filter(|one| one.began >= RECOVERED);
    (late.clone().count(), late.filter(slow).count(), failed)
}

#[test]
fn lookups_leave_a_server_that_lost_its_power() {
    let Some(mut scene) = Scene::build("none", "") else { return };
    scene.await_states(&["healthy"; 3]);
    let place = scene.lab.node(0).place();
    for resolver in scene.resolvers() {
        let dead = scene.lab.control_plane(0);
        dead.power_off().expect("off");
        let lookups = look_up(&place, &resolver);
        let (late, slow, failed) = told(resolver.name, &lookups);
        assert_eq!(failed, 0, "{}", resolver.name);
        // Not a third any more; a busy machine may be slow by itself.
        assert!(slow * 5 <= late, "{}: {slow} of {late}", resolver.name);
        dead.power_on().expect("on");
        scene.await_states(&["healthy"; 3]);
    }
}

/// The same without nllb, by the random DNAT that kube-proxy's rules are: for comparison, and proof that the
/// lab's power-off is one.
#[test]
fn random_dnat_goes_on_to_send_lookups_to_the_dead_one() {
    let Some(mut scene) = Scene::build("none", "") else { return };
    scene.await_states(&["healthy"; 3]);
    scene.agent.terminate().expect("ended");
    scene.agent.uninstall().expect("removed");
    let node = scene.lab.node(0);
    netns::ip(Some(node.netns()), &["route add 10.96.0.0/24 dev eth0".to_owned()])
        .expect("a route");
    let servers: Vec<String> =
        (0..3).map(|one| format!("{one} : {}", scene.lab.control_plane(one).v4())).collect();
    let rules = format!(
        "add table ip lab; add chain ip lab out {{ type nat hook output priority -100; }}; \
         add rule ip lab out ip daddr {VIP} udp dport 53 dnat to numgen random mod 3 map {{ {} }}",
        servers.join(", ")
    );
    let place = node.place();
    let done = command(&place, &["nft", &rules]).expect("a command").status().expect("nft");
    assert!(done.success(), "{done}");
    let dead = scene.lab.control_plane(0);
    dead.power_off().expect("off");
    for resolver in scene.resolvers() {
        let lookups = look_up(&place, &resolver);
        let (late, slow, _) = told(&format!("{} by random DNAT", resolver.name), &lookups);
        assert!(slow > 0, "{}: none of {late}", resolver.name);
    }
}
