//! Who may open the socket, who may ask on it, and what is left behind.

use super::*;
use crate::status::{Status, example};
use tokio::sync::mpsc;

/// Answers every request with the example.
fn driver() -> StatusSource {
    let (source, mut requests) = mpsc::channel::<StatusRequest>(1);
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            request.answer(example::status());
        }
    });
    source
}

async fn get(path: &Path, method: &str, uri: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = UnixStream::connect(path).await.expect("an agent");
    let request = format!("{method} {uri} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
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
    assert!(get(&path, "GET", "/").await.starts_with("HTTP/1.1 404"));
    task.abort();
    assert!(task.await.expect_err("aborted").is_cancelled());
    assert!(!path.exists(), "the file goes with the agent");
}

#[tokio::test]
async fn a_stopped_driver_is_an_answer_and_not_a_hang() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    let (source, requests) = mpsc::channel(1);
    drop(requests);
    tokio::spawn(Listener::open(&path).expect("open").serve(source));
    assert!(get(&path, "GET", STATUS_PATH).await.starts_with("HTTP/1.1 503"));
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
