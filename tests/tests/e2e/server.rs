//! One kube-apiserver on a control-plane host of the lab.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nllb_lab::Place;
use nllb_lab::apiserver::TLS_PORT;
use nllb_lab::lab::ControlPlane;
use nllb_lab::pki::Identity;
use nllb_lab::process::Process;

/// The addresses of Services, whose first is that of `kubernetes`.
const SERVICES: &str = "10.96.0.0/16";

/// What all servers of a cluster have in common.
pub(crate) struct Shared {
    pub(crate) program: PathBuf,
    /// The etcd members, as kube-apiserver takes them.
    pub(crate) etcd: String,
    /// Where the files of all servers are: `ca.crt`, `etcd.crt`, `etcd.key`, `account.pub`, `account.key`
    /// and `tokens.csv`.
    pub(crate) files: PathBuf,
}

/// A server, running or not.
pub(crate) struct Server {
    process: Option<Process>,
    place: Place,
    args: Vec<OsString>,
    log: PathBuf,
}

impl Server {
    /// One that does not run yet.
    pub(crate) fn new(
        shared: &Shared,
        host: &ControlPlane,
        identity: &Identity,
        flags: &[String],
    ) -> Result<Self> {
        let Shared { program, etcd, files } = shared;
        let own = files.join(host.name());
        fs::create_dir(&own).with_context(|| format!("cannot create {}", own.display()))?;
        fs::write(own.join("server.crt"), &identity.certificate)?;
        fs::write(own.join("server.key"), &identity.key)?;
        let file = |directory: &Path, name: &str| directory.join(name).display().to_string();
        let options = [
            ("advertise-address", host.v4().to_string()),
            ("secure-port", TLS_PORT.to_string()),
            ("cert-dir", own.display().to_string()),
            ("tls-cert-file", file(&own, "server.crt")),
            ("tls-private-key-file", file(&own, "server.key")),
            ("etcd-servers", etcd.clone()),
            ("etcd-cafile", file(files, "ca.crt")),
            ("etcd-certfile", file(files, "etcd.crt")),
            ("etcd-keyfile", file(files, "etcd.key")),
            ("service-cluster-ip-range", SERVICES.to_owned()),
            ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
            ("service-account-key-file", file(files, "account.pub")),
            ("service-account-signing-key-file", file(files, "account.key")),
            ("token-auth-file", file(files, "tokens.csv")),
            ("authorization-mode", "RBAC".to_owned()),
        ];
        let options = options.map(|(key, value)| format!("--{key}={value}"));
        let before = ["exec".into(), "--".into(), program.into()];
        let flags = options.iter().chain(flags).map(OsString::from);
        let args = before.into_iter().chain(flags).collect();
        let (place, log) = (Place::in_netns(host.netns()), own.join("log"));
        Ok(Self { process: None, place, args, log })
    }

    /// Starts it, and does not wait.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.process = Some(Process::spawn(&self.place, &self.args, Some(&self.log))?);
        Ok(())
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.take().context("it does not run")?.kill().map(drop)
    }

    /// Tells it to stop (SIGTERM).
    pub(crate) fn terminate(&mut self) -> Result<()> {
        self.process.as_mut().context("it does not run")?.signal(Signal::SIGTERM)
    }

    /// An error, with the end of its log, when it has ended by itself.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(Process::is_running) {
            return Ok(());
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.lines().count().saturating_sub(20);
        let end: Vec<_> = log.lines().skip(from).collect();
        anyhow::bail!("the API server has ended:\n{}", end.join("\n"))
    }
}
