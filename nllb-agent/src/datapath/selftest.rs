//! Proves by a real connect that translation works, through a frontend of its own.
//!
//! The kernel's word that programs are attached says nothing about maps or about a second program
//! that undoes the rewrite. So the agent dials a loopback address where nothing listens; only when it
//! is translated does the connection arrive at the agent's own listener. On the way it learns the
//! cookie of its network namespace from the socket's record (`SO_NETNS_COOKIE` needs Linux 5.14).
//!
//! Another version of the layout that is still attached has a frontend at the same address and runs before
//! ours. Beside it the agent dials a port that the kernel has chosen and that it holds without listening.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nllb_common::addr::split;
use nllb_common::maps::{
    Frontend, FrontendKey, NO_HOME, PoolSet, SELF_TEST_BACKEND, Scope, Slot, frontend_flags,
};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

pub use crate::reserved::SELF_TEST as ADDRESSES;

use super::DatapathError;
use super::maps::{Maps, MapsError, SELF_TEST_ID, Sockets};

/// A loopback connect takes microseconds; a second means that the host is in trouble.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The self-test and its listeners.
#[derive(Debug)]
pub struct SelfTest {
    probes: Vec<Probe>,
}

#[derive(Debug)]
struct Probe {
    /// The address that is reserved for it.
    reserved: SocketAddr,
    frontend: Cell<SocketAddr>,
    /// Holds the port of the frontend when that is not the reserved one.
    held: RefCell<Option<TcpSocket>>,
    listener: TcpListener,
}

/// What one round found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Why translation is known not to work, per family that failed.
    pub failures: Vec<String>,
    /// Cookie of the agent's network namespace, when the socket's record told it.
    pub netns: Option<u64>,
}

impl SelfTest {
    /// Opens the listeners (v6 only where the host has it) and adds the frontend to the maps: `beside` another
    /// version at addresses that it does not know.
    ///
    /// # Errors
    /// When no listener can be opened or a map is full.
    pub async fn install(maps: &mut impl Maps, beside: bool) -> Result<Self, DatapathError> {
        let mut probes = Vec::new();
        for frontend in ADDRESSES {
            let local = match frontend {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
            };
            match TcpListener::bind(local).await {
                Ok(listener) => {
                    let probe = Probe::new(frontend, listener, beside);
                    probes.push(probe.map_err(DatapathError::SelfTest)?);
                }
                Err(error) if frontend.is_ipv4() => return Err(DatapathError::SelfTest(error)),
                Err(_) => {} // A host without IPv6.
            }
        }
        let this = Self { probes };
        this.write(maps)?;
        Ok(this)
    }

    /// Writes pool and frontends of the self-test.
    ///
    /// # Errors
    /// When a map is full.
    pub fn write(&self, maps: &mut impl Maps) -> Result<(), DatapathError> {
        let mut slots = Vec::new();
        for probe in &self.probes {
            let local = probe.listener.local_addr().map_err(DatapathError::SelfTest)?;
            let (addr, port) = split(local);
            slots.push(Slot::new(addr, port, SELF_TEST_BACKEND, 0));
        }
        let set = PoolSet::new(&slots).unwrap_or(PoolSet::EMPTY);
        maps.set_pools(&[(u32::from(SELF_TEST_ID), &set)])?;
        for probe in &self.probes {
            let (addr, port) = split(probe.frontend.get());
            for scope in [Scope::Host, Scope::Other] {
                let frontend = Frontend {
                    id: SELF_TEST_ID,
                    pool: SELF_TEST_ID,
                    home: NO_HOME,
                    flags: frontend_flags::SELF_TEST,
                };
                maps.set_frontend(FrontendKey::tcp(addr, port, scope), frontend)?;
            }
        }
        Ok(())
    }

    /// Goes back to the reserved addresses, when no other version is left.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn settle(&self, maps: &mut impl Maps) -> Result<(), DatapathError> {
        for probe in self.probes.iter().filter(|probe| probe.frontend.get() != probe.reserved) {
            let (addr, port) = split(probe.frontend.replace(probe.reserved));
            for scope in [Scope::Host, Scope::Other] {
                maps.remove_frontend(FrontendKey::tcp(addr, port, scope))?;
            }
            probe.held.take();
        }
        self.write(maps)
    }

    /// Dials the frontend once per family.
    pub async fn run(&self, sockets: &Sockets) -> Report {
        let mut report = Report { failures: Vec::new(), netns: None };
        for probe in &self.probes {
            match timeout(TIMEOUT, probe.run(sockets)).await {
                Ok(Ok(netns)) => report.netns = report.netns.or(netns),
                Ok(Err(reason)) => report.failures.push(reason),
                Err(_) => report.failures.push(format!("{}: no answer", probe.frontend.get())),
            }
        }
        report
    }
}

impl Probe {
    fn new(reserved: SocketAddr, listener: TcpListener, beside: bool) -> io::Result<Self> {
        let mut probe = Self { reserved, frontend: reserved.into(), held: None.into(), listener };
        if beside {
            let socket = probe.socket()?;
            socket.bind(SocketAddr::new(reserved.ip(), 0))?;
            probe.frontend = socket.local_addr()?.into();
            probe.held = Some(socket).into();
        }
        Ok(probe)
    }

    fn socket(&self) -> io::Result<TcpSocket> {
        if self.reserved.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
    }

    async fn run(&self, sockets: &Sockets) -> Result<Option<u64>, String> {
        let say = |what: &str, error: &dyn std::fmt::Display| {
            format!("{}: {what}: {error}", self.frontend.get())
        };
        let socket = self.socket().map_err(|error| say("socket", &error))?;
        let frontend = self.frontend.get();
        let stream =
            socket.connect(frontend).await.map_err(|error| say("not translated", &error))?;
        let dialled = stream.local_addr().map_err(|error| say("local address", &error))?;
        self.accept(dialled).await.map_err(|error| say("accept", &error))?;
        let record = sockets
            .record(&stream.as_raw_fd())
            .map_err(|error: MapsError| say("record", &error))?;
        Ok(record.map(|record| record.netns))
    }

    /// Accepts until our own connection comes; a stranger's, or one of an earlier round that timed
    /// out, is closed.
    async fn accept(&self, from: SocketAddr) -> io::Result<()> {
        loop {
            let (_stream, peer) = self.listener.accept().await?;
            if peer == from {
                return Ok(());
            }
        }
    }
}
