//! What opening tells, and every way in which it fails.

use super::*;
use crate::probe::tests::server;
use nllb_core::SubjectName;
use std::net::Ipv4Addr;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

async fn why(prober: &Prober, address: SocketAddr) -> OpenError {
    open(prober, address).await.map(|(sentinel, _)| sentinel).expect_err("no sentinel")
}

/// Says nothing and stays.
async fn silent(stream: backend::Stream) {
    let _open = stream;
    future::pending::<()>().await;
}

#[tokio::test]
async fn an_open_sentinel_has_shown_the_certificate_and_its_chain() {
    let authority = Authority::new();
    let backend = Backend::answering(&authority, |_| None).await;
    let prober = prober(AMPLE, trusting(&authority));
    // Each time anew: nothing is resumed.
    for _ in 0..2 {
        let (_sentinel, opened) = open(&prober, backend.address).await.expect("open");
        assert!(opened.rtt > Duration::ZERO && opened.unix_time > 1_700_000_000);
        let facts = opened.certificate.expect("a certificate");
        assert!(facts.names.contains(&SubjectName::Ip(Ipv4Addr::LOCALHOST.into())));
        assert_eq!(facts.not_after, server::NOT_AFTER);
        assert_eq!(facts.chain_not_after, Some(server::AUTHORITY_NOT_AFTER));
    }
}

#[tokio::test]
async fn a_server_without_http2_is_told_from_one_that_fails() {
    let authority = Authority::new();
    let prober = prober(AMPLE, trusting(&authority));
    // One that knows no ALPN speaks HTTP/1.1 too.
    for protocols in [&["http/1.1"][..], &["http/1.1", "http/1.0"], &[]] {
        let backend = Backend::start(&authority, protocols, silent).await;
        assert_eq!(why(&prober, backend.address).await, OpenError::NoHttp2, "{protocols:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_opens_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let backend = Backend::answering(&authority, |_| None).await;
    let error = why(&prober(AMPLE, trusting(&stranger)), backend.address).await;
    assert!(matches!(error, OpenError::Failed(Outcome::TlsFailed { .. })), "{error:?}");
}

#[tokio::test]
async fn a_client_certificate_that_the_server_misses_is_a_failure_of_tls() {
    let authority = Authority::new();
    let config = authority.server_config(true);
    let serve = |stream| backend::serve(stream, |_| None);
    let backend = Backend::start_with(config, &["h2"], serve).await;
    let error = why(&prober(AMPLE, trusting(&authority)), backend.address).await;
    assert!(matches!(error, OpenError::Failed(Outcome::TlsFailed { .. })), "{error:?}");
}

#[tokio::test]
async fn each_step_that_fails_has_its_outcome() {
    let authority = Authority::new();
    let failed = |outcome| OpenError::Failed(outcome);

    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let address = listener.local_addr().expect("an address");
    let error = why(&prober(SHORT * 10, trusting(&authority)), address).await;
    assert_eq!(error, failed(Outcome::Hung), "a frozen process");
    drop(listener);
    let error = why(&prober(AMPLE, trusting(&authority)), address).await;
    assert_eq!(error, failed(Outcome::Refused), "a closed port");

    let backend = Backend::start(&authority, &["h2"], silent).await;
    let error = why(&prober(SHORT * 20, trusting(&authority)), backend.address).await;
    assert_eq!(error, failed(Outcome::Slow), "silence after the TLS handshake");

    let close = |mut stream: backend::Stream| async move {
        let _gone = stream.shutdown().await;
    };
    let backend = Backend::start(&authority, &["h2"], close).await;
    let error = why(&prober(AMPLE, trusting(&authority)), backend.address).await;
    assert_eq!(error, failed(Outcome::Closed), "closed after the TLS handshake");
}

#[tokio::test]
async fn resets_and_ends_during_the_handshake_are_told_apart() {
    for (linger, outcome) in [(Some(Duration::ZERO), Outcome::Reset), (None, Outcome::Closed)] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let accept = server::end_after_hello(&listener, linger);
        let prober = prober(AMPLE, trusting(&Authority::new()));
        let (error, ()) = tokio::join!(why(&prober, address), accept);
        assert_eq!(error, OpenError::Failed(outcome));
    }
}

#[tokio::test]
async fn a_socket_that_cannot_be_exempted_is_not_used() {
    let authority = Authority::new();
    let backend = Backend::answering(&authority, |_| None).await;
    let refuse = |_: BorrowedFd<'_>| Err(io::Error::other("no storage"));
    let prober = prober(AMPLE, trusting(&authority));
    let error = prober.open(backend.address, None, refuse).await.map(|_| ()).expect_err("none");
    assert_eq!(error, OpenError::Failed(Outcome::Local { reason: "no storage".to_owned() }));
}
