//! The kind `tls`: a handshake and nothing else.
//!
//! A server that wants a client certificate may refuse after the handshake as the client sees it
//! (TLS 1.3). That is not waited for: it lives and speaks TLS.

use super::attempt::Attempt;
use super::dial::Seen;
use nllb_core::Outcome;

/// What control planes speak. A gRPC server that is offered nothing complains in its log.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Shakes hands over a fresh connection.
pub(super) async fn ask(attempt: &Attempt<'_>, seen: &mut Seen) -> Result<Outcome, Outcome> {
    let (mut stream, _keys) = attempt.dial_tls(&PROTOCOLS, seen).await?;
    // The goodbye of TLS, so that no server takes it for a cut. How it goes is of no interest.
    let _goodbye = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
    Ok(Outcome::Ready)
}
