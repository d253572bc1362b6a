//! A process that connects, asks and downloads as told, and gives the time of each.
//!
//! Of a connect only `connect()` is timed. A batch is short enough for the accept queue, and before the next
//! one every server has answered on every connection, so that no accept is still under way.

mod kept;
mod packets;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::apiserver::{ASK_BULK, ASK_NAME};
use crate::place::Place;
use crate::process::Process;

/// Connects between two waits for the servers.
pub(super) const BATCH: usize = 16;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read at once of a download.
const CHUNK: usize = 256 * 1024;

#[derive(Deserialize, Serialize)]
struct Order {
    /// Dialled one after the other, again and again.
    targets: Vec<SocketAddr>,
    task: Task,
}

/// What a worker does.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Task {
    /// Connects so often, and times each `connect()`.
    Connect(usize),
    /// Connects so often and asks for the server's name; times each from the start of the connect to the
    /// first byte of the answer.
    FirstByte(usize),
    /// Asks so often on a kept TLS connection, and times each question with its answer.
    Requests {
        requests: usize,
        /// The name that the certificate must carry.
        server_name: String,
        /// The authority to trust, PEM.
        authority: String,
    },
    /// Lets a server send so many bytes, and times it from the question to the last byte.
    Download(u64),
    /// Opens so many connections, and sends packets of them for so long; gives how many, and the time.
    Packets { flows: usize, millis: u64 },
}

/// The worker's process, seen from the measurement.
pub(super) struct Worker {
    // Before the process: the end of its standard input is what ends it.
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    process: Process,
}

impl Worker {
    pub(super) fn start(place: &Place, cpu: Option<usize>) -> Result<Self> {
        let mut args = vec!["bench-worker".into()];
        args.extend(cpu.map(|cpu| format!("--cpu={cpu}").into()));
        let mut process = Process::spawn(place, &args, None)?;
        Ok(Self {
            stdin: process.take_stdin().context("a worker without standard input")?,
            stdout: BufReader::new(process.take_stdout().context("a worker without output")?),
            process,
        })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Connects; gives the nanoseconds of each connect.
    pub(super) fn connect(&mut self, targets: &[SocketAddr], connects: usize) -> Result<Vec<u64>> {
        self.perform(targets, Task::Connect(connects))
    }

    /// Performs a task; gives the nanoseconds of each part of it.
    pub(super) fn perform(&mut self, targets: &[SocketAddr], task: Task) -> Result<Vec<u64>> {
        self.begin(targets, task)?;
        self.end()
    }

    /// Lets it begin with a task.
    pub(super) fn begin(&mut self, targets: &[SocketAddr], task: Task) -> Result<()> {
        let mut line = serde_json::to_vec(&Order { targets: targets.to_vec(), task })?;
        line.push(b'\n');
        self.stdin.write_all(&line).context("a worker has gone")
    }

    /// Waits until it has done what it began; gives the nanoseconds of each part of it.
    pub(super) fn end(&mut self) -> Result<Vec<u64>> {
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
        let Order { targets, task } = serde_json::from_str(&line?).context("not an order")?;
        let mut answer = serde_json::to_vec(&perform(&targets, task)?)?;
        answer.push(b'\n');
        output.write_all(&answer)?;
        output.flush()?;
    }
    Ok(())
}

fn perform(targets: &[SocketAddr], task: Task) -> Result<Vec<u64>> {
    let any = || *fastrand::choice(targets).expect("there is somebody to dial");
    match task {
        Task::Connect(connects) => connect(targets, connects),
        Task::FirstByte(connects) => {
            targets.iter().cycle().take(connects).map(|target| first_byte(*target)).collect()
        }
        Task::Requests { requests, server_name, authority } => {
            kept::ask(any(), requests, server_name, &authority)
        }
        Task::Packets { flows, millis } => {
            packets::send(targets, flows, Duration::from_millis(millis))
        }
        Task::Download(bytes) => Ok(vec![download(any(), bytes)?]),
    }
}

fn connect(targets: &[SocketAddr], connects: usize) -> Result<Vec<u64>> {
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

fn first_byte(target: SocketAddr) -> Result<u64> {
    let began = Instant::now();
    let (socket, _) = dial(target).with_context(|| format!("cannot dial {target}"))?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.write_all(&[ASK_NAME])?;
    let mut first = [0; 1];
    stream.read_exact(&mut first).context("a server does not answer")?;
    let time = began.elapsed();
    stream.read_to_end(&mut Vec::new())?;
    Ok(u64::try_from(time.as_nanos())?)
}

fn download(target: SocketAddr, bytes: u64) -> Result<u64> {
    let (socket, _) = dial(target).with_context(|| format!("cannot dial {target}"))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let began = Instant::now();
    stream.write_all(&[ASK_BULK])?;
    stream.write_all(&bytes.to_be_bytes())?;
    let (mut chunk, mut missing) = (vec![0; CHUNK], bytes);
    while missing > 0 {
        let count = stream.read(&mut chunk).context("a download does not go on")?;
        ensure!(count > 0, "a download ended {missing} bytes early");
        missing = missing.saturating_sub(u64::try_from(count)?);
    }
    Ok(u64::try_from(began.elapsed().as_nanos())?)
}

fn settle(socket: Socket) -> io::Result<()> {
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[ASK_NAME])?;
    let mut name = String::new();
    BufReader::new(stream).read_line(&mut name)?;
    Ok(())
}
