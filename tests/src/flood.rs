//! Somebody who asks the agent's own doors for documents, as fast as it answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{io, thread};

use anyhow::Result;

/// While one waits, the other asks.
const THREADS: usize = 2;

/// Asks until standard input ends. Prints how often it asked and how often somebody listened.
pub fn run(at: &str, path: &str) -> Result<()> {
    let (stop, asked, heard) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    heard.fetch_add(u64::from(ask(at, path).is_ok()), Ordering::Relaxed);
                }
            });
        }
        let ended = io::copy(&mut io::stdin(), &mut io::sink());
        stop.store(true, Ordering::Relaxed);
        ended
    })?;
    println!("{} {}", asked.into_inner(), heard.into_inner());
    Ok(())
}

/// One connection. It is heard when somebody accepts; what is answered does not matter, and who does not answer is
/// left.
fn ask(at: &str, path: &str) -> io::Result<()> {
    if at.starts_with('/') {
        exchange(UnixStream::connect(at)?, path);
    } else {
        exchange(TcpStream::connect(at)?, path);
    }
    Ok(())
}

fn exchange(mut stream: impl Read + Write, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: nllb\r\nConnection: close\r\n\r\n");
    // Who is sent away has nothing to do but to come again.
    let _sent_away =
        stream.write_all(request.as_bytes()).and_then(|()| io::copy(&mut stream, &mut io::sink()));
}
