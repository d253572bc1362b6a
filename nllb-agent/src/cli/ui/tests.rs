//! Who gets in, what they get, and what a browser is told to do with it.

use super::*;
use crate::admin;
use crate::drain::DrainRequest;
use crate::journal::{Entry, Feed, What};
use crate::status::{HistoryRequest, Status, StatusRequest, example};
use door::Refused;
use hyper::Method;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const TOKEN: &str = "00112233445566778899aabbccddeeff";

fn door() -> Door {
    Door::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 7474)), TOKEN)
}

/// What is wanted behind the door.
fn enter(method: Method, uri: &str, hosts: &[&str]) -> Result<String, Refused> {
    let mut request = Request::builder().method(method).uri(uri);
    for host in hosts {
        request = request.header("host", *host);
    }
    let request = request.body(()).expect("a request");
    door().enter(&request).map(str::to_owned)
}

#[test]
fn only_who_names_this_server_gets_in() {
    let page = format!("/{TOKEN}/");
    for host in ["localhost:7474", "LocalHost:7474", "127.0.0.1:7474", "[::1]:7474"] {
        assert_eq!(enter(Method::GET, &page, &[host]), Ok(String::new()), "{host}");
    }
    for host in [
        "evil.example:7474",
        "localhost",
        "localhost:7475",
        "localhost:7474.evil.example",
        "a@localhost:7474",
        "127.0.0.1",
        "127.0.0.2:7474",
        "10.0.0.1:7474",
        "",
    ] {
        assert_eq!(enter(Method::GET, &page, &[host]), Err(Refused::Host), "{host}");
    }
    assert_eq!(enter(Method::GET, &page, &[]), Err(Refused::Host));
    assert_eq!(
        enter(Method::GET, &page, &["localhost:7474", "evil.example:7474"]),
        Err(Refused::Host)
    );
    let of_a_proxy = format!("http://evil.example:7474/{TOKEN}/");
    assert_eq!(enter(Method::GET, &of_a_proxy, &["localhost:7474"]), Err(Refused::Host));
    let usual = Door::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 80)), TOKEN);
    let request = Request::builder().uri(&page).header("host", "localhost").body(());
    assert!(usual.enter(&request.expect("a request")).is_ok());
}

#[test]
fn only_who_knows_the_token_gets_in_and_only_to_read() {
    let host = ["localhost:7474"];
    let status = format!("/{TOKEN}/v1/status");
    assert_eq!(enter(Method::GET, &status, &host), Ok("v1/status".to_owned()));
    let short = &TOKEN[1..];
    for uri in [
        "/",
        "/v1/status",
        "//v1/status",
        "/page.js",
        "/favicon.ico",
        &format!("/{short}/v1/status"),
        &format!("/{TOKEN}0/v1/status"),
        &format!("/{}/v1/status", TOKEN.to_uppercase()),
        &format!("/v1/status?{TOKEN}"),
        &format!("/{TOKEN}"),
    ] {
        assert_eq!(enter(Method::GET, uri, &host), Err(Refused::Token), "{uri}");
    }
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(enter(method.clone(), &status, &host), Err(Refused::Method), "{method}");
    }
}

#[test]
fn tokens_are_long_and_no_two_are_the_same() {
    let [one, other] = [(), ()].map(|()| door::token().expect("random numbers"));
    assert_eq!(one.len(), 32);
    assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
    assert_ne!(one, other);
}

#[test]
fn other_addresses_than_loopback_are_refused_in_one_line() {
    for listen in ["0.0.0.0:7474", "[::]:7474", "10.0.0.1:7474", "[::ffff:10.0.0.1]:7474"] {
        let args = UiArgs { listen: listen.parse().expect("an address"), socket: "/no".into() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let Failure { exit, line } = run(args, &mut out, &mut err).expect_err("refused");
        assert_eq!((exit, out.len(), err.len()), (Exit::Configuration, 0, 0));
        let expected = format!("--listen {listen} is not a loopback address");
        assert!(line.starts_with(&expected) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn the_page_asks_nobody_else_and_makes_no_markup_of_what_it_is_told() {
    assert!(HTML.len() + STYLE.len() + SCRIPT.len() < 30_000);
    for (text, words) in [
        (HTML, &["style=", "<style", "onclick", "onload", "//"][..]),
        (STYLE, &["@import", "url(", "//"][..]),
        (
            SCRIPT,
            &["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style"][..],
        ),
    ] {
        for word in words {
            // The first line of a page is no address, and neither is the name of SVG.
            assert!(!text.contains(word), "{word}");
        }
    }
    let addresses: Vec<&str> = SCRIPT.match_indices("http").map(|(at, _)| &SCRIPT[at..]).collect();
    assert!(addresses.len() == 1 && addresses[0].starts_with("http://www.w3.org/2000/svg\""));
}

/// A page before an agent at this socket; where it listens.
async fn page(socket: &Path) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let site = Site { door: Door::new(address, TOKEN), agent: Agent::new(socket.to_owned()) };
    let site = Arc::new(site);
    tokio::spawn(async move {
        serve::crowd(&listener, 4, move |request| Arc::clone(&site).answer(request)).await;
    });
    address
}

async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    send(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"))
        .await
}

/// The status, the head and the body.
async fn send(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("a page");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn what_the_agent_tells_is_passed_on_and_orders_are_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("admin.sock");
    let (status, mut requests) = mpsc::channel::<StatusRequest>(1);
    let (history, mut histories) = mpsc::channel::<HistoryRequest>(1);
    let (drain, mut drains) = mpsc::channel::<DrainRequest>(1);
    let events = Feed::new(None, 0);
    let undrain = What::Undrain { backend: "10.0.0.11:6443".parse().expect("an address") };
    let lease = What::Lease { duration_ms: 1500 };
    for (seq, what) in [(1, undrain), (2, lease)] {
        events.add(&Entry { seq, time_ms: 1_700_000_000_000, what });
    }
    let sources = admin::Sources { status, history, drain, events, log: mpsc::channel(1).0 };
    tokio::spawn(admin::Listener::bind(&socket).expect("open").serve(sources));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(request) = requests.recv() => request.answer(example::status()),
                Some(request) = histories.recv() => request.answer(example::history()),
                else => return,
            }
        }
    });
    let address = page(&socket).await;
    let own = |path: &str| format!("/{TOKEN}/{path}");

    let (code, head, body) = get(address, &own("v1/status")).await;
    assert!(code == 200 && head.contains("\r\ncontent-type: application/json"), "{head}");
    assert_eq!(serde_json::from_str::<Status>(&body).expect("JSON"), example::status());
    let (code, _, body) = get(address, &own("v1/history")).await;
    let expected = serde_json::to_value(example::history()).expect("JSON");
    assert_eq!((code, serde_json::from_str::<Value>(&body).expect("JSON")), (200, expected));
    let (code, _, body) = get(address, &own("v1/events?after=1")).await;
    let told: Value = serde_json::from_str(&body).expect("JSON");
    let expected = serde_json::json!({
        "entries": [{
            "seq": 2, "timeMs": 1_700_000_000_000_i64, "what": "lease", "whose": "",
            "text": "had lapsed for 1.5s; no agent renewed it"
        }],
        "newest": 2, "more": false
    });
    assert_eq!((code, told), (200, expected));
    for query in ["", "?after=", "?after=-1", "?after=1&wait=30", "?wait=30"] {
        let (code, _, body) = get(address, &own(&format!("v1/events{query}"))).await;
        assert_eq!(code, 400, "{query}: {body}");
    }
    for path in ["v1/drain", "v1/undrain", "v1/log-level", "../v1/status", "%2e/v1/status"] {
        assert_eq!(get(address, &own(path)).await.0, 404, "{path}");
    }
    let order = r#"{"backend":"10.0.0.11:6443","force":true}"#;
    let length = order.len();
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{order}",
        own("v1/drain")
    );
    assert_eq!(send(address, &request).await.0, 405);
    assert!(drains.try_recv().is_err(), "no order has reached the agent");
}

#[tokio::test]
async fn every_answer_is_guarded_and_an_absent_agent_is_told_of() {
    let address = page(Path::new("/nowhere/admin.sock")).await;
    for (path, expected, kind) in [
        ("", 200, "text/html"),
        ("page.css", 200, "text/css"),
        ("page.js", 200, "text/javascript"),
        ("v1/status", 503, "text/plain"),
        ("other", 404, "text/plain"),
    ] {
        let (code, head, body) = get(address, &format!("/{TOKEN}/{path}")).await;
        assert_eq!(code, expected, "{path}");
        assert!(head.contains(&format!("\r\ncontent-type: {kind}; charset=utf-8")), "{head}");
        is_guarded(&head);
        if expected == 503 {
            assert_eq!(body, "no agent is running: there is no admin socket /nowhere/admin.sock\n");
        }
    }
    let (code, head, body) = get(address, "/").await;
    assert_eq!(code, 403);
    is_guarded(&head);
    assert!(!head.contains(TOKEN) && !body.contains(TOKEN), "{head}\n{body}");
}

fn is_guarded(head: &str) {
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ",
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(head.contains(&format!("\r\n{header}")), "{header} in {head}");
    }
    assert!(!head.contains("access-control-"), "{head}");
}

#[tokio::test(start_paused = true)]
async fn connections_that_say_nothing_keep_nobody_out() {
    let address = page(Path::new("/nowhere/admin.sock")).await;
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(TcpStream::connect(address).await.expect("a page"));
    }
    assert_eq!(get(address, &format!("/{TOKEN}/")).await.0, 200);
    // And the silent ones are let go.
    for mut stream in held {
        let end = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 64])).await;
        let read = end.expect("ended");
        // Those that were pushed out may see a reset.
        assert!(read.as_ref().map_or(true, |bytes| *bytes == 0), "{read:?}");
    }
}
