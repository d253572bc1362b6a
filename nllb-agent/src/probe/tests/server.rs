//! An API server in miniature: TLS with a certificate of its own authority, one scripted reply.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// 2020-01-01 and 2100-01-01.
pub(in crate::probe) const NOT_BEFORE: i64 = 1_577_836_800;
pub(in crate::probe) const NOT_AFTER: i64 = 4_102_444_800;
/// 2200-01-01.
pub(in crate::probe) const AUTHORITY_NOT_AFTER: i64 = 7_258_118_400;

/// What the server does once TLS is up and a request was read.
#[derive(Clone, Copy)]
pub(in crate::probe) enum Reply {
    Status(u16),
    /// 200 for this bearer token, 401 otherwise.
    Token(&'static str),
    Nothing,
    Close,
    /// A body shorter than promised.
    Half,
}

pub(in crate::probe) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

pub(in crate::probe) struct Server {
    pub(in crate::probe) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Authority {
    pub(in crate::probe) fn new() -> Self {
        Self::until(2200)
    }

    pub(in crate::probe) fn expired() -> Self {
        Self::until(2001)
    }

    fn until(year: i32) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.not_after = date_time_ymd(year, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    pub(in crate::probe) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(in crate::probe) fn client(&self) -> (String, String) {
        self.sign("system:node:a", Vec::new())
    }

    fn sign(&self, name: &str, sans: Vec<SanType>) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = sans;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    pub(in crate::probe) fn server_config(&self, client_auth: bool) -> ServerConfig {
        let sans = vec![
            SanType::DnsName("kubernetes".try_into().expect("a name")),
            SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
            SanType::IpAddress("fd00::1".parse().expect("an address")),
        ];
        let (certificate, key) = self.sign("apiserver", sans);
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if client_auth {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(der(&self.pem())).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .expect("a verifier");
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        builder.with_single_cert(vec![der(&certificate)], key).expect("a pair")
    }
}

impl Server {
    pub(in crate::probe) async fn start(authority: &Authority, reply: Reply) -> Self {
        Self::serve(Some(authority.server_config(false)), reply).await
    }

    pub(in crate::probe) async fn start_with_client_auth(authority: &Authority) -> Self {
        Self::serve(Some(authority.server_config(true)), Reply::Status(200)).await
    }

    /// One without TLS.
    pub(in crate::probe) async fn start_plain(reply: Reply) -> Self {
        Self::serve(None, reply).await
    }

    async fn serve(config: Option<ServerConfig>, reply: Reply) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let acceptor = config.map(|config| TlsAcceptor::from(Arc::new(config)));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let Some(acceptor) = &acceptor else {
                    answer(stream, reply).await;
                    continue;
                };
                // A client that turns away is part of the tests.
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, reply).await;
                }
            }
        });
        Self { address, task }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, reply: Reply) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&chunk[..length]),
        }
    }
    let request = String::from_utf8(request).expect("text");
    assert!(request.starts_with("GET /readyz HTTP/1.1\r\n"), "{request}");
    let text = match reply {
        Reply::Status(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok"),
        Reply::Token(token) => {
            let known = request.contains(&format!("authorization: Bearer {token}\r\n"));
            let status = if known { 200 } else { 401 };
            format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")
        }
        Reply::Half => "HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nok".to_owned(),
        Reply::Close => String::new(),
        Reply::Nothing => return std::future::pending().await,
    };
    stream.write_all(text.as_bytes()).await.expect("written");
    stream.shutdown().await.expect("closed");
    if matches!(reply, Reply::Status(_) | Reply::Token(_)) {
        // The client closes first; wait for its end so that nothing is reset.
        let _end = stream.read(&mut [0; 16]).await;
    }
}

/// Ends a connection in the handshake: by a reset when it lingers for no time, else properly.
pub(in crate::probe) async fn end_after_hello(listener: &TcpListener, linger: Option<Duration>) {
    let (mut stream, _) = listener.accept().await.expect("accepted");
    // Read the hello first, else closing resets by itself.
    read_hello(&mut stream).await;
    socket2::SockRef::from(&stream).set_linger(linger).expect("set");
}

/// Reads whatever the client says first.
pub(in crate::probe) async fn read_hello(stream: &mut TcpStream) {
    let length = stream.read(&mut [0; 4096]).await.expect("readable");
    assert!(length > 0, "a hello");
}
