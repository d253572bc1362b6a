//! Without the agent the kernel programs end what has data in flight, and nothing else.

use std::time::{Duration, Instant};

use nllb_common::Counter;
use nllb_lab::lab::ControlPlane;
use nllb_lab::wait::wait_until;
use nllb_lab::{Client, Configuration, Purpose, pins};

use crate::scene::{MS, Scene};

#[test]
fn what_has_unanswered_data_for_a_dead_host_ends_though_the_agent_has_gone() {
    let Some(scene) = without_agent() else { return };
    let (asking, idle) = (scene.open_to(0), scene.open_to(0));
    scene.server(0).power_off().expect("off");
    // A request that was just being answered is none: TCP has nothing to wait for then.
    for (client, handle) in &asking {
        assert!(!client.echo(*handle, MS(10)).expect("asked"));
    }
    let error =
        |(client, handle): &(&Client, u64)| Ok::<_, anyhow::Error>(client.inspect(*handle)?.error);
    for one in &asking {
        wait_until("the end of a connection", || error(one)).expect("it ends");
    }
    let seen = scene.await_connects(100);
    for held in seen.closed() {
        assert!(held.server == scene.server(0).name() && held.purpose == Purpose::Requests);
    }
    assert!(idle.iter().all(|one| error(one).expect("inspected").is_none()));
}

#[test]
fn a_router_that_does_not_find_the_host_does_not_keep_what_is_to_end() {
    let Some(scene) = without_agent() else { return };
    let asking = scene.open_to(0);
    scene.server(0).refuse_by_icmp().expect("unreachable");
    let since = Instant::now();
    for (client, handle) in &asking {
        assert!(!client.echo(*handle, MS(10)).expect("asked"));
    }
    // Linux takes its doubling of the waits back at each such answer: they never get long. The answer is
    // the error of a connection that goes on, too.
    for (client, handle) in &asking {
        let ended = || Ok(client.inspect(*handle)?.peer.is_none().then_some(()));
        wait_until("the end of a connection", ended).expect("it ends");
    }
    // As soon as any other, and not when a silence that is computed from the waits has become long.
    assert!(since.elapsed() < Duration::from_secs(20), "ended after {:?}", since.elapsed());
}

#[test]
fn a_silence_of_all_closes_nothing_though_the_agent_has_gone() {
    let Some(scene) = without_agent() else { return };
    let all = scene.lab.control_planes();
    all.iter().try_for_each(ControlPlane::unplug).expect("unplugged");
    // reason: the silence itself.
    std::thread::sleep(Duration::from_secs(2));
    all.iter().try_for_each(ControlPlane::plug).expect("plugged");
    scene.await_connects(100).assert_nothing_closed();
}

/// The agent is killed and its lease has lapsed.
fn without_agent() -> Option<Scene> {
    let tune = |configuration| Configuration { lease: MS(300), ..configuration };
    let mut scene = Scene::start(tune, true)?;
    let pins = scene.agent.pins();
    let lapsed = || pins::counter(&pins, Counter::LeaseLapsed);
    let before = lapsed().expect("a counter");
    scene.agent.kill().expect("killed");
    wait_until("the end of the lease", || Ok((lapsed()? > before).then_some(())))
        .expect("evidence alone counts");
    scene.seen();
    Some(scene)
}
