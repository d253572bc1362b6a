//! The embedded API server does what was measured on the real one. No privileges needed.

mod http2;
mod server;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nllb_lab::apiserver::{Endpoint, Modes, Objects, Request, Startup, Stats};
use nllb_lab::pki::Identity;
use nllb_lab::{Ask, Connect, Http, Stage};

use server::Server;

const MS: fn(u64) -> Duration = Duration::from_millis;
/// Far beyond anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn coming_up_it_refuses_then_forbids_then_fails_then_is_ready() {
    // A port that nobody has: the server refuses at first, so it cannot choose one itself.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let server = Server::start(|settings| {
        settings.listen = vec![address];
        settings.startup = Startup { refuse: MS(700), forbidden: MS(700), failing: MS(700) };
    });
    let mut seen: Vec<String> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.last().is_none_or(|last| last != "200") && Instant::now() < deadline {
        let outcome = server.get_at(address, "/readyz");
        let answer = outcome.status.map(|status| status.to_string()).or(outcome.error);
        let answer = answer.expect("a status or an error");
        if seen.last() != Some(&answer) {
            seen.push(answer);
        }
    }
    assert_eq!(seen, ["ECONNREFUSED", "403", "500", "200"]);
}

#[test]
fn it_names_itself_to_those_who_trust_its_authority() {
    let server = Server::start(|_| {});
    let outcome = server.get("/whoami");
    assert_eq!(outcome.server.as_deref(), Some("cp7"), "{outcome:?}");
    let body = outcome.body.expect("a body");
    assert!(body.contains("system:anonymous") && body.contains("127.0.0.1:"), "{body}");
    for path in ["/livez", "/healthz", "/version", "/readyz"] {
        assert_eq!(server.get(path).status, Some(200), "{path}");
    }
    assert_eq!(server.get("/nothing").status, Some(404));

    let stranger = Http { server_name: "elsewhere".to_owned(), ..server.http("/whoami") };
    let outcome = server.connect(&Connect::http(server.tls, stranger));
    assert_eq!(outcome.stage, Some(Stage::Ask), "the certificate does not carry the name");
}

#[test]
fn it_tells_its_version_to_all_and_its_nodes_to_those_with_credentials() {
    let server = Server::start(|settings| {
        settings.version = "v1.33.7".to_owned();
        settings.kubelet_version = "v1.32.1".to_owned();
        settings.modes.nodes = 5_000;
    });
    let version = server.get("/version").body.expect("a body");
    assert!(version.contains(r#""minor":"33""#) && version.contains("v1.33.7"), "{version}");
    let asked = |path: &str| {
        assert_eq!(server.get(path).status, Some(403), "{path}, anonymously");
        let http = Http { bearer: Some("secret".to_owned()), ..server.http(path) };
        server.connect(&Connect::http(server.tls, http)).body.expect("a body")
    };
    let nodes = asked("/api/v1/nodes?limit=1");
    assert!(nodes.contains(r#""remainingItemCount":4999"#), "{nodes}");
    let node = asked("/api/v1/nodes/node7");
    assert!(node.contains("node7") && node.contains(r#""kubeletVersion":"v1.32.1""#), "{node}");
}

#[test]
fn without_anonymous_access_only_credentials_open_it() {
    let server = Server::start(|settings| settings.modes.anonymous = false);
    for path in ["/readyz", "/livez", "/version", "/whoami"] {
        assert_eq!(server.get(path).status, Some(401), "{path}");
    }
    let http = server.http("/readyz");
    let bearer = |token: &str| Http { bearer: Some(token.to_owned()), ..http.clone() };
    assert_eq!(server.connect(&Connect::http(server.tls, bearer("secret"))).status, Some(200));
    assert_eq!(server.connect(&Connect::http(server.tls, bearer("guess"))).status, Some(401));
    let Identity { certificate, key } = server.authority.client("probe").expect("a certificate");
    let certified = Http { identity: Some((certificate, key)), ..http };
    assert_eq!(server.connect(&Connect::http(server.tls, certified)).status, Some(200));

    server.set(Modes::default());
    assert_eq!(server.get("/readyz").status, Some(200), "changed while it runs");
}

#[test]
fn a_status_or_slowness_of_readyz_is_its_own() {
    let server = Server::start(|_| {});
    for status in [500, 403, 401] {
        server.set(Modes { readyz: Some(status), ..Modes::default() });
        assert_eq!(server.get("/readyz").status, Some(status));
        assert_eq!(server.get("/livez").status, Some(200));
    }
    server.set(Modes { hang_readyz: true, ..Modes::default() });
    let patience = MS(150);
    let readyz =
        Connect { answer_timeout: patience, ..Connect::http(server.tls, server.http("/readyz")) };
    assert!(server.connect(&readyz).timed_out);
    assert_eq!(server.get("/livez").status, Some(200));
    server.set(Modes { slow_readyz: MS(1_500), ..Modes::default() });
    assert!(server.get("/readyz").total_us >= 1_500_000);
    assert!(server.get("/livez").total_us < 1_500_000);
    server.set(Modes { slow: MS(150), ..Modes::default() });
    assert!(server.get("/livez").total_us >= 150_000);
}

#[test]
fn told_to_stop_it_refuses_soon_and_established_watches_go_on() {
    let mut server = Server::start(|_| {});
    let watch = server.watch();
    let told = Instant::now();
    server.process.signal(Signal::SIGTERM).expect("a signal");
    let refused = server.await_refusal();
    assert!(refused > told + MS(40), "after {:?}", refused - told);

    // Whatever was under way before is read first; these come from after the listener closed.
    let listen_until = Instant::now() + MS(300);
    let mut events = 0;
    while Instant::now() < listen_until || events < 5 {
        let event = server.client.next_event(watch, PATIENCE).expect("an answer");
        assert!(event.is_some_and(|event| event.contains("cp7")), "the watch still delivers");
        events += 1;
    }
    server.client.close(watch).expect("closed");
    assert!(server.process.wait().expect("an end").success(), "the last connection ends it");
}

#[test]
fn the_grace_of_established_watches_ends() {
    let mut server = Server::start(|settings| settings.modes.shutdown_grace = MS(200));
    let watch = server.watch();
    server.process.signal(Signal::SIGTERM).expect("a signal");
    assert!(server.process.wait().expect("an end").success());
    while server.client.next_event(watch, PATIENCE).expect("an answer").is_some() {}
}

#[test]
fn with_a_shutdown_delay_only_readyz_fails_until_it_ends() {
    let mut server = Server::start(|settings| settings.modes.shutdown_delay = MS(3_000));
    let told = Instant::now();
    server.process.signal(Signal::SIGTERM).expect("a signal");
    while server.get("/readyz").status != Some(500) {
        assert!(told.elapsed() < MS(1_500), "readyz fails at once");
    }
    assert_eq!(server.get("/whoami").server.as_deref(), Some("cp7"), "new connections are served");
    let refused = server.await_refusal();
    assert!(refused > told + MS(2_990), "after {:?}", refused - told);
}

#[test]
fn frozen_it_still_accepts_and_never_answers() {
    let mut server = Server::start(|_| {});
    server.process.signal(Signal::SIGSTOP).expect("a signal");
    let patience = MS(150);
    let frozen =
        Connect { answer_timeout: patience, ..Connect::http(server.tls, server.http("/readyz")) };
    let outcome = server.connect(&frozen);
    assert_eq!((outcome.stage, outcome.timed_out), (Some(Stage::Ask), true), "{outcome:?}");
    assert!(outcome.connect_us < 900_000, "without a second SYN: {outcome:?}");
    server.process.signal(Signal::SIGCONT).expect("a signal");
    assert_eq!(server.get("/readyz").status, Some(200));
}

#[test]
fn raw_clients_get_its_name_and_it_counts_everything() {
    let server = Server::start(|_| {});
    let questions = [
        (server.plain, Ask::Greeting, false),
        (server.tls, Ask::Name, false),
        (server.tls, Ask::Echo, true),
    ];
    for (address, ask, echoes) in questions {
        let outcome = server.connect(&Connect { ask, keep: true, ..Connect::to(address) });
        assert_eq!(outcome.server.as_deref(), Some("cp7"), "{outcome:?}");
        let handle = outcome.handle.expect("a handle");
        let echoed = server.client.echo(handle, PATIENCE).expect("an answer");
        assert_eq!(echoed, echoes, "{outcome:?}");
    }
    let kept = Connect { keep: true, ..Connect::http(server.tls, server.http("/livez")) };
    let handle = server.connect(&kept).handle.expect("a handle");
    let livez = Ask::Http(server.http("/livez"));
    let again = server.client.ask(handle, &livez, PATIENCE).expect("an answer");
    assert_eq!(again.status, Some(200));
    server.get("/livez");

    let Stats { accepted, handshakes, greetings, requests, connections, .. } = server.stats();
    assert_eq!((accepted, handshakes, greetings), (5, 2, 3));
    assert_eq!((requests["/livez"], connections["/livez"]), (3, 2));
}

#[test]
fn objects_are_listed_and_watched_by_version() {
    let endpoint = |last| Endpoint::ready(([10, 0, 0, last], 6443).into());
    let version = |version, hosts: &[u8]| {
        let endpoints: Vec<_> = hosts.iter().map(|last| endpoint(*last)).collect();
        Objects { version, ..Objects::kubernetes(&endpoints, &[[10, 96, 0, 1].into()]) }
    };
    let server = Server::start(|settings| settings.objects = version(5, &[1]));
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    assert_eq!(server.get(path).status, Some(403), "anonymously");
    let ask = |path: String, token: &str| {
        let http = Http { bearer: Some(token.to_owned()), ..server.http(&path) };
        server.connect(&Connect::http(server.tls, http))
    };
    assert_eq!(ask(path.to_owned(), "guess").status, Some(401));
    let list = |query: &str| ask(format!("{path}?{query}"), "secret").body.expect("a body");
    let selected = list("labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes");
    assert!(selected.contains("10.0.0.1") && selected.contains(r#""resourceVersion":"5""#));
    assert!(!list("labelSelector=kubernetes.io%2Fservice-name%3Dother").contains("10.0.0.1"));

    // What has happened by the first bookmark.
    let watch = |version: u64| {
        let query = format!("watch=true&allowWatchBookmarks=true&resourceVersion={version}");
        let bearer = Some("secret".to_owned());
        let http = Http { bearer, ..server.http(&format!("{path}?{query}")) };
        let outcome = server.connect(&Connect { keep: true, ..Connect::http(server.tls, http) });
        let handle = outcome.handle.expect("a handle");
        let mut events = Vec::new();
        while events.last().is_none_or(|last: &String| !last.contains("BOOKMARK")) {
            let Some(event) = server.client.next_event(handle, PATIENCE).expect("an answer") else {
                break;
            };
            let last = event.contains(r#""code":410"#);
            events.push(event);
            if last {
                break;
            }
        }
        server.client.close(handle).expect("closed");
        events
    };
    server.set(Modes { bookmark_interval: MS(100), ..Modes::default() });
    server.tell(&Request::Objects(version(7, &[1, 2])));
    server.tell(&Request::Objects(version(9, &[])));
    let are = |events: Vec<String>, kinds: &[&str]| {
        let are = events.iter().zip(kinds).all(|(event, kind)| event.contains(kind));
        assert!(are && events.len() == kinds.len(), "{kinds:?}: {events:?}");
    };
    are(watch(5), &["MODIFIED", "DELETED", r#""resourceVersion":"9""#]);
    are(watch(7), &["DELETED", "BOOKMARK"]);
    are(watch(9), &["BOOKMARK"]);
    are(watch(3), &["ERROR"]);
    let later = format!("{path}?watch=true&resourceVersion=10");
    assert_eq!(ask(later, "secret").status, Some(504));
    server.tell(&Request::Token("another".to_owned()));
    assert_eq!(ask(path.to_owned(), "secret").status, Some(401));
    assert_eq!(ask(path.to_owned(), "another").status, Some(200));
}
