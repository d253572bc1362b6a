//! A process that holds its socket inside the kernel: it sends from memory that nobody fills, as from a file
//! of a dead file server.

use std::io::{Read as _, Write as _, stdin};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};

use crate::sys;

/// Connects, says `holds` when the kernel waits for the memory, and lets go when standard input ends.
/// Says `cannot` where the kernel does not let memory wait.
pub(crate) fn run(address: SocketAddr) -> Result<()> {
    let Some((page, mut filler)) = sys::unfilled().context("cannot get memory that waits")? else {
        println!("cannot");
        return Ok(());
    };
    let mut stream = TcpStream::connect(address)?;
    thread::scope(|scope| {
        scope.spawn(move || stream.write(page));
        // One message says that somebody waits.
        filler.read_exact(&mut [0; 32])?;
        println!("holds");
        std::io::copy(&mut stdin(), &mut std::io::sink())?;
        drop(filler);
        Ok(())
    })
}
