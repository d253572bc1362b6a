//! One connect, with every option the kernel programs must cope with.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::http;
use super::protocol::{Ask, Connect, Outcome, Stage};
use crate::apiserver::{ASK_ECHO, ASK_NAME};
use crate::netns;

/// A connected socket and what has been read from it but not been used.
pub(super) struct Conn {
    pub(super) wire: Wire,
    pub(super) unread: Vec<u8>,
}

pub(super) enum Wire {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Conn {
    pub(super) fn socket(&self) -> socket2::SockRef<'_> {
        match &self.wire {
            Wire::Plain(socket) => socket2::SockRef::from(socket),
            Wire::Tls(stream) => socket2::SockRef::from(&stream.sock),
        }
    }

    /// Reads up to and including a line feed; an error of kind `UnexpectedEof` at the end.
    pub(super) fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.fill()?;
        }
    }

    /// Reads at least one byte more into `unread`.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let count = self.read(&mut buffer)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

impl Read for Conn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Conn {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Plain(socket) => socket.write(buffer),
            Wire::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(socket) => socket.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

/// Creates a socket, connects it and asks. The socket comes back even if the connect failed.
pub(super) fn connect(spec: &Connect) -> (Outcome, Option<Conn>) {
    match prepare(spec) {
        Ok(socket) => {
            let (outcome, conn) = establish(socket, spec);
            (outcome, Some(conn))
        }
        Err(error) => (failure(Stage::Socket, &error), None),
    }
}

/// Connects an existing socket and asks.
pub(super) fn establish(socket: Socket, spec: &Connect) -> (Outcome, Conn) {
    let started = Instant::now();
    let connected = dial(&socket, spec);
    let connect_us = micros(started.elapsed());
    let mut conn = Conn { wire: Wire::Plain(socket), unread: Vec::new() };
    let mut outcome = match connected {
        Ok(()) => question(&mut conn, &spec.ask, spec.answer_timeout),
        Err(error) => failure(Stage::Connect, &error),
    };
    outcome.connect_us = connect_us;
    outcome.total_us = micros(started.elapsed());
    (outcome, conn)
}

/// Asks on a connection.
pub(super) fn question(conn: &mut Conn, ask: &Ask, timeout: Duration) -> Outcome {
    let mut outcome = Outcome {
        local: address(conn.socket().local_addr()),
        peer: address(conn.socket().peer_addr()),
        ..Outcome::default()
    };
    let asked = conn.socket().set_read_timeout(Some(timeout)).and_then(|()| {
        let raw = match ask {
            Ask::Nothing => return Ok(()),
            Ask::Greeting => None,
            Ask::Name => Some(ASK_NAME),
            Ask::Echo => Some(ASK_ECHO),
            Ask::Http(request) => return http::get(conn, request, &mut outcome),
        };
        if let Some(byte) = raw {
            conn.write_all(&[byte])?;
        }
        outcome.server = Some(conn.read_line()?);
        Ok(())
    });
    match asked {
        Ok(()) => Outcome { ok: true, ..outcome },
        Err(error) => {
            let Outcome { stage, error, timed_out, .. } = failure(Stage::Ask, &error);
            Outcome { stage, error, timed_out, ..outcome }
        }
    }
}

pub(super) fn address(address: io::Result<SockAddr>) -> Option<SocketAddr> {
    address.ok()?.as_socket()
}

/// The errno's name, or the error's text.
pub(super) fn name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{:?}", Errno::from_raw(code)),
        None if error.kind() == ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None => error.to_string(),
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn prepare(spec: &Connect) -> io::Result<Socket> {
    let v6 = spec.mapped || spec.address.is_ipv6();
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let protocol = if spec.mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let create = || Socket::new(domain, Type::STREAM, Some(protocol));
    let socket = match &spec.netns {
        // What a socket belongs to is settled when it is created.
        Some(netns) => netns::run_in(netns, create).map_err(io::Error::other)??,
        None => create()?,
    };
    if v6 {
        socket.set_only_v6(spec.only_v6)?;
    }
    if spec.fast_open {
        setsockopt(&socket, sockopt::TcpFastOpenConnect, &true)?;
    }
    if spec.reset_on_close {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    if spec.user_timeout.is_some() {
        socket.set_tcp_user_timeout(spec.user_timeout)?;
    }
    if let Some(device) = &spec.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(address) = spec.bind {
        socket.bind(&address.into())?;
    }
    Ok(socket)
}

fn dial(socket: &Socket, spec: &Connect) -> io::Result<()> {
    let target = match spec.address {
        SocketAddr::V4(v4) if spec.mapped => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        address @ (SocketAddr::V4(_) | SocketAddr::V6(_)) => address,
    };
    if !spec.nonblocking {
        // For connect, the time limit of sending counts; it ends with EINPROGRESS.
        socket.set_write_timeout(spec.timeout)?;
        return socket.connect(&target.into());
    }
    socket.set_nonblocking(true)?;
    let result = socket.connect(&target.into());
    if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINPROGRESS)) {
        wait_writable(socket, spec.timeout)?;
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
    } else {
        result?;
    }
    socket.set_nonblocking(false)
}

fn wait_writable(socket: &Socket, timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)
    });
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, timeout)? == 0 {
        return Err(io::Error::from_raw_os_error(libc::EINPROGRESS));
    }
    Ok(())
}

fn failure(stage: Stage, error: &io::Error) -> Outcome {
    let gave_up = match stage {
        Stage::Socket => false,
        Stage::Connect => error.raw_os_error() == Some(libc::EINPROGRESS),
        Stage::Ask => error.kind() == ErrorKind::WouldBlock,
    };
    let error = Some(name(error));
    Outcome { stage: Some(stage), error, timed_out: gave_up, ..Outcome::default() }
}
