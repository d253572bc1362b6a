//! A process that connects in batches as told, and gives the time of each connect.
//!
//! Only `connect()` is timed. A batch is short enough for the accept queue, and before the next one
//! every server has answered on every connection, so that no accept is still under way.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::apiserver::ASK_NAME;
use crate::place::Place;
use crate::process::Process;

/// Connects between two waits for the servers.
pub(super) const BATCH: usize = 16;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize, Serialize)]
struct Order {
    /// Dialled one after the other, again and again.
    targets: Vec<SocketAddr>,
    connects: usize,
}

/// The worker's process, seen from the measurement.
pub(super) struct Worker {
    // Before the process: the end of its standard input is what ends it.
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _process: Process,
}

impl Worker {
    pub(super) fn start(place: &Place, cpu: Option<usize>) -> Result<Self> {
        let mut args = vec!["bench-worker".into()];
        args.extend(cpu.map(|cpu| format!("--cpu={cpu}").into()));
        let mut process = Process::spawn(place, &args, None)?;
        Ok(Self {
            stdin: process.take_stdin().context("a worker without standard input")?,
            stdout: BufReader::new(process.take_stdout().context("a worker without output")?),
            _process: process,
        })
    }

    /// Connects; gives the nanoseconds of each connect.
    pub(super) fn connect(&mut self, targets: &[SocketAddr], connects: usize) -> Result<Vec<u64>> {
        let mut line = serde_json::to_vec(&Order { targets: targets.to_vec(), connects })?;
        line.push(b'\n');
        self.stdin.write_all(&line).context("a worker has gone")?;
        let mut answer = String::new();
        let count = self.stdout.read_line(&mut answer).context("a worker has gone")?;
        ensure!(count > 0, "a worker has gone, see above");
        serde_json::from_str(&answer).with_context(|| format!("a worker said {answer}"))
    }
}

/// The worker itself: serves orders from standard input until it ends.
pub(crate) fn run(cpu: Option<usize>) -> Result<()> {
    if let Some(cpu) = cpu {
        let mut set = CpuSet::new();
        set.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &set).context("cannot set the processor affinity")?;
    }
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let Order { targets, connects } = serde_json::from_str(&line?).context("not an order")?;
        let mut answer = serde_json::to_vec(&perform(&targets, connects)?)?;
        answer.push(b'\n');
        output.write_all(&answer)?;
        output.flush()?;
    }
    Ok(())
}

fn perform(targets: &[SocketAddr], connects: usize) -> Result<Vec<u64>> {
    let mut times = Vec::with_capacity(connects);
    let mut targets = targets.iter().cycle();
    while times.len() < connects {
        let mut open = Vec::with_capacity(BATCH);
        for target in targets.by_ref().take(BATCH.min(connects - times.len())) {
            let (socket, time) = dial(*target).with_context(|| format!("cannot dial {target}"))?;
            times.push(u64::try_from(time.as_nanos())?);
            open.push(socket);
        }
        for socket in open {
            settle(socket).context("a server does not answer")?;
        }
    }
    Ok(times)
}

fn dial(target: SocketAddr) -> io::Result<(Socket, Duration)> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    // Closed with RST, so that no port stays in TIME_WAIT.
    socket.set_linger(Some(Duration::ZERO))?;
    let address = target.into();
    let began = Instant::now();
    socket.connect(&address)?;
    Ok((socket, began.elapsed()))
}

fn settle(socket: Socket) -> io::Result<()> {
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[ASK_NAME])?;
    let mut name = String::new();
    BufReader::new(stream).read_line(&mut name)?;
    Ok(())
}
