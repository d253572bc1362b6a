//! What is answered, and to whom while others hold every place.

use super::*;
use crate::status::{StatusRequest, example};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use tokio::sync::mpsc;

/// Clients run outside the runtime: while one does, paused time stands still.
async fn client<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    stream
}

fn ask(address: SocketAddr, uri: &str) -> String {
    ask_for(address, uri, "*/*")
}

fn ask_for(address: SocketAddr, uri: &str, accept: &str) -> String {
    let mut stream = connect(address);
    let request =
        format!("GET {uri} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

async fn get(address: SocketAddr, uri: &'static str) -> String {
    client(move || ask(address, uri)).await
}

/// Serves these documents, one per request, then stops answering.
fn listener(documents: Vec<Status>) -> SocketAddr {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = listener.address().expect("bound");
    let (source, mut requests) = mpsc::channel::<StatusRequest>(1);
    tokio::spawn(listener.serve(source));
    tokio::spawn(async move {
        for document in documents {
            requests.recv().await.expect("a request").answer(document);
        }
    });
    address
}

#[tokio::test]
async fn metrics_health_and_readiness_come_from_the_status_document() {
    let mut unready = example::status();
    unready.datapath.self_test.failures = vec!["not translated".to_owned()];
    let address = listener(vec![example::status(), unready, example::status(), example::status()]);
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("\r\n\r\nok\n"), "{ready}");
    let unready = get(address, "/readyz").await;
    assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
    assert!(unready.ends_with("\r\n\r\nself-test: not translated\n"), "{unready}");
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.ends_with("\n") && !metrics.contains("# EOF"), "{metrics}");
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
    let metrics = client(move || ask_for(address, "/metrics", prometheus)).await;
    assert!(metrics.contains("content-type: application/openmetrics-text"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    let stuck = get(address, "/readyz").await;
    assert!(stuck.starts_with("HTTP/1.1 503"), "{stuck}");
}

#[tokio::test]
async fn a_driver_that_never_answered_is_unhealthy() {
    let answer = get(listener(Vec::new()), "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn half_open_connections_keep_nobody_out() {
    let address = listener(vec![example::status()]);
    // No time passes, so no timeout makes room.
    let (answer, held) = client(move || {
        let half_open = || {
            let mut stream = connect(address);
            stream.write_all(b"GET /healthz HTTP/1.1\r\n").expect("written");
            stream
        };
        let mut held: Vec<TcpStream> = (0..64).map(|_| half_open()).collect();
        let answer = ask(address, "/healthz");
        let is_open = |stream: &mut TcpStream| {
            stream.set_nonblocking(true).expect("set");
            let read = stream.read(&mut [0; 64]);
            read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        (answer, held.iter_mut().map(is_open).collect::<Vec<_>>())
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (ended, open) = held.split_at(64 - (MOST_CONNECTIONS - 1));
    assert!(!ended.contains(&true) && !open.contains(&false), "{held:?}");
}
