//! HTTP/2 as the embedded API server speaks it, frame by frame.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use nllb_lab::apiserver::Modes;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConnection, StreamOwned};

use crate::server::Server;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_HEADERS_AND_STREAM: u8 = 5;
/// Of a GOAWAY that refuses nothing yet.
const LAST_ID: [u8; 4] = 0x7fff_ffff_u32.to_be_bytes();
/// Far beyond what an answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn it_speaks_http2_to_those_who_offer_it_and_answers_and_counts_pings() {
    let server = Server::start(|_| {});
    let mut connection = Connection::open(&server);
    connection.get(1, "/livez");
    assert_eq!(connection.next(HEADERS).1[0] & 0x7f, 8, "the first header field is :status 200");
    assert_eq!(connection.next(DATA).1, b"ok");
    for number in 1..=3_u64 {
        connection.send(PING, 0, 0, &number.to_be_bytes());
        assert_eq!(connection.next(PING), (ACK, number.to_be_bytes().to_vec()));
    }
    let stats = server.stats();
    assert_eq!((stats.pings, stats.requests["/livez"]), (3, 1));
}

#[test]
fn told_to_stop_it_says_goaway_twice_and_the_watch_goes_on() {
    let mut server = Server::start(|_| {});
    let mut connection = Connection::open(&server);
    connection.get(1, "/api/v1/watch/pods");
    connection.next(DATA);
    server.process.signal(Signal::SIGTERM).expect("a signal");
    assert_eq!(connection.next(GOAWAY).1[..4], LAST_ID);
    let (flags, octets) = connection.next(PING);
    assert_eq!(flags, 0);
    connection.send(PING, ACK, 0, &octets);
    assert_eq!(connection.next(GOAWAY).1[..4], 1_u32.to_be_bytes());
    for _ in 0..5 {
        assert!(connection.next(DATA).1.starts_with(b"{"), "the watch still delivers");
    }
    connection.send(PING, 0, 0, b"alive???");
    assert_eq!(connection.next(PING).0, ACK, "pings are answered until the end");
    drop(connection);
    assert!(server.process.wait().expect("an end").success(), "the last connection ends it");
}

#[test]
fn an_idle_watch_has_one_event_and_no_other_until_its_grace_ends() {
    let mut server = Server::start(|settings| {
        settings.modes.shutdown_grace = Duration::from_millis(200);
    });
    let mut connection = Connection::open(&server);
    connection.get(1, "/api/v1/watch/idle");
    assert!(connection.next(DATA).1.starts_with(b"{"));
    server.process.signal(Signal::SIGTERM).expect("a signal");
    let mut kinds = Vec::new();
    while let Some((kind, ..)) = connection.read() {
        kinds.push(kind);
    }
    assert!(kinds.contains(&GOAWAY) && !kinds.contains(&DATA), "{kinds:?}");
    assert!(server.process.wait().expect("an end").success());
}

#[test]
fn goaway_at_random_ends_connections_and_loses_no_request() {
    let server = Server::start(|settings| settings.modes.goaway_per_mille = 1_000);
    let mut connection = Connection::open(&server);
    connection.get(1, "/livez");
    assert_eq!(connection.next(GOAWAY).1[..4], LAST_ID);
    let (_, octets) = connection.next(PING);
    connection.send(PING, ACK, 0, &octets);
    assert_eq!(connection.next(GOAWAY).1[..4], 1_u32.to_be_bytes());
    while connection.read().is_some() {}

    server.set(Modes::default());
    let mut connection = Connection::open(&server);
    connection.get(1, "/livez");
    connection.next(DATA);
    connection.send(PING, 0, 0, b"alive???");
    assert_eq!(connection.next(PING).0, ACK);
}

#[test]
fn frozen_it_answers_no_ping_until_it_is_thawed() {
    let mut server = Server::start(|_| {});
    let mut connection = Connection::open(&server);
    connection.send(PING, 0, 0, b"before??");
    connection.next(PING);
    server.process.signal(Signal::SIGSTOP).expect("a signal");
    let id = Pid::from_raw(server.process.id().cast_signed());
    waitid(Id::Pid(id), WaitPidFlag::WSTOPPED).expect("it stops");
    connection.send(PING, 0, 0, b"alive???");
    connection.patience(Duration::from_millis(150));
    assert_eq!(connection.read(), None, "nothing comes");
    server.process.signal(Signal::SIGCONT).expect("a signal");
    connection.patience(PATIENCE);
    assert_eq!(connection.next(PING), (ACK, b"alive???".to_vec()));
}

struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    fn open(server: &Server) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(server.authority.pem().as_bytes());
        roots.add(authority.expect("PEM")).expect("an authority");
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("kubernetes").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let stream = TcpStream::connect(server.tls).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut connection = Self(StreamOwned::new(session, stream));
        connection.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
        connection.send(SETTINGS, 0, 0, &[]);
        connection.next(SETTINGS);
        connection.send(SETTINGS, ACK, 0, &[]);
        connection
    }

    fn patience(&self, patience: Duration) {
        self.0.sock.set_read_timeout(Some(patience)).expect("set");
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, octets: &[u8]) {
        let length = u8::try_from(octets.len()).expect("a short frame");
        let mut frame = vec![0, 0, length, kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(octets);
        self.0.write_all(&frame).expect("sent");
        self.0.flush().expect("sent");
    }

    /// A GET on a new stream; its header fields are of the static table or literal (RFC 7541).
    fn get(&mut self, stream: u32, path: &str) {
        let length = u8::try_from(path.len()).expect("a short path");
        let authority = b"kubernetes";
        // :method GET, :scheme https, then :path and :authority, each with a literal value.
        let mut block = vec![0x82, 0x87, 0x04, length];
        block.extend(path.as_bytes());
        block.extend([0x01, 10]);
        block.extend(authority);
        self.send(HEADERS, END_HEADERS_AND_STREAM, stream, &block);
    }

    /// The flags and the content of the next frame of this kind.
    fn next(&mut self, kind: u8) -> (u8, Vec<u8>) {
        let mut seen = Vec::new();
        while let Some((found, flags, octets)) = self.read() {
            if found == kind {
                return (flags, octets);
            }
            seen.push(found);
        }
        panic!("no frame of kind {kind} after {seen:?}");
    }

    /// The next frame; none at the end, or when none came in time.
    fn read(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).ok()?;
        let [a, b, c, kind, flags, ..] = header;
        let mut octets = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        self.0.read_exact(&mut octets).ok()?;
        Some((kind, flags, octets))
    }
}
