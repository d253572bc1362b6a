//! A control-plane host and its API server's process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use super::layout;
use crate::apiserver::{self, Modes, Objects, PLAIN_PORT, Request, Settings, Stats, TLS_PORT};
use crate::fault::relay::Relay;
use crate::pki::Identity;
use crate::place::Place;
use crate::process::Process;

/// A control-plane host. Its faults are in [`crate::fault`].
pub struct ControlPlane {
    name: String,
    netns: String,
    switch: String,
    addresses: (Ipv4Addr, Ipv6Addr),
    control: PathBuf,
    settings_file: PathBuf,
    log: PathBuf,
    state: Mutex<State>,
}

/// What faults change.
pub(crate) struct State {
    pub(crate) server: Option<Server>,
    /// What the next server starts with.
    settings: Settings,
    pub(crate) modes: Modes,
    pub(crate) relay: Option<Relay>,
    pub(crate) drop_to: bool,
    pub(crate) drop_from: bool,
    pub(crate) largest_to: Option<u32>,
}

pub(crate) struct Server {
    pub(crate) process: Process,
    /// The server ends when this is closed.
    _lifeline: Option<ChildStdin>,
}

impl ControlPlane {
    pub(super) fn new(
        lab: &str,
        directory: &Path,
        index: usize,
        settings: Settings,
    ) -> Result<Self> {
        let name = settings.name.clone();
        let settings_file = directory.join(format!("{name}.json"));
        Ok(Self {
            netns: layout::namespace(lab, &format!("cp{index}")),
            switch: layout::namespace(lab, "net"),
            addresses: layout::plane_addresses(index),
            control: settings.control.clone(),
            settings_file,
            log: directory.join(format!("{name}.log")),
            state: Mutex::new(State {
                server: None,
                modes: settings.modes,
                settings,
                relay: None,
                drop_to: false,
                drop_from: false,
                largest_to: None,
            }),
            name,
        })
    }

    /// The name its server tells, also its port's on the bridge.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace's name.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.addresses.0
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.addresses.1
    }

    /// Its API server by IPv4.
    #[must_use]
    pub fn tls(&self) -> SocketAddr {
        (self.v4(), TLS_PORT).into()
    }

    /// Its API server by IPv6.
    #[must_use]
    pub fn tls_v6(&self) -> SocketAddr {
        (self.v6(), TLS_PORT).into()
    }

    /// Another port of its by IPv4.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.v4(), port).into()
    }

    /// Its plain-text port by IPv4.
    #[must_use]
    pub fn plain(&self) -> SocketAddr {
        (self.v4(), PLAIN_PORT).into()
    }

    /// Its plain-text port by IPv6.
    #[must_use]
    pub fn plain_v6(&self) -> SocketAddr {
        (self.v6(), PLAIN_PORT).into()
    }

    /// The process id of its server, if one runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.state().server.as_ref().map(|server| server.process.id())
    }

    /// Where its server's errors go.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What its server has seen since it was started.
    pub fn stats(&self) -> Result<Stats> {
        apiserver::ask(&self.control, &Request::Stats)
    }

    /// Changes how its server behaves, until it is restarted.
    pub fn set_modes(&self, change: impl FnOnce(&mut Modes)) -> Result<()> {
        let mut state = self.state();
        change(&mut state.modes);
        apiserver::ask(&self.control, &Request::Set(state.modes)).map(drop)
    }

    /// Gives its server these objects, and those that come after it.
    pub(super) fn set_objects(&self, objects: &Objects) -> Result<()> {
        self.tell(&Request::Objects(objects.clone()), |settings| settings.objects = objects.clone())
    }

    /// Lets its server accept this bearer token alone, and those that come after it.
    pub(super) fn set_token(&self, token: &str) -> Result<()> {
        self.tell(&Request::Token(token.to_owned()), |settings| {
            settings.bearer_token = token.to_owned();
        })
    }

    /// Lets the servers that come after this one show another certificate.
    pub fn show_from_now(&self, identity: &Identity) {
        let Identity { certificate, key } = identity.clone();
        let settings = &mut self.state().settings;
        (settings.certificate, settings.key) = (certificate, key);
    }

    fn tell(&self, request: &Request, change: impl FnOnce(&mut Settings)) -> Result<()> {
        let mut state = self.state();
        change(&mut state.settings);
        if state.server.is_some() {
            apiserver::ask(&self.control, request)?;
        }
        Ok(())
    }

    pub(crate) fn switch(&self) -> &str {
        &self.switch
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the server's process.
    pub(crate) fn spawn(&self) -> Result<()> {
        let mut state = self.state();
        ensure!(state.server.is_none(), "{} is running", self.name);
        if self.control.exists() {
            fs::remove_file(&self.control).context("cannot remove the old socket")?;
        }
        fs::write(&self.settings_file, serde_json::to_vec(&state.settings)?)
            .context("cannot write a server's settings")?;
        let args = ["apiserver".into(), "--config".into(), self.settings_file.clone().into()];
        let mut process = Process::spawn(&Place::in_netns(&self.netns), &args, Some(&self.log))?;
        let lifeline = process.take_stdin();
        state.modes = state.settings.modes;
        state.server = Some(Server { process, _lifeline: lifeline });
        Ok(())
    }

    /// Waits until the server listens (or, when it shall refuse at first, until it runs).
    pub(crate) fn await_listening(&self) -> Result<()> {
        let stdout = self.state().server.as_mut().and_then(|server| server.process.take_stdout());
        let stdout = stdout.with_context(|| format!("{} was not started", self.name))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let log = || fs::read_to_string(&self.log).unwrap_or_default();
        ensure!(!line.is_empty(), "{} did not start: {}", self.name, log());
        Ok(())
    }
}
