//! By routers: the example configurations of `deploy/ecmp`, with real routing daemons on the members and on the router, which
//! is also the client.

mod frr;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use nllb_lab::ecmp::{self, Announcer, BY_ROUTERS, Bird, ROUTED, ROUTED_V6};
use nllb_lab::{Ask, Connect, Lab};

use self::frr::Frr;
use super::Stage;

/// What a withdrawal may take when a host is dead.
const WITHDRAWAL: Duration = Duration::from_secs(1);
/// And when its API server is: the agent's verdict, and a script that starts a daemon's client, on a machine with other work.
const BY_SCRIPT: Duration = Duration::from_secs(2);

#[test]
fn bird_routes_around_a_crashed_api_server_and_a_dead_host() {
    let Some(bird) = find_bird() else { return };
    routed(&bird, |lab, member| bird.run_member(lab, member));
}

#[test]
fn frr_routes_around_a_crashed_api_server_and_a_dead_host() {
    let (Some(frr), Some(bird)) = (Frr::find(), find_bird()) else { return };
    routed(&bird, |lab, member| Ok(frr.run_member(lab, member)));
}

/// None where it is not, which is said.
fn find_bird() -> Option<Bird> {
    let bird = Bird::find();
    if bird.is_none() {
        nllb_lab::lab::say_skipped("no bird: cargo xtask setup");
    }
    bird
}

/// Three members that announce, and a router that finds out which do.
fn routed(router: &Bird, member: impl Fn(&Lab, usize) -> Result<Announcer>) {
    let Some(stage) = Stage::set(BY_ROUTERS) else { return };
    let _daemons = ecmp::announce(&stage, router, member).expect("routes");
    let Stage { lab, client, .. } = &stage;
    let await_routes = |count| ecmp::await_routes(lab, count).expect("the routes");
    let hold = |vip: &str| {
        let vip: SocketAddr = vip.parse().expect("an address");
        let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to(vip) };
        client.connect(&connect).expect("an outcome").handle.expect("connected")
    };
    let vips = [format!("{ROUTED}:6443"), format!("[{ROUTED_V6}]:6443")];
    let serves = || vips.iter().all(|vip| stage.carries(hold(vip)));
    let flows: Vec<u64> = vips.iter().flat_map(|vip| (0..12).map(|_| hold(vip))).collect();

    lab.control_plane(0).crash().expect("crashed");
    let crashed = Instant::now();
    await_routes(2);
    println!("API server crashed: withdrawn after {:?}", crashed.elapsed());
    assert!(crashed.elapsed() < BY_SCRIPT, "{:?}", crashed.elapsed());
    let alive = flows.iter().filter(|flow| stage.carries(**flow)).count();
    println!("{alive} of {} flows live on, those of the crashed server do not", flows.len());
    assert!(alive > 0 && serves());

    lab.control_plane(0).restart().expect("back");
    await_routes(3);
    lab.control_plane(1).unplug().expect("dead");
    let dead = Instant::now();
    await_routes(2);
    println!("host dead: withdrawn after {:?}", dead.elapsed());
    assert!(dead.elapsed() < WITHDRAWAL, "{:?}", dead.elapsed());
    assert!(serves());
}
