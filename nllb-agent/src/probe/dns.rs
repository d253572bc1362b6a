//! The kind `dns`: one question for the addresses of a name, as a datagram, or over a connection where the
//! backend serves nobody else.
//!
//! A datagram may be lost without anybody being to blame, so the question is sent twice before silence
//! means anything. Whatever does not answer this very question is nobody's answer, and is waited over.

use super::attempt::Attempt;
use super::dial::Seen;
use super::{Port, outcome};
use crate::health_check::{Dns, Rcode};
use domain::base::iana::Class;
use domain::base::message_builder::MessageBuilder;
use domain::base::name::Name;
use domain::base::{Message, Rtype};
use nllb_core::Outcome;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::str::FromStr as _;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

/// More than a server sends who was not told that more is welcome; what is cut off is not looked at.
const LARGEST: usize = 4096;

/// Asks the backend.
pub(super) async fn ask(
    attempt: &Attempt<'_>,
    dns: &Dns,
    seen: &mut Seen,
) -> Result<Outcome, Outcome> {
    let question = question(&dns.query).map_err(|error| outcome::local(&error))?;
    let rcode = if dns.tcp {
        let stream = attempt.dial(attempt.target(), seen).await?;
        let answer = timeout_at(attempt.deadline.into(), over_stream(stream, &question)).await;
        answer.map_err(|_elapsed| Outcome::Hung)?.map_err(|error| outcome::of_stream(&error))?
    } else {
        let socket = open(attempt).map_err(|error| outcome::local(&error))?;
        let now = Instant::now();
        let until = attempt.rules.connect_by(now, attempt.connect_timeout).min(attempt.deadline);
        let again = now + (until - now) / 2;
        over_datagrams(&socket, &question, [again, until]).await?
    };
    Ok(judge(rcode, dns))
}

/// What an answer with this code says of whoever gave it. One that fails or refuses is alive, and clients
/// are better off elsewhere: CoreDNS says SERVFAIL as long as it does not know the cluster's Services.
pub(super) fn judge(rcode: Rcode, dns: &Dns) -> Outcome {
    if dns.accept.contains(&rcode) {
        return Outcome::Ready;
    }
    Outcome::NotServing { reason: format!("DNS answer {rcode}") }
}

/// The message that asks for the IPv4 addresses of a name.
pub(super) fn question(name: &str) -> Result<Message<Vec<u8>>, String> {
    let bad = || format!("{name:?} is not a DNS name");
    let name = Name::<Vec<u8>>::from_str(name).map_err(|_| bad())?;
    let mut builder = MessageBuilder::new_vec();
    // Nobody who does not see the question can answer it.
    builder.header_mut().set_random_id();
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((&name, Rtype::A, Class::IN)).map_err(|_| bad())?;
    Ok(builder.into_message())
}

/// The code of an answer; `None` when it is none to this question. What is behind the question is not
/// looked at, and may be cut off.
pub(super) fn answer(text: &[u8], question: &Message<Vec<u8>>) -> Option<Rcode> {
    let message = Message::from_octets(text).ok()?;
    message.is_answer(question).then(|| Rcode(message.header().rcode().to_int()))
}

/// Asks until the first of the times, and again until the last.
async fn over_datagrams(
    socket: &UdpSocket,
    question: &Message<Vec<u8>>,
    times: [Instant; 2],
) -> Result<Rcode, Outcome> {
    let failed = |error: io::Error| outcome::of_connect(&error);
    let mut buffer = [0; LARGEST];
    for until in times {
        socket.send(question.as_slice()).await.map_err(failed)?;
        let heard = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if let Some(rcode) = answer(&buffer[..length], question) {
                    return Ok::<_, io::Error>(rcode);
                }
            }
        };
        if let Ok(heard) = timeout_at(until.into(), heard).await {
            return heard.map_err(failed);
        }
    }
    Err(Outcome::Unanswered)
}

/// Asks over a connection, where each message has its length before it.
pub(super) async fn over_stream<S>(mut stream: S, question: &Message<Vec<u8>>) -> io::Result<Rcode>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let text = question.as_slice();
    let length = u16::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), text].concat()).await?;
    loop {
        let length = stream.read_u16().await?;
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await?;
        if let Some(rcode) = answer(&message, question) {
            return Ok(rcode);
        }
    }
}

/// A socket that only the backend can answer, and that the kernel programs leave alone.
fn open(attempt: &Attempt<'_>) -> io::Result<UdpSocket> {
    let target = attempt.target();
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let port = if target == attempt.address { Port::Own } else { Port::Other };
    (attempt.exempt)(socket.as_fd(), port)?;
    socket.connect(&SocketAddr::into(target))?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests;
