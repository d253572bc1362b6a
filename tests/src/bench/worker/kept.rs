//! Requests on a kept TLS connection: HTTP/1.1, since only the way there and back shall count.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::PATIENCE;
use crate::client::http::config_trusting;

/// Requests before any is timed.
const WARM_UP: usize = 8;
/// The answer to it is short, the same each time, and needs no credentials.
const PATH: &str = "/livez";
/// With it the answer ends.
const BODY: &[u8] = b"\r\n\r\nok";

/// Opens a connection and asks so often on it; gives the nanoseconds of each.
pub(super) fn ask(
    target: SocketAddr,
    requests: usize,
    server_name: String,
    authority: &str,
) -> Result<Vec<u64>> {
    let question = format!("GET {PATH} HTTP/1.1\r\nhost: {server_name}\r\n\r\n");
    let socket = TcpStream::connect(target).with_context(|| format!("cannot dial {target}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let session = ClientConnection::new(
        Arc::new(config_trusting(authority)?),
        ServerName::try_from(server_name)?,
    )?;
    let mut stream = StreamOwned::new(session, socket);
    let mut times = Vec::with_capacity(requests);
    for number in 0..WARM_UP + requests {
        let began = Instant::now();
        stream.write_all(question.as_bytes())?;
        read_answer(&mut stream)?;
        if number >= WARM_UP {
            times.push(u64::try_from(began.elapsed().as_nanos())?);
        }
    }
    Ok(times)
}

fn read_answer(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Result<()> {
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !answer.ends_with(BODY) {
        let count = stream.read(&mut part).context("a server does not answer")?;
        ensure!(count > 0, "a server has closed a connection that is kept");
        answer.extend_from_slice(&part[..count]);
    }
    Ok(())
}
