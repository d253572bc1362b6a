//! A stand-in for the load balancer that a distribution runs on a node: it listens on one address, dials the servers
//! in turn, and copies both ways.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use tokio::net::{TcpListener, TcpStream};

use crate::lab::Node;
use crate::process::Process;

/// One that runs as a process of its own, until this is dropped.
pub struct Balancer {
    _process: Process,
}

impl Balancer {
    /// Starts it on a node, and waits until it listens.
    pub fn start(node: &Node, listen: SocketAddr, servers: &[SocketAddr]) -> Result<Self> {
        let mut args = vec!["balancer".into(), listen.to_string().into()];
        args.extend(servers.iter().map(|server| server.to_string().into()));
        let mut process = Process::spawn(&node.place(), &args, None)?;
        let stdout = process.take_stdout().context("it has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(!line.is_empty(), "the balancer did not start");
        Ok(Self { _process: process })
    }
}

/// Balances until the process is killed; says so when it listens.
pub(crate) fn run(listen: SocketAddr, servers: Vec<SocketAddr>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.context("cannot listen")?;
        println!("listens");
        let (servers, turn) = (Arc::<[SocketAddr]>::from(servers), AtomicUsize::new(0));
        loop {
            let (client, _) = listener.accept().await?;
            let servers = Arc::clone(&servers);
            let first = turn.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(client, servers, first));
        }
    })
}

/// Leads a client to the server whose turn it is, or to the next one that can be reached.
async fn serve(mut client: TcpStream, servers: Arc<[SocketAddr]>, first: usize) {
    for server in servers.iter().cycle().skip(first % servers.len()).take(servers.len()) {
        if let Ok(mut server) = TcpStream::connect(server).await {
            // The end of either side is the end of both.
            let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
