//! Connects through the frontend: to ask for a name, or to speak HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::super::connect::name;
use super::super::http;
use super::super::protocol::{Attempt, Purpose, Traffic};
use super::noted::{Note, Noted};
use crate::apiserver::ASK_NAME;
use crate::clock::now_ns;

/// Where to, and whom to trust.
pub(super) struct Dialer {
    frontend: SocketAddr,
    server_name: String,
    tls: Arc<ClientConfig>,
}

/// An HTTP/2 connection.
pub(super) struct Connection {
    pub(super) requests: SendRequest<Empty<Bytes>>,
    /// Moves the frames; ends with the connection.
    pub(super) driver: JoinHandle<()>,
    pub(super) note: Note,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Dialer {
    pub(super) fn new(traffic: &Traffic) -> Result<Self> {
        let mut tls = http::config_trusting(&traffic.authority)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            frontend: traffic.frontend,
            server_name: traffic.server_name.clone(),
            tls: Arc::new(tls),
        })
    }

    /// Connects, asks for the server's name and closes.
    pub(super) async fn ask_name(&self, patience: Duration) -> Attempt {
        let started_ns = now_ns();
        let mut connected_ns = None;
        let asked = async {
            let stream = self.connect().await?;
            connected_ns = Some(now_ns());
            let answer = tokio::time::timeout(patience, read_name(stream)).await;
            answer.unwrap_or_else(|_| Err(io::Error::other("no answer")))
        };
        let (server, error) = match asked.await {
            Ok(server) => (Some(server), None),
            Err(error) => (None, Some(name(&error))),
        };
        Attempt { started_ns, connected_ns, ended_ns: now_ns(), server, error }
    }

    /// Opens an HTTP/2 connection, and asks what it is for; gives who serves it, and the rest of the
    /// answer, which for a watch must be kept.
    pub(super) async fn open(&self, purpose: Purpose) -> Result<(Connection, String, Incoming)> {
        let (stream, note) = Noted::new(self.connect().await?);
        let name = ServerName::try_from(self.server_name.clone())?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        let io = TokioIo::new(stream);
        let (requests, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        // How it ended is in the note.
        let driver = tokio::spawn(async { drop(connection.await) });
        let mut connection = Connection { requests, driver, note };
        let path = match purpose {
            Purpose::Requests => "/whoami",
            Purpose::Watch => "/api/v1/watch/idle",
        };
        let mut body = self.request(&mut connection, path).await?.into_body();
        let first = body.frame().await.context("an answer without content")??;
        let first: serde_json::Value =
            serde_json::from_slice(first.data_ref().context("no content")?)?;
        let server = first["server"].as_str().or_else(|| first["object"]["server"].as_str());
        let server = server.context("an answer without a name")?.to_owned();
        Ok((connection, server, body))
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn request(
        &self,
        connection: &mut Connection,
        path: &str,
    ) -> Result<Response<Incoming>> {
        let request = Request::get(format!("https://{}{path}", self.server_name));
        connection.requests.ready().await?;
        Ok(connection.requests.send_request(request.body(Empty::new())?).await?)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let socket = match self.frontend {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        let stream = socket.connect(self.frontend).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn read_name(mut stream: TcpStream) -> io::Result<String> {
    // Closed with RST after the server closed, so that no port stays in TIME_WAIT at either end. With one
    // that does at a server's, the next connect from it is not refused when that server is gone: it is told
    // an old sequence number and sends its SYN again 8 ms later.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    stream.write_all(&[ASK_NAME]).await?;
    let mut name = String::new();
    stream.read_to_string(&mut name).await?;
    if name.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(name.trim_end().to_owned())
}
