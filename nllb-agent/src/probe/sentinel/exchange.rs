//! One GET over the connection of a sentinel.

use super::link::Link;
use crate::probe::get::{AGENT, LARGEST_BODY};
use h2::client::SendRequest;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use nllb_core::Outcome;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout_at;

/// API servers would choose it by themselves, but not other answers to browsers and proxies.
const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json");

/// A request that can be made.
pub(super) struct Exchange {
    requests: SendRequest<Bytes>,
    link: Arc<Link>,
}

impl Exchange {
    pub(super) const fn new(requests: SendRequest<Bytes>, link: Arc<Link>) -> Self {
        Self { requests, link }
    }

    /// The status of a whole answer, or what came instead.
    pub(super) async fn status(
        self,
        target: Uri,
        token: Option<&HeaderValue>,
        until: Instant,
    ) -> Result<u16, Outcome> {
        self.get(target, token, until, |_| ()).await
    }

    /// The body of a successful answer.
    pub(super) async fn body(
        self,
        target: Uri,
        token: Option<&HeaderValue>,
        until: Instant,
    ) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        let status = self.get(target, token, until, |part| body.extend_from_slice(part)).await;
        (status == Ok(200)).then_some(body)
    }

    async fn get(
        self,
        target: Uri,
        token: Option<&HeaderValue>,
        until: Instant,
        keep: impl FnMut(&[u8]),
    ) -> Result<u16, Outcome> {
        if let Some(over) = self.link.over() {
            return Err(over);
        }
        let mut request = Request::new(());
        *request.uri_mut() = target;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(ACCEPT, ACCEPTED);
        headers.extend(token.map(|token| (AUTHORIZATION, token.clone())));
        match timeout_at(until.into(), run(self.requests, request, keep)).await {
            Err(_elapsed) => Err(Outcome::Slow),
            Ok(Ok(status)) => Ok(status),
            Ok(Err(Cut)) => Err(self.link.cut()),
        }
    }
}

/// The answer was cut short or too long.
struct Cut;

impl From<h2::Error> for Cut {
    fn from(_error: h2::Error) -> Self {
        Self
    }
}

async fn run(
    requests: SendRequest<Bytes>,
    request: Request<()>,
    mut keep: impl FnMut(&[u8]),
) -> Result<u16, Cut> {
    let (answer, _no_body) = requests.ready().await?.send_request(request, true)?;
    let (head, mut body) = answer.await?.into_parts();
    let mut length = 0;
    while let Some(part) = body.data().await {
        let part = part?;
        length += part.len();
        if length > LARGEST_BODY {
            return Err(Cut);
        }
        keep(&part);
        body.flow_control().release_capacity(part.len())?;
    }
    Ok(head.status.as_u16())
}
