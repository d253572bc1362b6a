//! A backend that speaks HTTP/2, or something else, as a test scripts it.

use crate::probe::tests::server::Authority;
use h2::server::SendResponse;
use hyper::body::Bytes;
use hyper::{Request, Response};
use rustls::ServerConfig;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(super) type Stream = TlsStream<TcpStream>;

pub(super) struct Backend {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    /// Does with each connection what `script` says, once TLS is up with one of the protocols.
    pub(super) async fn start<F, S>(authority: &Authority, protocols: &[&str], script: F) -> Self
    where
        F: Fn(Stream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::start_with(authority.server_config(false), protocols, script).await
    }

    /// The same with a TLS configuration of its own.
    pub(super) async fn start_with<F, S>(
        mut config: ServerConfig,
        protocols: &[&str],
        script: F,
    ) -> Self
    where
        F: Fn(Stream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let mut scripts = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                stream.set_nodelay(true).expect("set");
                // A client that turns away is part of the tests.
                if let Ok(stream) = acceptor.accept(stream).await {
                    scripts.spawn(script(stream));
                }
            }
        });
        Self { address, task }
    }

    /// A backend that answers every request of every connection with what `answer` makes of it.
    pub(super) async fn answering<A>(authority: &Authority, answer: A) -> Self
    where
        A: Fn(Request<()>) -> Option<(u16, Bytes)> + Clone + Send + 'static,
    {
        Self::start(authority, &["h2"], move |stream| serve(stream, answer.clone())).await
    }
}

/// Answers requests until the client is gone; those without an answer stay open.
pub(super) async fn serve<A>(stream: Stream, answer: A)
where
    A: Fn(Request<()>) -> Option<(u16, Bytes)>,
{
    let mut open = Vec::new();
    let mut connection = h2::server::handshake(stream).await.expect("a preface");
    while let Some(Ok((request, respond))) = connection.accept().await {
        match answer(request.map(|_body| ())) {
            Some((status, body)) => reply(respond, status, body),
            None => open.push(respond),
        }
    }
}

/// One whole answer.
pub(super) fn reply(mut respond: SendResponse<Bytes>, status: u16, body: Bytes) {
    let head = Response::builder().status(status).body(()).expect("a status");
    // The client may have turned away.
    if let Ok(mut stream) = respond.send_response(head, false) {
        let _gone = stream.send_data(body, true);
    }
}
