//! A gRPC server in miniature: answers every health check alike, over TLS or without.

use super::server::Authority;
use h2::server::{self, SendResponse};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, Response};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What the server does once it has the whole question.
#[derive(Clone, Copy)]
pub(super) enum Says {
    /// This health.
    Health(u8),
    /// This code of gRPC, without an answer.
    Code(u8),
    /// Nothing.
    Nothing,
}

pub(super) struct HealthServer {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for HealthServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HealthServer {
    /// A server that is asked for `service`.
    pub(super) async fn start(
        authority: Option<&Authority>,
        service: &'static str,
        says: Says,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let acceptor = authority.map(|authority| {
            let mut config = authority.server_config(false);
            config.alpn_protocols = vec![b"h2".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                match &acceptor {
                    Some(acceptor) => {
                        serve(acceptor.accept(stream).await.expect("TLS"), service, says).await;
                    }
                    None => serve(stream, service, says).await,
                }
            }
        });
        Self { address, task }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, service: &str, says: Says) {
    let mut connection = server::handshake(stream).await.expect("HTTP/2");
    while let Some(Ok((request, answer))) = connection.accept().await {
        // The connection must be driven while the question is read.
        tokio::join!(respond(request, answer, service, says), async {
            while let Some(another) = connection.accept().await {
                assert!(another.is_err(), "one question for each connection");
            }
        });
    }
}

async fn respond(
    request: Request<h2::RecvStream>,
    mut answer: SendResponse<Bytes>,
    service: &str,
    says: Says,
) {
    let (head, mut body) = request.into_parts();
    assert_eq!(head.uri.path(), "/grpc.health.v1.Health/Check");
    assert_eq!(head.headers["content-type"], "application/grpc");
    let mut asked = Vec::new();
    while let Some(part) = body.data().await {
        asked.extend_from_slice(&part.expect("a part"));
    }
    assert_eq!(asked.split_at(asked.len() - service.len()).1, service.as_bytes());
    let response = |code: Option<u8>| {
        let response = Response::builder().header("content-type", "application/grpc");
        let response = code
            .iter()
            .fold(response, |response, code| response.header("grpc-status", code.to_string()));
        response.body(()).expect("a response")
    };
    match says {
        Says::Health(status) => {
            let mut stream = answer.send_response(response(None), false).expect("a head");
            let message = [0, 0, 0, 0, 2, 8, status];
            stream.send_data(Bytes::copy_from_slice(&message), false).expect("a body");
            let trailers =
                [("grpc-status".parse().expect("a name"), "0".parse().expect("a value"))];
            stream.send_trailers(HeaderMap::from_iter(trailers)).expect("trailers");
        }
        Says::Code(code) => {
            answer.send_response(response(Some(code)), true).expect("a head");
        }
        Says::Nothing => std::future::pending().await,
    }
}
