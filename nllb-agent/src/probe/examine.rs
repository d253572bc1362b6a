//! The steps of a probe one by one, each with its own time: for a person who asks where it fails.
//!
//! A probe wants one word about a backend. Here every step that can be made is made and told, the
//! certificate is kept however it ends, and a request larger than a packet follows one that is not.

use super::attempt::Attempt;
use super::credentials::Keys;
use super::dial::{self, Seen};
use super::get::AGENT;
use super::tcp_info::TcpInfo;
use super::{Port, Prober, outcome, unix_time};
use crate::doctor::backends::{Answer, Examination, Path, Step};
use crate::health_check::{Get, Kind};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, DATE, HOST, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use nllb_core::{KubeVersion, Outcome};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::client::TlsStream;

/// Limit of a step: a second SYN, and a slow network.
const STEP: Duration = Duration::from_secs(3);
/// Limit of all steps together: a person waits for it.
const WHOLE: Duration = Duration::from_secs(7);
/// More than one packet of any Ethernet, and within what servers take as a header.
const LARGE: usize = 10 << 10;
const LARGEST_BODY: usize = 64 << 10;

type AnyError = Box<dyn Error + Send + Sync>;

/// An answer read whole.
struct Whole {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Prober {
    /// Examines the backend at `address` step by step. `exempt` as in [`Prober::probe`].
    pub async fn examine<F>(&self, address: SocketAddr, exempt: F) -> Examination
    where
        F: Fn(BorrowedFd<'_>, Port) -> io::Result<()>,
    {
        let (rules, exempt) = (self.rules.as_ref(), &exempt);
        let deadline = Instant::now() + WHOLE;
        let attempt = Attempt { rules, address, connect_timeout: None, deadline, exempt };
        let mut seen = Seen::default();
        let mut found = Examination {
            tcp: Err(Outcome::Silent),
            tls: None,
            answer: None,
            large: None,
            certificate: None,
            version: None,
            path: None,
        };
        let dialled = Instant::now();
        if matches!(&rules.check.kind, Kind::Dns(dns) if !dns.tcp) {
            let outcome = Box::pin(attempt.outcome(&mut seen)).await;
            let took = dialled.elapsed();
            // There is no connect: whoever answers is there.
            found.tcp = if outcome.is_answer() { Ok(took) } else { Err(outcome.clone()) };
            found.answer = Some(Ok(Answer { outcome, took, ahead: None }));
            return found;
        }
        let target = attempt.target();
        let of_port = if target == address { Port::Own } else { Port::Other };
        let stream =
            dial::tcp(target, dialled + STEP, |socket| exempt(socket, of_port), &mut seen).await;
        let stream = match stream {
            Ok(stream) => stream,
            Err(outcome) => {
                found.tcp = Err(outcome);
                return found;
            }
        };
        found.tcp = Ok(dialled.elapsed());
        // TCP is asked at the end, when TLS and HTTP own the stream.
        let socket = stream.as_fd().try_clone_to_owned().ok();
        match &rules.check.kind {
            Kind::Https(get) => ask(&attempt, stream, get, &mut seen, &mut found).await,
            Kind::Tls => drop(shake(&attempt, stream, &mut seen, &mut found).await),
            Kind::Tcp => {}
            Kind::Http(_) | Kind::Grpc { .. } | Kind::Dns(_) => {
                let asked = Instant::now();
                let outcome = Box::pin(attempt.outcome(&mut seen)).await;
                found.answer = Some(Ok(Answer { outcome, took: asked.elapsed(), ahead: None }));
            }
        }
        found.certificate = seen.certificate();
        found.path = socket.as_ref().and_then(path);
        found
    }
}

/// Agrees on TLS.
async fn shake(
    attempt: &Attempt<'_>,
    stream: TcpStream,
    seen: &mut Seen,
    found: &mut Examination,
) -> Option<(TlsStream<TcpStream>, Arc<Keys>)> {
    let began = Instant::now();
    let credentials = &attempt.rules.check.credentials;
    let shaken = async {
        let keys = attempt.rules.keyring.current().map_err(|error| outcome::local(&error))?;
        let name = dial::server_name(credentials.server_name.as_deref(), attempt.address)?;
        let until = attempt.deadline.min(began + STEP);
        let stream = dial::tls(stream, &keys.tls, &[b"http/1.1"], name, until, seen).await?;
        Ok((stream, keys))
    };
    match shaken.await {
        Ok(done) => {
            found.tls = Some(Ok(began.elapsed()));
            Some(done)
        }
        Err(outcome) => {
            found.tls = Some(Err(outcome));
            None
        }
    }
}

/// Agrees on TLS and asks over it: the question of the probe, then for the version, then at length.
async fn ask(
    attempt: &Attempt<'_>,
    stream: TcpStream,
    get: &Get,
    seen: &mut Seen,
    found: &mut Examination,
) {
    let Some((stream, keys)) = shake(attempt, stream, seen, found).await else { return };
    let opened = timeout(STEP, http1::handshake(TokioIo::new(stream))).await;
    let Ok(Ok((mut sender, connection))) = opened else {
        found.answer = Some(Err(Outcome::Closed));
        return;
    };
    let host = attempt.rules.host(attempt.target());
    let asked = questions(&mut sender, &host, get, &keys, found);
    let asked = timeout_at(attempt.deadline.into(), asked);
    // The connection is driven as long as there are questions, and closed when none is left.
    tokio::select! {
        _in_time = asked => {}
        _ended = connection => {
            found.answer.get_or_insert(Err(Outcome::Closed));
        }
    }
}

async fn questions(
    sender: &mut SendRequest<Empty<Bytes>>,
    host: &str,
    get: &Get,
    keys: &Keys,
    found: &mut Examination,
) {
    let asked = Instant::now();
    let whole = match request(sender, host, &get.path, keys.token.as_ref(), None).await {
        Ok(whole) => whole,
        Err(outcome) => {
            found.answer = Some(Err(outcome));
            return;
        }
    };
    let accepted = get.accept.holds(whole.status);
    let outcome = outcome::of_status(whole.status, keys.known(), accepted);
    let took = asked.elapsed();
    found.answer = Some(Ok(Answer { outcome, took, ahead: ahead(&whole.headers) }));
    if let Ok(whole) = request(sender, host, "/version", keys.token.as_ref(), None).await {
        found.version = version(&whole);
    }
    let padding = HeaderValue::try_from("x".repeat(LARGE)).ok();
    let asked = Instant::now();
    let large = request(sender, host, &get.path, keys.token.as_ref(), padding).await;
    let step: Step = large.map(|_whole| asked.elapsed());
    found.large = Some(step);
}

/// Asks and reads the whole answer, in the time of a step.
async fn request(
    sender: &mut SendRequest<Empty<Bytes>>,
    host: &str,
    path: &str,
    token: Option<&HeaderValue>,
    padding: Option<HeaderValue>,
) -> Result<Whole, Outcome> {
    let exchange = async {
        sender.ready().await?;
        let mut request = Request::builder().uri(path).header(HOST, host).header(USER_AGENT, AGENT);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(padding) = padding {
            request = request.header("x-nllb-padding", padding);
        }
        let answer = sender.send_request(request.body(Empty::new())?).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST_BODY).collect().await?.to_bytes();
        Ok::<_, AnyError>(Whole { status: head.status.as_u16(), headers: head.headers, body })
    };
    match timeout(STEP, exchange).await {
        Err(_elapsed) => Err(Outcome::Slow),
        Ok(Err(error)) => Err(outcome::of_http(error.as_ref())),
        Ok(Ok(whole)) => Ok(whole),
    }
}

fn version(whole: &Whole) -> Option<KubeVersion> {
    let document: serde_json::Value = serde_json::from_slice(&whole.body).ok()?;
    document.get("gitVersion")?.as_str()?.parse().ok()
}

/// How many seconds the clock of whoever answered is ahead of ours.
fn ahead(headers: &HeaderMap) -> Option<i64> {
    let theirs = http_date(headers.get(DATE)?.to_str().ok()?)?;
    Some(theirs - unix_time())
}

/// Unix time of a date as every server of today writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_weekday, rest) = text.split_once(", ")?;
    let mut words = rest.split([' ', ':']);
    let number = |word: Option<&str>| word?.parse::<i64>().ok();
    let day = number(words.next())?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|known| *known == month)?;
    let month = i64::try_from(month).ok()?;
    let year = number(words.next())?;
    let (hour, minute) = (number(words.next())?, number(words.next())?);
    let second = number(words.next())?;
    // The year begins in March, so that the leap day is its last (`days_from_civil` of H. Hinnant).
    let year = year - i64::from(month < 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 10) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// What TCP saw of the way.
fn path(socket: &OwnedFd) -> Option<Path> {
    let info = TcpInfo::of(socket)?;
    Some(Path {
        mtu: info.path_mtu(),
        retransmitted: info.retransmitted(),
        unacknowledged: info.unacknowledged(),
        out_of_order: info.out_of_order(),
        round_trip_us: info.least_round_trip_us(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_a_unix_time() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        for text in ["", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nox 1994 08:49:37 GMT"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
