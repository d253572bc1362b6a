//! The kind `http`: a GET without TLS. Whoever is in between reads along, so no credentials are sent.

use super::attempt::Attempt;
use super::dial::Seen;
use super::{get, outcome};
use crate::health_check::Get;
use nllb_core::Outcome;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;

/// Asks a port of the backend's host.
pub(super) async fn ask(
    attempt: &Attempt<'_>,
    target: SocketAddr,
    get: &Get,
    seen: &mut Seen,
) -> Result<Outcome, Outcome> {
    let stream = attempt.dial(target, seen).await?;
    ask_over(stream, &target.to_string(), get, attempt.deadline).await
}

/// Asks over a connection.
pub(super) async fn ask_over<S>(
    stream: S,
    host: &str,
    get: &Get,
    deadline: Instant,
) -> Result<Outcome, Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Get { path, accept } = get;
    let mut begun = false;
    let asked = get::get(stream, host, path, None, &mut begun);
    match timeout_at(deadline.into(), asked).await {
        Err(_elapsed) => Err(outcome::of_timeout(begun)),
        Ok(Ok(status)) => Ok(outcome::of_status(status, false, accept.holds(status))),
        Ok(Err(error)) => Err(outcome::of_http(error.as_ref())),
    }
}
