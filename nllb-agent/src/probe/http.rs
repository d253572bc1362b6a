//! The kind `http`: a GET without TLS. Whoever is in between reads along, so no credentials are sent.

use super::attempt::Attempt;
use super::dial::Seen;
use super::{get, outcome};
use crate::health_check::Get;
use nllb_core::Outcome;
use std::net::SocketAddr;
use tokio::time::timeout_at;

/// Asks a port of the backend's host.
pub(super) async fn ask(
    attempt: &Attempt<'_>,
    target: SocketAddr,
    get: &Get,
    seen: &mut Seen,
) -> Result<Outcome, Outcome> {
    let Get { path, accept } = get;
    let stream = attempt.dial(target, seen).await?;
    let host = target.to_string();
    let mut begun = false;
    let asked = get::get(stream, &host, path, None, &mut begun);
    match timeout_at(attempt.deadline.into(), asked).await {
        Err(_elapsed) => Err(outcome::of_timeout(begun)),
        Ok(Ok(status)) => Ok(outcome::of_status(status, false, accept.holds(status))),
        Ok(Err(error)) => Err(outcome::of_http(error.as_ref())),
    }
}
