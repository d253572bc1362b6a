//! Every fault of a lab does what a test of the product relies on.

use std::time::{Duration, Instant};

use nllb_lab::lab::ControlPlane;
use nllb_lab::{Ask, Client, Connect, Lab, Outcome, Stage};

const MS: fn(u64) -> Duration = Duration::from_millis;
/// Far beyond anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_crash_resets_what_is_open_and_refuses_what_is_new() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    let kept = keep(&client, plane);
    plane.crash().expect("crashed");
    assert!(!client.echo(kept, MS(500)).expect("an answer"));
    let outcome = connect(&client, &Connect::to(plane.tls()));
    assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"), "{outcome:?}");
    plane.restart().expect("restarted");
    assert!(connect(&client, &Connect::name_of(plane.tls())).ok);
}

#[test]
fn a_frozen_server_accepts_and_never_answers() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    let kept = keep(&client, plane);
    plane.freeze().expect("frozen");
    let outcome = connect(&client, &impatient(plane));
    assert_eq!((outcome.stage, outcome.timed_out), (Some(Stage::Ask), true), "{outcome:?}");
    assert!(!client.echo(kept, MS(150)).expect("an answer"));
    plane.thaw().expect("thawed");
    assert!(connect(&client, &Connect::name_of(plane.tls())).ok);
}

#[test]
fn a_host_without_power_is_silent_even_to_arp() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    let kept = keep(&client, plane);
    plane.power_off().expect("off");
    let outcome = connect(&client, &impatient(plane));
    assert_eq!((outcome.stage, outcome.timed_out), (Some(Stage::Connect), true), "{outcome:?}");
    assert!(!client.echo(kept, MS(150)).expect("an answer"));
    assert_eq!(client.inspect(kept).expect("an inspection").error, None, "no reset arrived");
    // Once the node has forgotten the host's link address, nobody tells it any more.
    forget_neighbours(&lab);
    let asked = Instant::now();
    let outcome = connect(&client, &Connect { timeout: None, ..impatient(plane) });
    assert_eq!(outcome.error.as_deref(), Some("EHOSTUNREACH"), "{outcome:?}");
    assert!(asked.elapsed() > MS(900), "no answer, rather than a bad one");

    plane.power_on().expect("on");
    forget_neighbours(&lab);
    assert!(connect(&client, &Connect::name_of(plane.tls())).ok);
}

#[test]
fn a_pulled_cable_loses_nothing_but_time() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    let kept = keep(&client, plane);
    plane.unplug().expect("unplugged");
    assert!(!client.echo(kept, MS(150)).expect("an answer"));
    plane.plug().expect("plugged");
    assert!(client.echo(kept, PATIENCE).expect("an answer"), "TCP repeats it");
}

#[test]
fn one_way_loss_towards_a_host_keeps_requests_from_it() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    let (kept, livez) = keep_http(&lab, &client);
    plane.drop_to(true).expect("dropped");
    let outcome = connect(&client, &impatient(plane));
    assert_eq!((outcome.stage, outcome.timed_out), (Some(Stage::Connect), true), "{outcome:?}");
    assert!(connect(&client, &impatient_v6(plane)).timed_out);
    let before = requests(plane);
    let asked = client.ask(kept, &livez, MS(250)).expect("an answer");
    assert!(asked.timed_out, "{asked:?}");
    assert_eq!(requests(plane), before, "the request did not arrive");
    plane.drop_to(false).expect("passed");
    await_requests(plane, before + 1);
}

#[test]
fn one_way_loss_from_a_host_keeps_its_answers_back() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    let (kept, livez) = keep_http(&lab, &client);
    plane.drop_from(true).expect("dropped");
    assert!(connect(&client, &impatient(plane)).timed_out);
    let before = requests(plane);
    let asked = client.ask(kept, &livez, MS(250)).expect("an answer");
    assert!(asked.timed_out, "{asked:?}");
    // It arrived.
    await_requests(plane, before + 1);
    plane.drop_from(false).expect("passed");
    assert!(connect(&client, &Connect::name_of(plane.tls())).ok);
}

#[test]
fn a_delay_makes_every_round_trip_longer_by_it() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    let kept = keep(&client, plane);
    plane.delay(MS(20)).expect("delayed");
    let mut fastest = u64::MAX;
    for address in [plane.tls(), plane.tls_v6()] {
        // The first has to learn the link address too.
        for _ in 0..3 {
            let outcome = connect(&client, &Connect::name_of(address));
            assert!(outcome.ok && outcome.connect_us >= 40_000, "{outcome:?}");
            assert!(outcome.total_us >= 80_000, "the answer is late too: {outcome:?}");
            fastest = fastest.min(outcome.connect_us);
        }
    }
    assert!(fastest < 80_000, "fastest connect with 2 x 20 ms: {fastest} us");
    assert!(client.echo(kept, PATIENCE).expect("an answer"), "what is open goes on");
    plane.clear_delay();
    let soon = (0..20).any(|_| {
        let outcome = connect(&client, &Connect::name_of(plane.tls()));
        assert!(outcome.ok, "{outcome:?}");
        outcome.connect_us < 40_000
    });
    assert!(soon, "the delay is over");
}

#[test]
fn a_delayed_host_can_lose_its_power() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    plane.delay(MS(5)).expect("delayed");
    assert!(connect(&client, &Connect::name_of(plane.tls())).ok);
    plane.power_off().expect("off");
    assert!(connect(&client, &impatient(plane)).timed_out);
    plane.power_on().expect("on");
    assert!(connect(&client, &Connect::name_of(plane.tls())).ok);
    plane.drop_to(true).expect("dropped");
    assert!(connect(&client, &impatient(plane)).timed_out);
}

#[test]
fn a_draining_server_serves_until_its_delay_ends_and_can_be_started_anew() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    let readyz = Connect::http(plane.tls(), lab.http("kubernetes", "/readyz"));
    let told = Instant::now();
    plane.drain(MS(3_000)).expect("told");
    while connect(&client, &readyz).status != Some(500) {
        assert!(told.elapsed() < MS(1_500), "readyz fails at once");
    }
    assert!(connect(&client, &Connect::name_of(plane.tls())).ok);
    plane.await_end().expect("ended");
    assert!(told.elapsed() > MS(2_990));
    let outcome = connect(&client, &Connect::to(plane.tls()));
    assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"), "{outcome:?}");
    plane.restart().expect("restarted");
    assert_eq!(connect(&client, &readyz).status, Some(200));
}

#[test]
fn readyz_slowness_and_anonymous_access_change_while_the_server_runs() {
    let Some((lab, client)) = one_server() else {
        return;
    };
    let plane = lab.control_plane(0);
    let readyz = Connect::http(plane.tls(), lab.http("kubernetes", "/readyz"));
    plane.readyz(Some(403)).expect("changed");
    assert_eq!(connect(&client, &readyz).status, Some(403));
    plane.readyz(None).expect("changed");
    plane.anonymous(false).expect("changed");
    assert_eq!(connect(&client, &readyz).status, Some(401));
    plane.anonymous(true).expect("changed");
    plane.slow(MS(120)).expect("changed");
    let outcome = connect(&client, &readyz);
    assert!(outcome.status == Some(200) && outcome.total_us >= 120_000, "{outcome:?}");
}

fn one_server() -> Option<(Lab, Client)> {
    let lab = Lab::builder().control_planes(1).build_or_skip()?;
    let client = lab.client(0).expect("a client");
    // Both learn each other's link address, which some faults would prevent.
    assert!(connect(&client, &Connect::name_of(lab.control_plane(0).tls())).ok);
    assert!(connect(&client, &Connect::name_of(lab.control_plane(0).tls_v6())).ok);
    Some((lab, client))
}

fn connect(client: &Client, connect: &Connect) -> Outcome {
    client.connect(connect).expect("the client answers")
}

/// Gives up soon, so that silence can be told from an answer.
fn impatient(plane: &ControlPlane) -> Connect {
    let patience = MS(1_000);
    Connect { timeout: Some(patience), answer_timeout: patience, ..Connect::name_of(plane.tls()) }
}

fn impatient_v6(plane: &ControlPlane) -> Connect {
    Connect { address: plane.tls_v6(), ..impatient(plane) }
}

/// An open connection that echoes.
fn keep(client: &Client, plane: &ControlPlane) -> u64 {
    let open = Connect { ask: Ask::Echo, keep: true, ..Connect::to(plane.tls()) };
    let handle = connect(client, &open).handle.expect("a handle");
    assert!(client.echo(handle, PATIENCE).expect("an answer"));
    handle
}

/// An open HTTP connection, and what to ask on it.
fn keep_http(lab: &Lab, client: &Client) -> (u64, Ask) {
    let livez = lab.http("kubernetes", "/livez");
    let open = Connect::http(lab.control_plane(0).tls(), livez.clone());
    let handle = connect(client, &Connect { keep: true, ..open }).handle.expect("a handle");
    (handle, Ask::Http(livez))
}

fn requests(plane: &ControlPlane) -> u64 {
    plane.stats().expect("told").requests["/livez"]
}

/// Waits for TCP to repeat what was lost.
fn await_requests(plane: &ControlPlane, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    while requests(plane) != count {
        assert!(Instant::now() < deadline, "the request does not arrive");
    }
}

fn forget_neighbours(lab: &Lab) {
    let flush = ["neigh flush dev eth0".to_owned()];
    nllb_lab::netns::ip(Some(lab.node(0).netns()), &flush).expect("flushed");
}
