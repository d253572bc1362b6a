//! Where the agent ends no connections each translated one has timeouts of its own.

use std::time::{Duration, Instant};

use nllb_lab::lab::VIP_V4;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Client, Configuration, Connect, Lab};

use crate::agent::until_to;
use crate::{lives, open, vip};

/// What each translated connection gets, as `docs/configuration.md` says.
const SILENCE: Duration = Duration::from_secs(10);

#[test]
fn connections_to_a_server_without_power_end_by_their_own_timeouts_and_no_others_do() {
    let Some(lab) = Lab::builder().pods(1).build_or_skip() else { return };
    // So that no pause of this machine makes the kernel act as it does without an agent.
    let lease = Duration::from_secs(60);
    let configuration =
        Configuration { close_sockets: "timeouts", lease, ..Configuration::of(&lab) };
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    let closing = agent.status().expect("a status").closing;
    let how = (closing.mode.as_str(), closing.reason.as_deref());
    assert_eq!(how, ("timeouts", Some("configured so")));

    let dead = lab.control_plane(0);
    let clients = [lab.client(0), lab.pod_client(0, 0)].map(|client| client.expect("a client"));
    let mut others = Vec::new();
    let mut translated = |client| {
        let (meant, other): (Vec<_>, Vec<_>) =
            until_to(client, dead.tls()).into_iter().partition(|(_, _, meant)| *meant);
        others.extend(other);
        meant[0].1
    };
    let asking = clients.each_ref().map(|client| (client, translated(client)));
    let idle = clients.each_ref().map(|client| (client, translated(client)));
    let straight = Connect { address: dead.tls(), ..vip(VIP_V4) };
    let asking_straight = clients.each_ref().map(|client| (client, open(client, &straight).0));
    let idle_straight = clients.each_ref().map(|client| (client, open(client, &straight).0));
    for (client, handle) in asking.iter().chain(&idle) {
        let inspection = client.inspect(*handle).expect("inspected");
        assert_eq!(inspection.user_timeout, Some(SILENCE), "{inspection:?}");
    }

    dead.power_off().expect("off");
    let began = Instant::now();
    for (client, handle) in asking.iter().chain(&asking_straight) {
        assert!(!client.echo(*handle, Duration::from_millis(10)).expect("asked"));
    }
    for (client, handle) in asking {
        await_timeout(client, handle);
        let after = began.elapsed();
        println!("with unanswered data: has ended after {after:?}");
        assert!(after > SILENCE - Duration::from_secs(1), "{after:?}");
    }
    for (client, handle) in idle {
        await_timeout(client, handle);
        println!("idle: has ended after at most {:?}", began.elapsed());
    }
    for (client, handle, _) in others {
        assert!(lives(client, handle));
    }
    for (client, handle) in asking_straight.iter().chain(&idle_straight) {
        let inspection = client.inspect(*handle).expect("inspected");
        assert_eq!((&inspection.error, inspection.user_timeout), (&None, None), "{inspection:?}");
    }
    let status = agent.status().expect("a status");
    assert!(status.backends().all(|(_, one)| one.closed.values().all(|count| *count == 0)));
}

/// Waits until TCP has given up: by time, or with what the network said last.
fn await_timeout(client: &Client, handle: u64) {
    let ended = || Ok(client.inspect(handle)?.error);
    let error = wait_until("the end of a connection", ended).expect("it ends");
    assert!(["ETIMEDOUT", "EHOSTUNREACH"].contains(&error.as_str()), "{error}");
}
