//! The agent's watch of the API server alone, as a process in a place of the lab, so that its connections
//! are translated like those of any other.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nllb_agent::discovery::kubernetes::{self, Identity, Pace, SERVER_NAME, Settings};
use nllb_agent::discovery::{DEPTH, News, What};
use nllb_agent::telemetry::{self, LogFormat};
use nllb_core::{Listing, Sighting};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::place::Place;
use crate::process::Process;

/// Far beyond anything that is waited for: only a bug makes it run out.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom to watch, and as whom.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Where to dial.
    #[arg(long)]
    pub address: SocketAddr,
    /// The name that the certificate must carry.
    #[arg(long, default_value = SERVER_NAME)]
    pub server_name: String,
    /// A directory with `ca.crt` and `token`.
    #[arg(long, required_unless_present = "kubeconfig")]
    pub service_account: Option<PathBuf>,
    /// A kubeconfig.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Wait as the agent does, and not as short as tests do.
    #[arg(long)]
    pub unhurried: bool,
}

impl Options {
    /// With a service account's directory.
    #[must_use]
    pub fn service_account(address: SocketAddr, directory: &Path) -> Self {
        Self {
            address,
            server_name: SERVER_NAME.to_owned(),
            service_account: Some(directory.to_owned()),
            kubeconfig: None,
            unhurried: false,
        }
    }

    /// With a kubeconfig.
    #[must_use]
    pub fn kubeconfig(address: SocketAddr, file: &Path) -> Self {
        let kubeconfig = Some(file.to_owned());
        Self { kubeconfig, service_account: None, ..Self::service_account(address, file) }
    }

    fn to_args(&self) -> Vec<OsString> {
        let Self { address, server_name, service_account, kubeconfig, unhurried } = self;
        let mut args: Vec<OsString> = vec!["discover".into()];
        args.extend(["--address".into(), address.to_string().into()]);
        args.extend(["--server-name".into(), server_name.into()]);
        let files = [("--service-account", service_account), ("--kubeconfig", kubeconfig)];
        for (name, file) in files {
            args.extend(file.iter().flat_map(|file| [name.into(), file.into()]));
        }
        args.extend(unhurried.then(|| "--unhurried".into()));
        args
    }
}

/// What was told, in one line.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Told {
    /// The hosts, each as `address:port` with its conditions, and the VIPs.
    Listed {
        /// Hosts.
        hosts: Vec<String>,
        /// VIPs.
        vips: Vec<SocketAddr>,
    },
    /// Why nothing could be listed.
    Failed(String),
}

impl From<News> for Told {
    fn from(News { source: _, what }: News) -> Self {
        match what {
            What::Listed(Listing { sightings, vips }) => {
                Self::Listed { hosts: sightings.into_iter().map(host).collect(), vips }
            }
            What::Partly { reason, .. } | What::Failed { reason } => Self::Failed(reason),
            What::Service(listing) => Self::Failed(format!("{listing:?}: nobody asked for it")),
            What::Zone(zone) => Self::Failed(format!("{zone:?}: nobody asked for it")),
            What::Pods(pods) => Self::Failed(format!("{pods:?}: nobody asked for them")),
        }
    }
}

fn host(sighting: Sighting) -> String {
    let Sighting { ip, port, ready, terminating } = sighting;
    let mut host = port.map_or(ip.to_string(), |port| SocketAddr::new(ip, port).to_string());
    if ready == Some(false) {
        host.push_str(" unready");
    }
    if terminating {
        host.push_str(" terminating");
    }
    host
}

/// Waits as short as a test can bear.
fn hurried() -> Pace {
    Pace {
        first: Duration::from_millis(50),
        longest: Duration::from_millis(400),
        settled: Duration::from_secs(1),
        answer: Duration::from_secs(3),
        silence: Duration::from_secs(3),
        watch: (Duration::from_secs(2), Duration::from_secs(3)),
    }
}

/// Watches until standard input ends, a line of JSON for each piece of news.
pub(crate) fn run(options: Options) -> Result<()> {
    let Options { address, server_name, service_account, kubeconfig, unhurried } = options;
    telemetry::install("info", LogFormat::Text)?;
    let identity = match (service_account, kubeconfig) {
        (_, Some(file)) => Identity::Kubeconfig(file),
        (Some(directory), None) => Identity::ServiceAccount(directory),
        (None, None) => bail!("no credentials"),
    };
    let pace = if unhurried { Pace::default() } else { hurried() };
    let settings = Settings { address, server_name, identity, pace, seed: std::process::id() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(|| {
        // Errors and end of file mean the same.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    runtime.block_on(async {
        let (sender, mut news) = mpsc::channel(DEPTH);
        let tell = async move {
            while let Some(news) = news.recv().await {
                let mut line = serde_json::to_vec(&Told::from(news))?;
                line.push(b'\n');
                std::io::stdout().write_all(&line)?;
            }
            Ok(())
        };
        tokio::select! {
            told = tell => told,
            () = kubernetes::watch(settings, sender) => Ok(()),
        }
    })
}

/// A watch under way in another process.
pub struct Discovery {
    process: Process,
    told: Receiver<Told>,
    log: PathBuf,
}

impl Discovery {
    /// Starts to watch from a place; what the watch logs goes to `log`.
    pub fn start(place: &Place, options: &Options, log: &Path) -> Result<Self> {
        let mut process = Process::spawn(place, &options.to_args(), Some(log))?;
        let stdout = process.take_stdout().context("it has an output")?;
        let (sender, told) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for told in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                if sender.send(told).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, told, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).context("no log")
    }

    /// The next that it tells.
    pub fn next(&self) -> Result<Told> {
        self.told.recv_timeout(PATIENCE).context("nothing more is told")
    }

    /// Takes what it tells until `wanted` says that this is it; what came before is given too.
    pub fn until(&self, what: &str, wanted: impl Fn(&Told) -> bool) -> Result<Vec<Told>> {
        let mut all = Vec::new();
        loop {
            let told = self.next().with_context(|| format!("waiting for {what} after {all:?}"))?;
            all.push(told);
            if all.last().is_some_and(&wanted) {
                return Ok(all);
            }
        }
    }

    /// All that was told and not taken yet.
    pub fn pending(&self) -> Vec<Told> {
        self.told.try_iter().collect()
    }
}
