//! Every outcome of a probe, against servers that behave that way.

mod health_server;
mod kinds;
pub(super) mod server;

use super::*;
use crate::health_check::{Accept, ClientIdentity, Credentials, Get, Kind, Material};
use nllb_core::{Outcome, SubjectName};
use server::{Authority, Reply, Server};
use socket2::{Domain, Socket, Type};
use std::net::Ipv4Addr;
use tokio::net::TcpListener;

/// Far longer than anything on loopback takes.
const AMPLE: Duration = Duration::from_secs(20);
/// For outcomes that only time can show; the probe really waits that long.
const SHORT: Duration = Duration::from_millis(150);

/// The usual question.
pub(in crate::probe) fn https() -> Kind {
    Kind::Https(Get { path: "/readyz".to_owned(), accept: Accept::default() })
}

pub(in crate::probe) fn check(
    kind: Kind,
    timeout: Duration,
    credentials: Credentials,
) -> HealthCheck {
    HealthCheck { kind, port: None, health_port: None, is_api: true, timeout, credentials }
}

fn prober(timeout: Duration, credentials: Credentials) -> Prober {
    Prober::new(check(https(), timeout, credentials))
}

fn trusting(authority: &Authority) -> Credentials {
    Credentials {
        authority: Some(Material::Inline(authority.pem().into_bytes())),
        ..Credentials::default()
    }
}

async fn run(prober: &Prober, address: SocketAddr) -> ProbeReport {
    prober.probe(address, None, |_, _| Ok(())).await
}

fn nowhere() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[tokio::test]
async fn the_status_of_the_answer_decides() {
    let authority = Authority::new();
    for (status, outcome) in [
        (200, Outcome::Ready),
        (401, Outcome::Unauthorized),
        (403, Outcome::NotReady { status: 403 }),
        (500, Outcome::NotReady { status: 500 }),
    ] {
        let server = Server::start(&authority, Reply::Status(status)).await;
        let report = run(&prober(AMPLE, trusting(&authority)), server.address).await;
        assert_eq!(report.outcome, outcome);
        assert!(report.rtt.expect("a handshake") <= report.latency);
        assert!(report.unix_time > 1_700_000_000);
    }
}

#[tokio::test]
async fn the_certificate_is_reported_also_when_it_does_not_verify() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = Server::start(&authority, Reply::Status(200)).await;
    let good = run(&prober(AMPLE, trusting(&authority)), server.address).await;
    let bad = run(&prober(AMPLE, trusting(&stranger)), server.address).await;
    assert_eq!(good.outcome, Outcome::Ready);
    let Outcome::TlsFailed { reason } = &bad.outcome else { panic!("{:?}", bad.outcome) };
    assert!(reason.starts_with("invalid peer certificate"), "{reason}");
    for report in [good, bad] {
        let facts = report.certificate.expect("a certificate");
        let names = [
            SubjectName::Dns("kubernetes".to_owned()),
            SubjectName::Ip(Ipv4Addr::LOCALHOST.into()),
            SubjectName::Ip("fd00::1".parse().expect("an address")),
        ];
        assert_eq!(facts.names, names);
        assert_eq!(facts.subject, "CN=apiserver");
        assert_eq!((facts.not_before, facts.not_after), (server::NOT_BEFORE, server::NOT_AFTER));
    }
}

#[tokio::test]
async fn the_configured_name_is_checked_instead_of_the_address() {
    let authority = Authority::new();
    let server = Server::start(&authority, Reply::Status(200)).await;
    for (name, ready) in [("kubernetes", true), ("other", false)] {
        let credentials =
            Credentials { server_name: Some(name.to_owned()), ..trusting(&authority) };
        let report = run(&prober(AMPLE, credentials), server.address).await;
        assert_eq!(report.outcome == Outcome::Ready, ready, "{:?}", report.outcome);
    }
    let skip = Credentials {
        server_name: Some("other".to_owned()),
        insecure_skip_verify: true,
        ..Credentials::default()
    };
    let report = run(&prober(AMPLE, skip), server.address).await;
    assert_eq!(report.outcome, Outcome::Ready);
    assert!(report.certificate.is_some());
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let (listener, address) = nowhere();
    drop(listener);
    let report = run(&prober(AMPLE, trusting(&Authority::new())), address).await;
    assert_eq!((report.outcome, report.rtt), (Outcome::Refused, None));
}

#[tokio::test]
async fn a_full_accept_queue_is_silent() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bound");
    socket.listen(0).expect("listening");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    let _first = std::net::TcpStream::connect(address).expect("the queue takes one");
    let limit = SHORT * 10;
    let report = run(&prober(limit, trusting(&Authority::new())), address).await;
    assert_eq!(report.outcome, Outcome::Silent);
    assert!(report.latency >= limit / 2 && report.latency < limit, "{:?}", report.latency);
}

#[tokio::test]
async fn a_frozen_process_accepts_and_hangs() {
    let (_listener, address) = nowhere();
    let limit = SHORT * 10;
    let report = run(&prober(limit, trusting(&Authority::new())), address).await;
    assert_eq!(report.outcome, Outcome::Hung);
    assert!(report.rtt.is_some() && report.latency >= limit);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_slow() {
    let authority = Authority::new();
    let server = Server::start(&authority, Reply::Nothing).await;
    // Ample for the handshake, on a busy machine too.
    let report = run(&prober(SHORT * 20, trusting(&authority)), server.address).await;
    assert_eq!(report.outcome, Outcome::Slow);
}

#[tokio::test]
async fn an_answer_cut_short_is_closed() {
    let authority = Authority::new();
    for reply in [Reply::Close, Reply::Half] {
        let server = Server::start(&authority, reply).await;
        let report = run(&prober(AMPLE, trusting(&authority)), server.address).await;
        assert_eq!(report.outcome, Outcome::Closed);
    }
}

#[tokio::test]
async fn resets_and_ends_during_the_handshake_are_told_apart() {
    for (linger, outcome) in [(Some(Duration::ZERO), Outcome::Reset), (None, Outcome::Closed)] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let accept = server::end_after_hello(&listener, linger);
        let prober = prober(AMPLE, trusting(&Authority::new()));
        let (report, ()) = tokio::join!(run(&prober, address), accept);
        assert_eq!(report.outcome, outcome);
    }
}

#[tokio::test]
async fn a_server_without_tls_fails_in_tls() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let accept = async {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        server::read_hello(&mut stream).await;
        let text = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        stream.try_write(text).expect("room for a line");
    };
    let prober = prober(AMPLE, trusting(&Authority::new()));
    let (report, ()) = tokio::join!(run(&prober, address), accept);
    assert!(matches!(report.outcome, Outcome::TlsFailed { .. }), "{:?}", report.outcome);
    assert_eq!(report.certificate, None);
}

#[tokio::test]
async fn a_socket_that_cannot_be_exempted_is_not_used() {
    let (listener, address) = nowhere();
    listener.set_nonblocking(true).expect("set");
    let refuse = |_: BorrowedFd<'_>, _| Err(io::Error::other("no storage"));
    let report = prober(AMPLE, trusting(&Authority::new())).probe(address, None, refuse).await;
    assert_eq!(report.outcome, Outcome::Local { reason: "no storage".to_owned() });
    let nobody = listener.accept().expect_err("nobody dialled");
    assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_a_local_matter() {
    let missing = Credentials {
        authority: Some(Material::File("/nowhere/ca.crt".into())),
        ..Credentials::default()
    };
    let (_listener, address) = nowhere();
    let report = run(&prober(AMPLE, missing), address).await;
    let Outcome::Local { reason } = report.outcome else { panic!("{:?}", report.outcome) };
    assert!(reason.starts_with("/nowhere/ca.crt cannot be read"), "{reason}");
}

#[tokio::test]
async fn a_changed_token_file_is_read_again_and_a_lost_one_changes_nothing() {
    let authority = Authority::new();
    let server = Server::start(&authority, Reply::Token("new")).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "old\n").expect("written");
    let credentials =
        Credentials { token: Some(Material::File(file.clone())), ..trusting(&authority) };
    let prober = prober(AMPLE, credentials);
    assert_eq!(run(&prober, server.address).await.outcome, Outcome::CredentialsRefused);
    std::fs::write(dir.path().join("next"), "new\n").expect("written");
    std::fs::rename(dir.path().join("next"), &file).expect("renamed");
    assert_eq!(run(&prober, server.address).await.outcome, Outcome::Ready);
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(run(&prober, server.address).await.outcome, Outcome::Ready);
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_there_is_one() {
    let authority = Authority::new();
    let server = Server::start_with_client_auth(&authority).await;
    let anonymous = run(&prober(AMPLE, trusting(&authority)), server.address).await;
    assert!(matches!(anonymous.outcome, Outcome::TlsFailed { .. }), "{:?}", anonymous.outcome);
    let (certificate, key) = authority.client();
    let client = ClientIdentity {
        certificate: Material::Inline(certificate.into_bytes()),
        key: Material::Inline(key.into_bytes()),
    };
    let known = Credentials { client: Some(client), ..trusting(&authority) };
    assert_eq!(run(&prober(AMPLE, known), server.address).await.outcome, Outcome::Ready);
}

#[tokio::test]
async fn an_unusable_authority_breaks_no_other_in_its_file() {
    let (authority, expired) = (Authority::new(), Authority::expired());
    let server = Server::start(&authority, Reply::Status(200)).await;
    let pem =
        |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let (no_base64, no_certificate) = (pem("%%%%"), pem("AAAA"));
    let cut_short = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    let file = [&no_base64, &expired.pem(), &no_certificate, &authority.pem(), cut_short].concat();
    let credentials = |pem: String| Credentials {
        authority: Some(Material::Inline(pem.into_bytes())),
        ..Credentials::default()
    };
    let report = run(&prober(AMPLE, credentials(file)), server.address).await;
    assert_eq!(report.outcome, Outcome::Ready);
    let facts = report.certificate.expect("a certificate");
    assert_eq!(facts.chain_not_after, Some(server::AUTHORITY_NOT_AFTER));
    for useless in [no_base64, no_certificate, cut_short.to_owned(), String::new()] {
        let report = run(&prober(AMPLE, credentials(useless)), server.address).await;
        assert!(matches!(report.outcome, Outcome::Local { .. }), "{:?}", report.outcome);
    }
}

#[test]
fn secrets_are_never_printed() {
    let credentials =
        Credentials { token: Some(Material::Inline(b"hush".to_vec())), ..Credentials::default() };
    assert!(!format!("{:?}", prober(AMPLE, credentials)).contains("hush"));
}
