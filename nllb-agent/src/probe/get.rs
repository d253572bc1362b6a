//! One GET over an established stream.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::error::Error;
use tokio::io::{AsyncRead, AsyncWrite};

/// A failing /readyz lists its checks in 2 KiB; more than this is no answer of an API server.
pub(super) const LARGEST_BODY: usize = 64 << 10;
/// How we call ourselves.
pub(super) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("nllb/", env!("CARGO_PKG_VERSION")));
/// The least buffer that hyper takes; the answer is small.
const READ_BUFFER: usize = 8 << 10;

/// Asks for `path` and reads the whole answer, so that closing sends no reset. `begun` tells afterwards
/// whether an answer had begun, when time ran out.
pub(super) async fn get<S>(
    stream: S,
    host: &str,
    path: &str,
    token: Option<&HeaderValue>,
    begun: &mut bool,
) -> Result<u16, Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(READ_BUFFER).handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let answer = sender.send_request(request).await?;
        *begun = true;
        let status = answer.status().as_u16();
        Limited::new(answer.into_body(), LARGEST_BODY).collect().await?;
        Ok::<u16, Box<dyn Error + Send + Sync>>(status)
    };
    // The connection ends when the sender is gone, after saying goodbye; how that goes is of no
    // interest once the answer is here.
    let (status, _goodbye) = tokio::join!(exchange, connection);
    status
}
