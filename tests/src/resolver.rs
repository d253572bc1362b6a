//! A resolver that works as musl's does: one socket that is never connected, the question to all name servers at
//! once, the first answer from one of them, and the question again after a while.
//!
//! A process of its own (`nllb-lab resolve`), because a socket belongs to the namespace and cgroup of the
//! process that made it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// As musl has them when nothing is configured, but for `timeout:1`.
const AGAIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);
/// What a message has before its question.
const HEAD: usize = 12;

/// Asks the name servers for the IPv4 address of a name, and prints that of the first record.
pub(crate) fn run(name: &str, servers: &[SocketAddr]) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let question = question(name);
    let start = Instant::now();
    let mut buffer = [0; 512];
    while start.elapsed() < PATIENCE {
        for server in servers {
            socket.send_to(&question, server)?;
        }
        let until = Instant::now() + AGAIN;
        while let Some(left) =
            until.checked_duration_since(Instant::now()).filter(|it| !it.is_zero())
        {
            socket.set_read_timeout(Some(left))?;
            let (length, from) = match socket.recv_from(&mut buffer) {
                Ok(heard) => heard,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break;
                }
                // A port that is closed is heard of by the next call.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error.into()),
            };
            // musl takes nothing from whom it has not asked.
            let answer = &buffer[..length];
            if servers.contains(&from) && answer.starts_with(&question[..2]) {
                if let Some(address) = address(answer, question.len()) {
                    println!("{address}");
                    return Ok(());
                }
            }
        }
    }
    bail!("nobody answers")
}

/// The message that asks for a name.
fn question(name: &str) -> Vec<u8> {
    let [high, low] = u16::try_from(std::process::id() & 0xffff).unwrap_or(1).to_be_bytes();
    let mut message = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The address in the first record of an answer, whose name is that of the question.
fn address(answer: &[u8], question: usize) -> Option<Ipv4Addr> {
    let records = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    // A pointer to the name, type, class, life, and length.
    let data = answer.get(question.max(HEAD) + 12..)?.first_chunk::<4>()?;
    (records > 0).then(|| Ipv4Addr::from(*data))
}
