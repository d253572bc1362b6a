//! A small HTTP/1.1 client over TLS: blocking, so that every system call is the test's own.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};

use super::connect::{Conn, Wire};
use super::protocol::{Http, Outcome};

/// Sends a request, over TLS from now on, and notes the answer.
///
/// The body of a stream (chunked) is left on the connection.
pub(super) fn get(conn: &mut Conn, request: &Http, outcome: &mut Outcome) -> io::Result<()> {
    start_tls(conn, request)?;
    let Http { path, server_name, bearer, .. } = request;
    let mut text = format!("GET {path} HTTP/1.1\r\nhost: {server_name}\r\n");
    if let Some(token) = bearer {
        text.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    text.push_str("\r\n");
    conn.write_all(text.as_bytes())?;

    let status_line = conn.read_line()?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    outcome.status = Some(status.ok_or_else(|| io::Error::other(status_line.clone()))?);
    let mut length = None;
    loop {
        let line = conn.read_line()?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let Some(length) = length else { return Ok(()) };
    while conn.unread.len() < length {
        conn.fill()?;
    }
    let body: Vec<u8> = conn.unread.drain(..length).collect();
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&body) {
        outcome.server = value["server"].as_str().map(str::to_owned);
    }
    outcome.body = Some(String::from_utf8_lossy(&body).into_owned());
    Ok(())
}

fn start_tls(conn: &mut Conn, request: &Http) -> io::Result<()> {
    let Wire::Plain(socket) = &conn.wire else {
        return Ok(());
    };
    let name = ServerName::try_from(request.server_name.clone()).map_err(io::Error::other)?;
    let session = ClientConnection::new(config(request)?, name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, socket.try_clone()?.into());
    stream.conn.complete_io(&mut stream.sock)?;
    conn.wire = Wire::Tls(Box::new(stream));
    Ok(())
}

type Cached = (String, Option<(String, String)>, Arc<ClientConfig>);

/// A storm asks with the same certificates every time; parse them once.
static LAST: Mutex<Option<Cached>> = Mutex::new(None);

fn config(request: &Http) -> io::Result<Arc<ClientConfig>> {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let known = last.as_ref().filter(|(authority, identity, _)| {
        (authority, identity) == (&request.authority, &request.identity)
    });
    if let Some((_, _, config)) = known {
        return Ok(Arc::clone(config));
    }
    let config = Arc::new(new_config(request).map_err(io::Error::other)?);
    *last = Some((request.authority.clone(), request.identity.clone(), Arc::clone(&config)));
    Ok(config)
}

/// A configuration that trusts this authority and shows no certificate.
pub(crate) fn config_trusting(authority: &str) -> anyhow::Result<ClientConfig> {
    Ok(without_resumption(builder(authority)?.with_no_client_auth()))
}

fn new_config(request: &Http) -> anyhow::Result<ClientConfig> {
    let builder = builder(&request.authority)?;
    let config = match &request.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?,
    };
    let mut config = without_resumption(config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A resumed session shows no certificate, and which server is met is the point.
fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config
}

fn builder(authority: &str) -> anyhow::Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots))
}
