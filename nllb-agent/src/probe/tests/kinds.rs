//! The kinds of probe besides `https`, each against a server of its own, and the two other ports.

use super::health_server::{HealthServer, Says};
use super::server::{self, Authority, Reply, Server};
use super::*;
use crate::health_check::HealthPort;
use std::sync::Mutex;

fn get(accept: Accept) -> Get {
    Get { path: "/readyz".to_owned(), accept }
}

fn of(kind: Kind, credentials: Credentials) -> Prober {
    Prober::new(check(kind, AMPLE, credentials))
}

fn anonymous(kind: Kind) -> Prober {
    of(kind, Credentials::default())
}

fn grpc(service: &str, tls: bool) -> Kind {
    Kind::Grpc { service: service.to_owned(), tls }
}

/// A listener whose queue is full, so that nobody else gets an answer to a connect.
fn silent() -> (Socket, std::net::TcpStream, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bound");
    socket.listen(0).expect("listening");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    let first = std::net::TcpStream::connect(address).expect("the queue takes one");
    (socket, first, address)
}

#[tokio::test]
async fn http_goes_by_the_accepted_statuses_and_sends_no_credentials() {
    for (accept, status, outcome) in [
        (Accept::default(), 200, Outcome::Ready),
        (Accept::default(), 401, Outcome::Unauthorized),
        (Accept::default(), 404, Outcome::NotReady { status: 404 }),
        (Accept(vec![200..=499]), 404, Outcome::Ready),
        (Accept(vec![200..=499]), 500, Outcome::NotReady { status: 500 }),
    ] {
        let server = Server::start_plain(Reply::Status(status)).await;
        let report = run(&anonymous(Kind::Http(get(accept))), server.address).await;
        assert_eq!((report.outcome, report.certificate), (outcome, None));
        assert!(report.rtt.is_some());
    }
    let server = Server::start_plain(Reply::Token("secret")).await;
    let token = Some(Material::Inline(b"secret".to_vec()));
    let knowing = Credentials { token, ..Credentials::default() };
    let report = run(&of(Kind::Http(get(Accept::default())), knowing), server.address).await;
    assert_eq!(report.outcome, Outcome::Unauthorized);
}

#[tokio::test]
async fn without_tls_an_answer_that_does_not_begin_is_a_hang_and_a_cut_one_is_closed() {
    let kind = || Kind::Http(get(Accept::default()));
    let server = Server::start_plain(Reply::Nothing).await;
    let prober = Prober::new(check(kind(), SHORT * 4, Credentials::default()));
    assert_eq!(run(&prober, server.address).await.outcome, Outcome::Hung);
    for reply in [Reply::Close, Reply::Half] {
        let server = Server::start_plain(reply).await;
        assert_eq!(run(&anonymous(kind()), server.address).await.outcome, Outcome::Closed);
    }
}

#[tokio::test]
async fn tcp_wants_nothing_but_a_connect() {
    let (listener, address) = nowhere();
    let report = run(&anonymous(Kind::Tcp), address).await;
    assert_eq!((report.outcome, report.certificate), (Outcome::Ready, None));
    assert!(report.rtt.is_some());
    drop(listener);
    assert_eq!(run(&anonymous(Kind::Tcp), address).await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn tls_wants_a_handshake_and_reads_the_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = Server::start(&authority, Reply::Nothing).await;
    let report = run(&of(Kind::Tls, trusting(&authority)), server.address).await;
    assert_eq!(report.outcome, Outcome::Ready);
    assert_eq!(report.certificate.expect("a certificate").not_after, server::NOT_AFTER);
    let report = run(&of(Kind::Tls, trusting(&stranger)), server.address).await;
    assert!(matches!(report.outcome, Outcome::TlsFailed { .. }), "{:?}", report.outcome);
    let (_frozen, address) = nowhere();
    let prober = Prober::new(check(Kind::Tls, SHORT * 4, trusting(&authority)));
    assert_eq!(run(&prober, address).await.outcome, Outcome::Hung);
}

#[tokio::test]
async fn grpc_asks_for_health_over_tls_and_without() {
    let authority = Authority::new();
    for (says, said) in [
        (Says::Health(1), "ready"),
        (Says::Health(2), "not ready, gRPC health NOT_SERVING"),
        (Says::Code(12), "not ready, gRPC status 12 UNIMPLEMENTED"),
        (Says::Code(16), "alive, HTTP status 401"),
    ] {
        for service in ["", "etcd"] {
            let server = HealthServer::start(None, service, says).await;
            let report = run(&anonymous(grpc(service, false)), server.address).await;
            assert_eq!((report.outcome.to_string().as_str(), &report.certificate), (said, &None));
            let server = HealthServer::start(Some(&authority), service, says).await;
            let prober = of(grpc(service, true), trusting(&authority));
            let report = run(&prober, server.address).await;
            assert_eq!(report.outcome.to_string(), said);
            assert!(report.certificate.is_some());
        }
    }
}

#[tokio::test]
async fn grpc_tells_a_hang_from_slowness_only_by_tls() {
    let authority = Authority::new();
    let limited = |kind, credentials| Prober::new(check(kind, SHORT * 20, credentials));
    let server = HealthServer::start(Some(&authority), "", Says::Nothing).await;
    let prober = limited(grpc("", true), trusting(&authority));
    assert_eq!(run(&prober, server.address).await.outcome, Outcome::Slow);
    let server = HealthServer::start(None, "", Says::Nothing).await;
    let prober = limited(grpc("", false), Credentials::default());
    assert_eq!(run(&prober, server.address).await.outcome, Outcome::Hung);
}

#[tokio::test]
async fn a_server_without_http2_is_closed_to_grpc() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let accept = async {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        server::read_hello(&mut stream).await;
        stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("room for a line");
    };
    let prober = anonymous(grpc("", false));
    let (report, ()) = tokio::join!(run(&prober, address), accept);
    assert_eq!(report.outcome, Outcome::Closed);
}

#[tokio::test]
async fn another_port_is_asked_instead_and_its_handshakes_are_told_apart() {
    let (_own, address) = nowhere();
    let server = Server::start_plain(Reply::Status(200)).await;
    let kind = Kind::Http(get(Accept::default()));
    let port = Some(server.address.port());
    let prober = Prober::new(HealthCheck { port, ..check(kind, AMPLE, Credentials::default()) });
    let dialled = Mutex::new(Vec::new());
    let note = |_: BorrowedFd<'_>, port| {
        dialled.lock().expect("unpoisoned").push(port);
        Ok(())
    };
    let report = prober.probe(address, None, note).await;
    assert_eq!(report.outcome, Outcome::Ready);
    assert_eq!(dialled.into_inner().expect("unpoisoned"), [Port::Other]);
}

#[tokio::test]
async fn a_silent_other_port_is_a_silent_host_only_when_its_own_is_silent_too() {
    let (_keep, _first, filtered) = silent();
    let (own, accepting) = nowhere();
    let (_keep_too, _first_too, silent) = silent();
    let kind = Kind::Http(get(Accept::default()));
    let checked = HealthCheck {
        port: Some(filtered.port()),
        ..check(kind, SHORT * 4, Credentials::default())
    };
    let prober = Prober::new(checked);
    assert_eq!(run(&prober, accepting).await.outcome, Outcome::Hung);
    assert_eq!(run(&prober, silent).await.outcome, Outcome::Silent);
    drop(own);
    assert_eq!(run(&prober, accepting).await.outcome, Outcome::Silent);
}

#[tokio::test]
async fn a_health_port_only_objects() {
    let (listener, address) = nowhere();
    let (_keep, _first, filtered) = silent();
    let gone = {
        let (_closed, gone) = nowhere();
        gone
    };
    let object = |port: u16| {
        let health_port = Some(HealthPort { port, path: "/readyz".to_owned() });
        let timeout = SHORT * 10;
        Prober::new(HealthCheck {
            health_port,
            ..check(Kind::Tcp, timeout, Credentials::default())
        })
    };
    for (status, outcome) in
        [(200, Outcome::Ready), (401, Outcome::Ready), (503, Outcome::NotReady { status: 503 })]
    {
        let health = Server::start_plain(Reply::Status(status)).await;
        let report = run(&object(health.address.port()), address).await;
        assert_eq!(report.outcome, outcome, "{status}");
    }
    for nothing in [gone, filtered] {
        let report = run(&object(nothing.port()), address).await;
        assert_eq!(report.outcome, Outcome::Ready);
    }
    let hung = Server::start_plain(Reply::Nothing).await;
    assert_eq!(run(&object(hung.address.port()), address).await.outcome, Outcome::Ready);
    drop(listener);
    let health = Server::start_plain(Reply::Status(200)).await;
    assert_eq!(run(&object(health.address.port()), address).await.outcome, Outcome::Refused);
}
