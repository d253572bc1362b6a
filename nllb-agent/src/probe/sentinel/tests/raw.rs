//! HTTP/2 by hand, for servers that do what no library does.

use super::backend::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(in crate::probe::sentinel) const DATA: u8 = 0;
pub(in crate::probe::sentinel) const HEADERS: u8 = 1;
pub(in crate::probe::sentinel) const SETTINGS: u8 = 4;
pub(in crate::probe::sentinel) const PING: u8 = 6;
pub(in crate::probe::sentinel) const GOAWAY: u8 = 7;
pub(in crate::probe::sentinel) const ACK: u8 = 1;

/// One frame as it is on the wire.
pub(in crate::probe::sentinel) fn frame(
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &[u8],
) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}

/// No more streams than `last`, because of `code`.
pub(in crate::probe::sentinel) fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// Exchanges settings and answers the first ping, with which a sentinel is open. Everything the client
/// has to say is read, else closing would reset.
pub(in crate::probe::sentinel) async fn greet(stream: &mut Stream) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.expect("a preface");
    assert!(preface.starts_with(b"PRI * HTTP/2.0"));
    send(stream, &frame(SETTINGS, 0, 0, &[])).await;
    let (mut agreed, mut pinged) = (false, false);
    while !(agreed && pinged) {
        let (kind, flags, payload) = receive(stream).await.expect("a frame");
        match (kind, flags) {
            (SETTINGS, 0) => send(stream, &frame(SETTINGS, ACK, 0, &[])).await,
            (SETTINGS, _) => agreed = true,
            (PING, 0) => {
                send(stream, &frame(PING, ACK, 0, &payload)).await;
                pinged = true;
            }
            _ => {}
        }
    }
}

/// The next ping.
pub(in crate::probe::sentinel) async fn next_ping(stream: &mut Stream) -> [u8; 8] {
    loop {
        if let (PING, 0, payload) = receive(stream).await.expect("a frame") {
            return payload.try_into().expect("eight bytes");
        }
    }
}

/// The next frame; `None` when the client closed.
pub(in crate::probe::sentinel) async fn receive(stream: &mut Stream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], payload))
}

pub(in crate::probe::sentinel) async fn send(stream: &mut Stream, bytes: &[u8]) {
    // The client may have turned away.
    if stream.write_all(bytes).await.is_ok() {
        let _gone = stream.flush().await;
    }
}
