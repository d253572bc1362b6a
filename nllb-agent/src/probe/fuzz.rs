//! For fuzz targets: what a backend sends, read as probes and sentinels read it, over any stream.

use super::dial::{self, Seen};
use super::verify::Recorder;
use super::{Prober, certificate, dns, grpc, http, outcome};
use crate::health_check::{Accept, Dns, Get};
use domain::base::Message;
use hyper::Uri;
use nllb_core::{CertificateFacts, Outcome};
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;

pub use super::sentinel::fuzz::{Bare, answer};

/// The backend in question.
const HOST: &str = "10.0.0.11:6443";
/// When certificates are looked at, in seconds of unix time.
const NOW: Duration = Duration::from_secs(1_800_000_000);

/// A probe of kind `http`, from its connection on.
pub async fn http<S>(stream: S, deadline: Instant) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let get = Get { path: "/readyz".to_owned(), accept: Accept::default() };
    http::ask_over(stream, HOST, &get, deadline).await.unwrap_or_else(|failure| failure)
}

/// A probe of kind `grpc`, from its connection on.
pub async fn grpc<S>(stream: S, deadline: Instant) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = grpc::request(Uri::from_static("http://10.0.0.11:6443/"), None);
    let answer = grpc::call_by(deadline, stream, request, "etcd", false).await;
    answer.map_or_else(|failure| failure, |answer| answer.outcome(false))
}

/// The question of a probe of kind `dns`, with an id that is known beforehand.
fn question(id: u16) -> Message<Vec<u8>> {
    let mut question = dns::question(&Dns::default().query).expect("a name");
    question.header_mut().set_id(id);
    question
}

/// A datagram that comes after that question; `None` when it is no answer to it.
#[must_use]
pub fn dns_datagram(id: u16, text: &[u8]) -> Option<Outcome> {
    Some(dns::judge(dns::answer(text, &question(id))?, &Dns::default()))
}

/// The same over a connection.
pub async fn dns_stream<S>(id: u16, stream: S, deadline: Instant) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let question = question(id);
    let answer = timeout_at(deadline.into(), dns::over_stream(stream, &question)).await;
    match answer {
        Ok(Ok(rcode)) => dns::judge(rcode, &Dns::default()),
        Ok(Err(error)) => outcome::of_stream(&error),
        Err(_elapsed) => Outcome::Hung,
    }
}

/// A TLS handshake, from its connection on.
pub async fn tls<S>(prober: &Prober, stream: S, deadline: Instant) -> Result<(), Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let keys = prober.rules.keyring.current().map_err(|error| outcome::local(&error))?;
    let (name, mut seen) = (ServerName::from(Ipv4Addr::LOCALHOST), Seen::default());
    dial::tls(stream, &keys.tls, &[b"h2"], name, deadline, &mut seen).await.map(drop)
}

/// The certificates of a handshake, the backend's own first: the verdict, and what was read of them.
///
/// # Errors
/// When they are refused.
pub fn certificates(
    prober: &Prober,
    shown: &[&[u8]],
) -> (Result<(), Outcome>, Option<CertificateFacts>) {
    let keys = match prober.rules.keyring.current() {
        Ok(keys) => keys,
        Err(error) => return (Err(outcome::local(&error)), None),
    };
    let shown: Vec<_> = shown.iter().map(|der| CertificateDer::from(*der)).collect();
    let Some((own, others)) = shown.split_first() else { return (Ok(()), None) };
    let recorder = Recorder::new(Arc::clone(&keys.tls.verifier));
    let name = ServerName::from(Ipv4Addr::LOCALHOST);
    let now = UnixTime::since_unix_epoch(NOW);
    let verdict = recorder.verify_server_cert(own, others, &name, &[], now).map(drop);
    let verdict = verdict
        .map_err(|error| outcome::of_stream(&io::Error::new(io::ErrorKind::InvalidData, error)));
    (verdict, certificate::facts(&recorder.shown(), &keys.tls.anchors))
}
