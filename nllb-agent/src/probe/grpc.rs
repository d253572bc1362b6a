//! The kind `grpc`: `grpc.health.v1.Health/Check`, one unary call over HTTP/2.
//!
//! The two messages have one field each, so they are written and read here (`grpc/message.rs`), without a
//! compiler for protocol buffers and a gRPC library.

mod message;

use super::attempt::Attempt;
use super::dial::Seen;
use super::get::AGENT;
use super::outcome;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use hyper::{Method, Request, Uri};
use nllb_core::Outcome;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;

const METHOD: &str = "/grpc.health.v1.Health/Check";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
/// An answer has seven octets.
const LARGEST_ANSWER: usize = 4 << 10;
/// The smallest frame that HTTP/2 lets a server send anyway.
const WINDOW: u32 = 16 << 10;
const LARGEST_HEADERS: u32 = 16 << 10;
/// gRPC's code for credentials that are missing or wrong.
const UNAUTHENTICATED: usize = 16;
/// The codes of gRPC by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Asks over a fresh connection.
pub(super) async fn ask(
    attempt: &Attempt<'_>,
    service: &str,
    tls: bool,
    seen: &mut Seen,
) -> Result<Outcome, Outcome> {
    let scheme = if tls { "https" } else { "http" };
    let host = attempt.rules.host(attempt.target());
    let target = Uri::builder().scheme(scheme).authority(host).path_and_query(METHOD).build();
    let target = target.map_err(|error| outcome::local(&error))?;
    let deadline = attempt.deadline;
    if !tls {
        let stream = attempt.dial(attempt.target(), seen).await?;
        let called = call_by(deadline, stream, request(target, None), service, false).await;
        return called.map(|answer| answer.outcome(false));
    }
    let (stream, keys) = attempt.dial_tls(&[b"h2"], seen).await?;
    let request = request(target, keys.token.as_ref());
    let answer = call_by(deadline, stream, request, service, true).await?;
    Ok(keys.judge(answer.outcome(keys.known()), attempt.address))
}

pub(super) fn request(target: Uri, token: Option<&HeaderValue>) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(TE, TRAILERS);
    headers.insert(USER_AGENT, AGENT);
    headers.extend(token.map(|token| (AUTHORIZATION, token.clone())));
    request
}

/// The parts of an answer that matter.
pub(super) struct Answer {
    status: u16,
    /// The code of gRPC; `None` when it was not said.
    code: Option<usize>,
    body: Vec<u8>,
}

/// Calls over a connection by `deadline`; `begun` when it has answered something already.
pub(super) async fn call_by<S>(
    deadline: Instant,
    stream: S,
    request: Request<()>,
    service: &str,
    mut begun: bool,
) -> Result<Answer, Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout_at(deadline.into(), call(stream, request, service, &mut begun)).await {
        Err(_elapsed) => Err(outcome::of_timeout(begun)),
        Ok(answer) => answer.map_err(|error| outcome::of_h2(&error)),
    }
}

/// Calls; `begun` tells afterwards whether an answer had begun, when time ran out.
async fn call<S>(
    stream: S,
    request: Request<()>,
    service: &str,
    begun: &mut bool,
) -> Result<Answer, h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (requests, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(WINDOW)
        .max_header_list_size(LARGEST_HEADERS)
        .handshake(stream)
        .await?;
    // The connection ends when nobody can send requests any more, after saying goodbye; how that goes
    // is of no interest once the answer is here.
    let exchange = exchange(requests, request, message::request(service), begun);
    let (answer, _goodbye) = tokio::join!(exchange, connection);
    answer
}

async fn exchange(
    requests: SendRequest<Bytes>,
    request: Request<()>,
    message: Bytes,
    begun: &mut bool,
) -> Result<Answer, h2::Error> {
    let (answer, mut sending) = requests.ready().await?.send_request(request, false)?;
    sending.send_data(message, true)?;
    let (head, mut stream) = answer.await?.into_parts();
    *begun = true;
    let body = read(&mut stream).await?;
    let trailers = stream.trailers().await?;
    let code = trailers.as_ref().and_then(code).or_else(|| code(&head.headers));
    Ok(Answer { status: head.status.as_u16(), code, body })
}

async fn read(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(part) = stream.data().await {
        let part = part?;
        if body.len() + part.len() > LARGEST_ANSWER {
            return Err(Reason::ENHANCE_YOUR_CALM.into());
        }
        body.extend_from_slice(&part);
        stream.flow_control().release_capacity(part.len())?;
    }
    Ok(body)
}

fn code(headers: &HeaderMap) -> Option<usize> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

impl Answer {
    pub(super) fn outcome(&self, known: bool) -> Outcome {
        let Self { status, code, body } = self;
        let not_serving = |reason: String| Outcome::NotServing { reason };
        match (*status, *code) {
            (200, Some(0)) => match message::status(body) {
                Some(message::SERVING) => Outcome::Ready,
                Some(status) => not_serving(format!("gRPC health {}", message::name(status))),
                None => not_serving("a gRPC answer that says nothing of health".to_owned()),
            },
            (200, Some(UNAUTHENTICATED)) => outcome::of_status(401, known, false),
            (200, Some(code)) => {
                let name = CODES.get(code).copied().unwrap_or("of no known name");
                not_serving(format!("gRPC status {code} {name}"))
            }
            (200, None) => Outcome::Closed,
            (status, _) => outcome::of_status(status, known, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, code: Option<usize>, body: &[u8]) -> Outcome {
        Answer { status, code, body: body.to_vec() }.outcome(false)
    }

    #[test]
    fn only_serving_is_ready() {
        assert_eq!(outcome(200, Some(0), &[0, 0, 0, 0, 2, 8, 1]), Outcome::Ready);
        for (body, said) in [
            (&[0, 0, 0, 0, 2, 8, 2][..], "not ready, gRPC health NOT_SERVING"),
            (&[0, 0, 0, 0, 2, 8, 3], "not ready, gRPC health SERVICE_UNKNOWN"),
            // A field with its default is left out.
            (&[0, 0, 0, 0, 0], "not ready, gRPC health UNKNOWN"),
            (&[0, 0, 0, 0, 2, 8, 9], "not ready, gRPC health of no known name"),
            (&[], "not ready, a gRPC answer that says nothing of health"),
        ] {
            assert_eq!(outcome(200, Some(0), body).to_string(), said);
        }
    }

    #[test]
    fn an_error_of_grpc_or_http_is_not_ready_and_missing_credentials_are_known() {
        let said = "not ready, gRPC status 12 UNIMPLEMENTED";
        assert_eq!(outcome(200, Some(12), &[]).to_string(), said);
        let said = "not ready, gRPC status 99 of no known name";
        assert_eq!(outcome(200, Some(99), &[]).to_string(), said);
        assert_eq!(outcome(200, Some(16), &[]), Outcome::Unauthorized);
        assert_eq!(outcome(401, None, &[]), Outcome::Unauthorized);
        assert_eq!(outcome(204, None, &[]), Outcome::NotReady { status: 204 });
        assert_eq!(outcome(200, None, &[]), Outcome::Closed);
    }
}
