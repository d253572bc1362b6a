//! The kind `https`: a GET over TLS.

use super::attempt::Attempt;
use super::dial::Seen;
use super::{get, outcome};
use crate::health_check::Get;
use nllb_core::Outcome;
use tokio::time::timeout_at;

/// Asks over a fresh connection.
pub(super) async fn ask(
    attempt: &Attempt<'_>,
    get: &Get,
    seen: &mut Seen,
) -> Result<Outcome, Outcome> {
    let Get { path, accept } = get;
    let (stream, keys) = attempt.dial_tls(&[b"http/1.1"], seen).await?;
    let host = attempt.rules.host(attempt.target());
    // The handshake was an answer.
    let mut begun = true;
    let asked = get::get(stream, &host, path, keys.token.as_ref(), &mut begun);
    match timeout_at(attempt.deadline.into(), asked).await {
        Err(_elapsed) => Err(outcome::of_timeout(begun)),
        Ok(Ok(status)) => {
            let outcome = outcome::of_status(status, keys.known(), accept.holds(status));
            Ok(keys.judge(outcome, attempt.address))
        }
        Ok(Err(error)) => Err(outcome::of_http(error.as_ref())),
    }
}
