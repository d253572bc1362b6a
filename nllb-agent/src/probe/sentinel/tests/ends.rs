//! Pongs and every end of a sentinel, each told from the others.

use super::backend::Stream;
use super::raw::{self, goaway};
use super::*;
use socket2::{Domain, Socket, Type};
use std::net::Ipv4Addr;
use std::pin::pin;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

/// A backend that greets, then waits for the word, and then does what it is told with the stream.
async fn scripted<F, S>(authority: &Authority, script: F) -> (Backend, watch::Sender<bool>)
where
    F: Fn(Stream) -> S + Copy + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let (word, heard) = watch::channel(false);
    let greet = move |mut stream: Stream| {
        let mut heard = heard.clone();
        async move {
            raw::greet(&mut stream).await;
            heard.wait_for(|said| *said).await.expect("the test goes on");
            script(stream).await;
        }
    };
    (Backend::start(authority, &["h2"], greet).await, word)
}

/// The end of a sentinel after the word; there is no second one.
async fn end<F, S>(script: F) -> SentinelFact
where
    F: Fn(Stream) -> S + Copy + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let authority = Authority::new();
    let (backend, word) = scripted(&authority, script).await;
    let mut sentinel = sentinel(&authority, &backend).await;
    word.send_replace(true);
    let fact = next(&mut sentinel).await;
    drop(backend);
    sentinel.ping();
    let second = tokio::time::timeout(SHORT, sentinel.next()).await;
    assert!(second.is_err(), "{fact:?}, then {second:?}");
    let late = sentinel.probe().await;
    assert_eq!(late.outcome, Outcome::Local { reason: "the sentinel had ended".to_owned() });
    fact
}

fn reset_on_close(stream: &Stream) {
    SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO)).expect("set");
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_closed() {
    assert_eq!(end(|stream| async { drop(stream) }).await, SentinelFact::Closed);
    let goodbye_of_tls = |mut stream: Stream| async move {
        stream.shutdown().await.expect("closed");
    };
    assert_eq!(end(goodbye_of_tls).await, SentinelFact::Closed);
}

#[tokio::test]
async fn a_connection_that_the_server_resets_is_reset() {
    let reset = |stream: Stream| async move { reset_on_close(&stream) };
    assert_eq!(end(reset).await, SentinelFact::Reset);
}

#[tokio::test]
async fn a_goaway_counts_whatever_comes_with_it() {
    let stays = |mut stream: Stream| async move {
        raw::send(&mut stream, &goaway(i32::MAX.unsigned_abs(), 0)).await;
        future::pending::<()>().await;
    };
    assert_eq!(end(stays).await, SentinelFact::GoAway);
    let twice_then_closed = |mut stream: Stream| async move {
        let both = [goaway(i32::MAX.unsigned_abs(), 0), goaway(0, 0)].concat();
        raw::send(&mut stream, &both).await;
    };
    assert_eq!(end(twice_then_closed).await, SentinelFact::GoAway);
    let with_an_error_then_reset = |mut stream: Stream| async move {
        raw::send(&mut stream, &goaway(0, 2)).await;
        reset_on_close(&stream);
    };
    assert_eq!(end(with_an_error_then_reset).await, SentinelFact::GoAway);
}

#[tokio::test]
async fn a_goaway_is_told_at_once_and_an_open_request_still_gets_its_answer() {
    let authority = Authority::new();
    let (word, heard) = watch::channel(0);
    let script = move |stream| {
        let mut heard = heard.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.expect("a preface");
            let request = connection.accept().await.expect("a request");
            let (_, respond) = request.expect("a whole one");
            // First the highest stream there can be, then, after a ping, the last there was.
            connection.graceful_shutdown();
            let mut respond = Some(respond);
            future::poll_fn(|cx| {
                let mut word = pin!(heard.wait_for(|word| *word > 0));
                if respond.is_some() && word.as_mut().poll(cx).is_ready() {
                    backend::reply(respond.take().expect("once"), 200, Bytes::from_static(b"ok"));
                }
                connection.poll_closed(cx)
            })
            .await
            .expect("a quiet end");
        }
    };
    let backend = Backend::start(&authority, &["h2"], script).await;
    let mut sentinel = sentinel(&authority, &backend).await;
    let mut probe = pin!(sentinel.probe());
    tokio::select! {
        biased;
        report = &mut probe => panic!("{report:?}"),
        fact = next(&mut sentinel) => assert_eq!(fact, SentinelFact::GoAway),
    }
    // Pings are of no more use, though they would be answered.
    sentinel.ping();
    word.send_replace(1);
    assert_eq!(probe.await.outcome, Outcome::Ready);
    let second = tokio::time::timeout(SHORT, sentinel.next()).await;
    assert!(second.is_err(), "{second:?}");
}

#[tokio::test]
async fn a_request_that_is_cut_has_the_outcome_of_the_end() {
    let authority = Authority::new();
    type Do = fn(&Stream);
    for (cut, fact, outcome) in [
        ((|_| ()) as Do, SentinelFact::Closed, Outcome::Closed),
        (reset_on_close, SentinelFact::Reset, Outcome::Reset),
    ] {
        let script = move |mut stream: Stream| async move {
            raw::greet(&mut stream).await;
            while let Some((kind, _, _)) = raw::receive(&mut stream).await {
                if kind == raw::HEADERS {
                    return cut(&stream);
                }
            }
        };
        let backend = Backend::start(&authority, &["h2"], script).await;
        let mut sentinel = sentinel(&authority, &backend).await;
        assert_eq!(sentinel.probe().await.outcome, outcome);
        assert_eq!(next(&mut sentinel).await, fact);
    }
}

#[tokio::test]
async fn pings_go_one_at_a_time_and_strange_pongs_count_for_nothing() {
    let authority = Authority::new();
    let script = |mut stream: Stream| async move {
        raw::greet(&mut stream).await;
        loop {
            let payload = raw::next_ping(&mut stream).await;
            let strange = raw::frame(raw::PING, raw::ACK, 0, b"whatever");
            let pong = raw::frame(raw::PING, raw::ACK, 0, &payload);
            // A pong answered twice is answered once.
            raw::send(&mut stream, &[strange, pong.clone(), pong].concat()).await;
        }
    };
    let backend = Backend::start(&authority, &["h2"], script).await;
    let mut sentinel = sentinel(&authority, &backend).await;
    for _ in 0..3 {
        sentinel.ping();
        round_trip(&mut sentinel).await;
    }
    let idle = tokio::time::timeout(SHORT, sentinel.next()).await;
    assert!(idle.is_err(), "{idle:?}");
}

#[tokio::test]
async fn a_frozen_server_acknowledges_but_answers_no_ping() {
    let authority = Authority::new();
    let (backend, _word) = scripted(&authority, |_stream| async {}).await;
    let mut sentinel = sentinel(&authority, &backend).await;
    sentinel.ping();
    let fact = tokio::time::timeout(SHORT * 2, sentinel.next()).await;
    assert!(fact.is_err(), "{fact:?}");
    assert_eq!(sentinel.tcp(), TcpState::Acknowledged);
}

#[tokio::test]
async fn what_is_not_acknowledged_is_silence() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bound");
    socket.listen(0).expect("listening");
    let address = socket.local_addr().expect("bound");
    let first = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    first.connect(&address).expect("the queue takes one");
    assert_eq!(tcp::state(&first), TcpState::Acknowledged);
    // Its SYN is on the way and finds no room.
    let second = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    second.set_nonblocking(true).expect("set");
    second.connect(&address).expect_err("in progress");
    assert_eq!(tcp::state(&second), TcpState::Silent);
}

#[tokio::test]
async fn a_dropped_sentinel_closes_and_its_open_request_says_nothing_of_the_backend() {
    let authority = Authority::new();
    let (word, mut gone) = watch::channel(false);
    let script = move |mut stream: Stream| {
        let word = word.clone();
        async move {
            raw::greet(&mut stream).await;
            while raw::receive(&mut stream).await.is_some() {}
            word.send_replace(true);
        }
    };
    let backend = Backend::start(&authority, &["h2"], script).await;
    let sentinel = sentinel(&authority, &backend).await;
    let probe = tokio::spawn(sentinel.probe());
    // The request is on its way, or about to be.
    tokio::task::yield_now().await;
    drop(sentinel);
    let report = tokio::time::timeout(AMPLE, probe).await.expect("an end").expect("no panic");
    assert_eq!(report.outcome, Outcome::Local { reason: "the sentinel was closed".to_owned() });
    tokio::time::timeout(AMPLE, gone.wait_for(|gone| *gone)).await.expect("closed").expect("said");
}
