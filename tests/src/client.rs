//! Connects from inside a node.
//!
//! A socket's cgroup is that of the process that creates it, so every connect under test is made by
//! a client process in the node's cgroup and in a network namespace of choice. This side sends it
//! one JSON line per request and reads one per answer.

pub mod avoid;
pub mod protocol;

mod attribution;
mod connect;
mod datagram;
mod fixture;
pub(crate) mod http;
mod serve;
mod storm;
mod traffic;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::de::DeserializeOwned;

use crate::lab::VIP_V4;
use crate::place::Place;
use crate::process::Process;
use crate::wait::wait_until;
use protocol::{
    Answer, Ask, Attribution, AttributionReport, Connect, DatagramOp, DatagramSocket, Inspection,
    Op, Outcome, Storm, StormReport, Traffic, TrafficReport, Udp, UdpOutcome,
};

pub use serve::run;

/// A client process. It does one thing at a time, storms aside; have several for more.
pub struct Client {
    inner: Mutex<Inner>,
    id: u32,
}

struct Inner {
    // Before the process: the end of its standard input is what ends it.
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    process: Process,
}

impl Client {
    /// Starts a client in its place.
    pub fn start(place: &Place) -> Result<Self> {
        let mut process = Process::spawn(place, &["client".into()], None)?;
        let stdin = process.take_stdin().context("a client without standard input")?;
        let stdout = process.take_stdout().context("a client without standard output")?;
        let id = process.id();
        let inner = Inner { stdin, stdout: BufReader::new(stdout), process };
        Ok(Self { inner: Mutex::new(inner), id })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Connects, and asks what it is told to.
    pub fn connect(&self, connect: &Connect) -> Result<Outcome> {
        self.call(&Op::Connect(connect.clone()))
    }

    /// Connects an existing socket anew, dissolving its association first if `unspec`.
    pub fn reconnect(&self, handle: u64, unspec: bool, connect: &Connect) -> Result<Outcome> {
        self.call(&Op::Reconnect { handle, unspec, connect: connect.clone() })
    }

    /// Asks again on a connection that was kept.
    pub fn ask(&self, handle: u64, ask: &Ask, timeout: Duration) -> Result<Outcome> {
        self.call(&Op::Ask { handle, ask: ask.clone(), timeout })
    }

    /// Sends a line on a kept [`Ask::Echo`] connection; whether it came back in time.
    pub fn echo(&self, handle: u64, timeout: Duration) -> Result<bool> {
        self.call(&Op::Echo { handle, timeout })
    }

    /// The next event of a watch that was kept; none if the time passed or the stream ended.
    pub fn next_event(&self, handle: u64, timeout: Duration) -> Result<Option<String>> {
        self.call(&Op::NextEvent { handle, timeout })
    }

    /// What the kernel says about a kept socket.
    pub fn inspect(&self, handle: u64) -> Result<Inspection> {
        self.call(&Op::Inspect { handle })
    }

    /// Closes a kept socket or ends a fixture.
    pub fn close(&self, handle: u64) -> Result<()> {
        self.call(&Op::Close { handle })
    }

    /// Runs a storm to its end; `storm.connects` says when that is.
    pub fn storm(&self, storm: &Storm) -> Result<StormReport> {
        self.storm_wait(self.storm_start(storm)?)
    }

    /// Waits for the end of a storm, which comes with [`Storm::connects`].
    pub fn storm_wait(&self, storm: u64) -> Result<StormReport> {
        self.call(&Op::StormWait { storm })
    }

    /// Starts a storm in the background.
    pub fn storm_start(&self, storm: &Storm) -> Result<u64> {
        self.call(&Op::StormStart(storm.clone()))
    }

    /// How a storm has gone so far.
    pub fn storm_report(&self, storm: u64) -> Result<StormReport> {
        self.call(&Op::StormReport { storm })
    }

    /// Ends a storm: every thread finishes the connect it is in.
    pub fn storm_stop(&self, storm: u64) -> Result<StormReport> {
        self.call(&Op::StormStop { storm })
    }

    /// Starts loops of connects in the background; gives a handle.
    pub fn traffic(&self, traffic: &Traffic) -> Result<u64> {
        self.call(&Op::TrafficStart(traffic.clone()))
    }

    /// Closes what it held and opens anew one connection of each purpose to each of these
    /// servers, dialling until it has met them all.
    pub fn traffic_hold(&self, traffic: u64, servers: &[String]) -> Result<()> {
        self.call(&Op::TrafficHold { traffic, servers: servers.to_vec() })
    }

    /// What happened since the last mark; a new stretch of time begins.
    pub fn traffic_mark(&self, traffic: u64) -> Result<TrafficReport> {
        self.call(&Op::TrafficMark { traffic })
    }

    /// Ends loops and connections.
    pub fn traffic_stop(&self, traffic: u64) -> Result<()> {
        self.call(&Op::TrafficStop { traffic })
    }

    /// Connects through the VIP until it has met this server, whose connection is kept; gives its handle.
    pub fn open_to(&self, server: SocketAddr) -> Result<u64> {
        let vip = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
        wait_until("a connection to the server", || {
            let outcome = self.connect(&vip)?;
            let handle = outcome.handle.with_context(|| format!("{outcome:?}"))?;
            if outcome.peer == Some(server) {
                return Ok(Some(handle));
            }
            self.close(handle)?;
            Ok(None)
        })
    }

    /// Connects, reconnects and checks what the kernel keeps about each socket.
    pub fn attribution(&self, plan: &Attribution) -> Result<AttributionReport> {
        self.call(&Op::Attribution(plan.clone()))
    }

    /// Sends a datagram and waits for the answer.
    pub fn udp(&self, udp: &Udp) -> Result<UdpOutcome> {
        self.call(&Op::Udp(udp.clone()))
    }

    /// Opens a datagram socket; gives a handle.
    pub fn datagram_socket(&self, socket: DatagramSocket) -> Result<u64> {
        self.call(&Op::DatagramOpen(socket))
    }

    /// Does something with a datagram socket. What is received, and the peer, are in the outcome.
    pub fn datagram(&self, handle: u64, op: DatagramOp) -> Result<UdpOutcome> {
        self.call(&Op::Datagram { handle, op })
    }

    /// Listens for TCP: greets everyone with `name` and closes. Gives a handle and the address.
    pub fn listen_tcp(&self, address: SocketAddr, name: &str) -> Result<(u64, SocketAddr)> {
        self.call(&Op::ListenTcp { address, name: name.to_owned() })
    }

    /// Listens for UDP: answers every datagram with `name`. Gives a handle and the address.
    pub fn listen_udp(&self, address: SocketAddr, name: &str) -> Result<(u64, SocketAddr)> {
        self.call(&Op::ListenUdp { address, name: name.to_owned() })
    }

    fn call<T: DeserializeOwned>(&self, op: &Op) -> Result<T> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = serde_json::to_vec(op)?;
        line.push(b'\n');
        inner.stdin.write_all(&line).context("the client has gone")?;
        let mut answer = String::new();
        if inner.stdout.read_line(&mut answer).context("cannot read from the client")? == 0 {
            let status = inner.process.kill()?;
            return Err(anyhow!("the client has gone ({status}) at {op:?}"));
        }
        match serde_json::from_str(&answer).with_context(|| format!("client said {answer}"))? {
            Answer::Done(value) => serde_json::from_value(value)
                .with_context(|| format!("unexpected answer to {op:?}: {answer}")),
            Answer::Failed(error) => Err(anyhow!("{error} at {op:?}")),
        }
    }
}
