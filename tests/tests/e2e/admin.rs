//! Requests to one API server as somebody who may do anything, from that server's own host.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use nllb_lab::netns;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio_rustls::TlsConnector;

const NAME: &str = "kubernetes.default.svc";

/// A way to ask one server.
pub(crate) struct Admin {
    netns: String,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: String,
}

impl Admin {
    /// Asks with this token, from a network namespace.
    pub(crate) fn new(
        netns: &str,
        address: SocketAddr,
        authority: &str,
        token: &str,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (netns, token) = (netns.to_owned(), token.to_owned());
        Ok(Self { netns, address, tls: Arc::new(tls), token })
    }

    /// The status of an answer, and its body as JSON or text.
    pub(crate) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        // A socket stays in the namespace in which it was made.
        let socket = netns::run_in(&self.netns, || TcpStream::connect(self.address))??;
        socket.set_nonblocking(true)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, NAME)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let name = ServerName::try_from(NAME)?;
            let socket = tokio::net::TcpStream::from_std(socket)?;
            let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Its errors are those of the request.
            tokio::spawn(connection);
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await?.to_bytes();
            let text = || Value::from(String::from_utf8_lossy(&body));
            Ok((status, serde_json::from_slice(&body).unwrap_or_else(|_| text())))
        })
    }

    /// Makes an object.
    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.succeed(Method::POST, path, Some(object))
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, path: &str) -> Result<()> {
        self.succeed(Method::DELETE, path, None).map(drop)
    }

    fn succeed(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.ask(method, path, body).with_context(|| path.to_owned())?;
        match status {
            200..=299 => Ok(answer),
            _ => bail!("{path}: {status} {answer}"),
        }
    }
}
