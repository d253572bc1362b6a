//! The client process: carries out one request after another.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::attribution;
use super::connect::{Conn, Wire, address, connect, establish, name, question};
use super::datagram;
use super::fixture::{Fixture, send};
use super::protocol::{Answer, Connect, Inspection, Op, Outcome};
use super::storm::Running;
use super::traffic;
use crate::sys;

/// Serves requests from standard input until it ends.
pub fn run() -> Result<()> {
    let mut client = State::default();
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let op = serde_json::from_str(&line?).context("not a request")?;
        let answer = match client.perform(op) {
            Ok(value) => Answer::Done(value),
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        output.write_all(&line)?;
        output.flush()?;
    }
    Ok(())
}

#[derive(Default)]
struct State {
    next: u64,
    conns: HashMap<u64, Conn>,
    fixtures: HashMap<u64, Fixture>,
    datagrams: HashMap<u64, UdpSocket>,
    storms: HashMap<u64, Running>,
    traffic: HashMap<u64, traffic::Running>,
}

impl State {
    fn perform(&mut self, op: Op) -> Result<Value> {
        match op {
            Op::Connect(spec) => {
                let (outcome, conn) = connect(&spec);
                json(&self.keep(&spec, outcome, conn))
            }
            Op::Reconnect { handle, unspec, connect } => {
                json(&self.reconnect(handle, unspec, &connect)?)
            }
            Op::Ask { handle, ask, timeout } => json(&question(self.conn(handle)?, &ask, timeout)),
            Op::Echo { handle, timeout } => json(&echo(self.conn(handle)?, timeout)?),
            Op::NextEvent { handle, timeout } => json(&next_event(self.conn(handle)?, timeout)?),
            Op::Inspect { handle } => json(&inspect(self.conn(handle)?)?),
            Op::Close { handle } => {
                let fixture = self.fixtures.remove(&handle).is_some();
                let datagrams = self.datagrams.remove(&handle).is_some();
                if !fixture && !datagrams && self.conns.remove(&handle).is_none() {
                    bail!("no handle {handle}");
                }
                json(&())
            }
            Op::StormStart(storm) => {
                let id = self.id();
                self.storms.insert(id, Running::start(storm));
                json(&id)
            }
            Op::StormReport { storm } => {
                json(&self.storms.get(&storm).context("no such storm")?.report())
            }
            Op::StormStop { storm } => json(&self.take_storm(storm)?.stop()),
            Op::StormWait { storm } => json(&self.take_storm(storm)?.wait()),
            Op::TrafficStart(plan) => {
                let id = self.id();
                self.traffic.insert(id, traffic::Running::start(plan)?);
                json(&id)
            }
            Op::TrafficHold { traffic, servers } => json(&self.traffic(traffic)?.hold(servers)?),
            Op::TrafficMark { traffic } => json(&self.traffic(traffic)?.mark()),
            Op::TrafficStop { traffic } => {
                self.traffic.remove(&traffic).context("no such traffic")?;
                json(&())
            }
            Op::Attribution(plan) => json(&attribution::run(&plan)?),
            Op::Udp(udp) => json(&send(&udp)),
            Op::DatagramOpen(spec) => {
                let id = self.id();
                self.datagrams.insert(id, datagram::open(&spec)?);
                json(&id)
            }
            Op::Datagram { handle, op } => {
                let socket = self.datagrams.get(&handle);
                json(&datagram::perform(
                    socket.with_context(|| format!("no handle {handle}"))?,
                    &op,
                ))
            }
            Op::ListenTcp { address, name } => {
                let (fixture, bound) = Fixture::tcp(address, name)?;
                json(&(self.install(fixture), bound))
            }
            Op::ListenUdp { address, name } => {
                let (fixture, bound) = Fixture::udp(address, name)?;
                json(&(self.install(fixture), bound))
            }
        }
    }

    fn keep(&mut self, spec: &Connect, mut outcome: Outcome, conn: Option<Conn>) -> Outcome {
        if let (true, Some(conn)) = (spec.keep, conn) {
            let id = self.id();
            self.conns.insert(id, conn);
            outcome.handle = Some(id);
        }
        outcome
    }

    fn reconnect(&mut self, handle: u64, unspec: bool, spec: &Connect) -> Result<Outcome> {
        let conn = self.conns.remove(&handle).with_context(|| format!("no handle {handle}"))?;
        let Wire::Plain(socket) = conn.wire else { bail!("handle {handle} speaks TLS") };
        if unspec {
            sys::connect_unspec(socket.as_fd()).context("cannot dissolve the association")?;
        }
        let (outcome, conn) = establish(socket, spec);
        Ok(self.keep(spec, outcome, Some(conn)))
    }

    fn conn(&mut self, handle: u64) -> Result<&mut Conn> {
        self.conns.get_mut(&handle).with_context(|| format!("no handle {handle}"))
    }

    fn take_storm(&mut self, storm: u64) -> Result<Running> {
        self.storms.remove(&storm).with_context(|| format!("no storm {storm}"))
    }

    fn traffic(&self, traffic: u64) -> Result<&traffic::Running> {
        self.traffic.get(&traffic).context("no such traffic")
    }

    fn install(&mut self, fixture: Fixture) -> u64 {
        let id = self.id();
        self.fixtures.insert(id, fixture);
        id
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn echo(conn: &mut Conn, timeout: Duration) -> Result<bool> {
    conn.socket().set_read_timeout(Some(timeout))?;
    if conn.write_all(b"echo\n").is_err() {
        return Ok(false);
    }
    Ok(conn.read_line().is_ok_and(|line| line == "echo"))
}

/// The next JSON line; the lines between them are the sizes of chunks.
fn next_event(conn: &mut Conn, timeout: Duration) -> Result<Option<String>> {
    conn.socket().set_read_timeout(Some(timeout))?;
    loop {
        match conn.read_line() {
            Ok(line) if line.starts_with('{') => return Ok(Some(line)),
            Ok(_) => {}
            Err(_) => return Ok(None),
        }
    }
}

fn inspect(conn: &Conn) -> Result<Inspection> {
    let socket = conn.socket();
    Ok(Inspection {
        local: address(socket.local_addr()),
        peer: address(socket.peer_addr()),
        error: socket.take_error()?.map(|error| name(&error)),
        user_timeout: socket.tcp_user_timeout()?,
    })
}

fn json(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).context("cannot write the answer")
}
