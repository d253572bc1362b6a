//! Who may open the socket, who may ask on it, and what is left behind.

use super::*;
use crate::drain::{Done, Order, Refused};
use crate::status::{History, HistoryRequest, Status, example};
use tokio::sync::mpsc;

/// Answers every request: with the example, and with the order that arrived.
fn driver() -> Sources {
    let (status, mut requests) = mpsc::channel::<StatusRequest>(1);
    let (history, mut histories) = mpsc::channel::<HistoryRequest>(1);
    let (drain, mut drains) = mpsc::channel::<DrainRequest>(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(request) = requests.recv() => request.answer(example::status()),
                Some(request) = histories.recv() => request.answer(example::history()),
                Some(request) = drains.recv() => {
                    let answer = obey(request.backend(), request.order());
                    request.answer(answer);
                }
                else => return,
            }
        }
    });
    sources(status, history, drain)
}

/// With an empty journal, and nobody who changes the log.
fn sources(status: StatusSource, history: HistorySource, drain: DrainSource) -> Sources {
    Sources { status, history, drain, events: Feed::new(None, 0), log: mpsc::channel(1).0 }
}

/// Knows one backend, and keeps it unless it is forced.
fn obey(backend: &str, order: Order) -> Result<Done, Refused> {
    let backend = backend.parse().map_err(|_| Refused::NotFound("use 10.0.0.11:6443".into()))?;
    let close_after_ms = match order {
        Order::Drain { force: false, .. } => return Err(Refused::Unsafe("the last one".into())),
        Order::Drain { close_after, force: true } => {
            close_after.map(|time| u64::try_from(time.as_millis()).expect("short"))
        }
        Order::Undrain | Order::Drill { .. } | Order::DrillOver => None,
    };
    Ok(Done { backend, changed: true, connections: 41, close_after_ms, note: None })
}

async fn get(path: &Path, method: &str, uri: &str) -> String {
    send(path, &format!("{method} {uri} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
}

async fn post(path: &Path, uri: &str, body: &str) -> String {
    let length = body.len();
    let head = format!(
        "POST {uri} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    send(path, &(head + body)).await
}

async fn send(path: &Path, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = UnixStream::connect(path).await.expect("an agent");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn the_status_document_is_served_on_a_socket_for_root_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("run/admin.sock");
    let admin = Listener::open(&path).expect("open");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().expect("a directory")), 0o700);
    let task = tokio::spawn(admin.serve(driver()));
    let answer = get(&path, "GET", STATUS_PATH).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(serde_json::from_str::<Status>(body).expect("JSON"), example::status());
    assert!(get(&path, "POST", STATUS_PATH).await.starts_with("HTTP/1.1 405"));
    let answer = get(&path, "GET", HISTORY_PATH).await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert_eq!(serde_json::from_str::<History>(body).expect("JSON"), example::history());
    assert!(get(&path, "GET", "/").await.starts_with("HTTP/1.1 404"));
    task.abort();
    assert!(task.await.expect_err("aborted").is_cancelled());
    assert!(!path.exists(), "the file goes with the agent");
}

#[tokio::test]
async fn a_stopped_driver_is_an_answer_and_not_a_hang() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    let (status, history, drain) = (mpsc::channel(1).0, mpsc::channel(1).0, mpsc::channel(1).0);
    let sources = sources(status, history, drain);
    tokio::spawn(Listener::open(&path).expect("open").serve(sources));
    for path_of in [STATUS_PATH, HISTORY_PATH] {
        assert!(get(&path, "GET", path_of).await.starts_with("HTTP/1.1 503"));
    }
    let order = r#"{"backend":"10.0.0.11:6443"}"#;
    assert!(post(&path, DRAIN_PATH, order).await.starts_with("HTTP/1.1 503"));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_was_answered_with_a_timeout_is_abandoned() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    let (status, history) = (mpsc::channel(1).0, mpsc::channel(1).0);
    let (drain, mut drains) = mpsc::channel::<DrainRequest>(1);
    let sources = sources(status, history, drain);
    tokio::spawn(Listener::open(&path).expect("open").serve(sources));
    let order = r#"{"backend":"10.0.0.11:6443"}"#;
    assert!(post(&path, DRAIN_PATH, order).await.starts_with("HTTP/1.1 503"));
    let late = drains.try_recv().expect("the order of a driver that was busy");
    assert!(late.is_abandoned());
}

#[tokio::test]
async fn orders_reach_the_driver_and_its_answer_the_operator() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    tokio::spawn(Listener::open(&path).expect("open").serve(driver()));
    let drain = r#"{"backend":"10.0.0.11:6443","closeAfterMs":300000,"force":true}"#;
    let answer = post(&path, DRAIN_PATH, drain).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(
        serde_json::from_str::<Done>(body).expect("JSON"),
        Done {
            backend: "10.0.0.11:6443".parse().expect("an address"),
            changed: true,
            connections: 41,
            close_after_ms: Some(300_000),
            note: None,
        }
    );
    let undrain = r#"{"backend":"10.0.0.11:6443"}"#;
    assert!(post(&path, UNDRAIN_PATH, undrain).await.starts_with("HTTP/1.1 200"));
    let refused = post(&path, DRAIN_PATH, undrain).await;
    assert!(refused.starts_with("HTTP/1.1 409"), "{refused}");
    assert!(refused.ends_with("\r\n\r\nthe last one\n"), "{refused}");
    let unknown = post(&path, DRAIN_PATH, r#"{"backend":"a"}"#).await;
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
}

#[tokio::test]
async fn a_body_that_is_no_order_never_reaches_the_driver() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    tokio::spawn(Listener::open(&path).expect("open").serve(driver()));
    for body in ["", "{", "[]", "{}", r#"{"backend":7}"#, r#"{"backend":"a","closeafter":1}"#] {
        let answer = post(&path, DRAIN_PATH, body).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{body}: {answer}");
    }
    let answer = post(&path, DRAIN_PATH, r#"{"backend":"a","force\n\u001b[2J":true}"#).await;
    assert!(answer.contains("the body: unknown field `force\\n\\u{1b}[2J`"), "{answer}");
    for ms in ["0", "999", "86400001", "18446744073709551615"] {
        let body = format!(r#"{{"backend":"10.0.0.11:6443","closeAfterMs":{ms},"force":true}}"#);
        let answer = post(&path, DRAIN_PATH, &body).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{ms}: {answer}");
        assert!(
            answer.ends_with(&format!("closeAfterMs {ms} is out of range: use 1000 to 86400000\n")),
            "{answer}"
        );
    }
    let long = format!("{{\"backend\":\"{}\"}}", "a".repeat(5000));
    assert!(post(&path, DRAIN_PATH, &long).await.starts_with("HTTP/1.1 413"));
    assert!(get(&path, "GET", DRAIN_PATH).await.starts_with("HTTP/1.1 405"));
    // A body that never arrives is given up; no other request waits for it.
    let slow = "POST /v1/drain HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{";
    assert!(send(&path, slow).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_dead_agents_socket_is_replaced_and_a_living_ones_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "closing leaves the file");
    let living = Listener::open(&path).expect("replaced");
    let error = Listener::open(&path).expect_err("it lives");
    assert!(matches!(error, AdminError::InUse { .. }), "{error}");
    drop(living);
    fs::write(&path, "mine").expect("written");
    let error = Listener::open(&path).expect_err("not ours to remove");
    assert!(matches!(error, AdminError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("still there"), "mine");
}

#[tokio::test]
async fn a_successors_socket_stays_when_its_predecessor_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    let old = Listener::open(&path).expect("open");
    fs::remove_file(&path).expect("removed by somebody");
    let new = Listener::open(&path).expect("the name is free");
    drop(old);
    assert!(path.exists(), "it is not the old one's any more");
    tokio::spawn(new.serve(driver()));
    assert!(get(&path, "GET", STATUS_PATH).await.starts_with("HTTP/1.1 200"));
}
