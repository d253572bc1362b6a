//! `nllb explain`: what would become of a connect, and why.

mod guest;
mod outside;

use super::ask::{Question, ask};
use super::{Failure, Output};
use crate::admin::STATUS_PATH;
use crate::datapath::explain::{Asked, Candidate, Explanation, Fate, Matched, explain};
use crate::datapath::maps::{KernelMaps, Maps as _};
use crate::datapath::vantage::{self, Connected};
use crate::datapath::vip::look;
use crate::datapath::{monotonic_ns, pin_directory};
use crate::exit::Exit;
use crate::status::{Frontend, Status};
use crate::units::micros;
use clap::Args;
use guest::Behind;
use nllb_common::maps::{Policy, Protocol, Scope};
use serde::Serialize;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any connect that is cut, shorter than a person waits.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// What is dialled, like 10.96.0.1:443.
    address: SocketAddr,
    /// As a datagram, or a datagram socket that connects.
    #[arg(long, conflicts_with = "connect")]
    udp: bool,
    /// From the network namespace of this process; else from the one that this runs in.
    #[arg(long, value_name = "PID", conflicts_with = "from_netns")]
    from_pid: Option<u32>,
    /// From the network namespace with this file, like /run/netns/pod.
    #[arg(long, value_name = "PATH")]
    from_netns: Option<PathBuf>,
    /// From the guest (a sandboxed pod) behind this interface of the host.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["connect", "from_pid", "from_netns"])]
    from_interface: Option<String>,
    /// From a client outside of the nodes that dials the control-plane VIP: from any, or from this one.
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, require_equals = true)]
    #[arg(conflicts_with_all = ["udp", "connect", "from_pid", "from_netns", "from_interface"])]
    from_outside: Option<Option<SocketAddr>>,
    /// Connect for once, and say who is at the other end.
    #[arg(long)]
    connect: bool,
    /// How it is shown.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Output,
    /// The directory of the pins.
    #[arg(long, value_name = "DIR", default_value = crate::config::DEFAULT_BPFFS)]
    bpffs: PathBuf,
    /// The agent's admin socket, for names and reasons.
    #[arg(long, default_value = crate::config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

pub(super) fn run(args: ExplainArgs, out: &mut dyn io::Write) -> Result<(), Failure> {
    let ExplainArgs {
        address,
        udp,
        from_pid,
        from_netns,
        from_interface,
        from_outside,
        connect,
        output,
        bpffs,
        socket,
    } = args;
    let namespace = from_netns.or(from_pid.map(|pid| format!("/proc/{pid}/ns/net").into()));
    let namespace = namespace.as_deref();
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Datapath, error);
    let directory = pin_directory(&bpffs);
    let maps = KernelMaps::open(&directory).map_err(|error| {
        failed(&format!(
            "{error} (is nllb attached, and is this run as root? --bpffs names another directory)"
        ))
    })?;
    // Without an agent there are no names and no reasons, and the choice is the same.
    let status = status(&socket);
    if let Some(client) = from_outside {
        let asked = outside::Asked { address, client };
        return outside::run(asked, &maps, &directory, status.as_ref().ok(), output, out);
    }
    let behind = from_interface.map(|name| Behind::look(name, &directory, status.as_ref().ok()));
    let behind = behind.transpose()?;
    let control = maps.control().map_err(|error| failed(&error))?;
    let scope = match behind {
        Some(_) => Scope::Other,
        None => vantage::within(namespace, || vantage::scope(&control))
            .map_err(|error| failed(&elsewhere(namespace, &error)))?,
    };
    let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
    let asked = Asked { address, protocol, scope, guest: behind.is_some(), now_ns: monotonic_ns() };
    let explanation = explain(&maps, asked).map_err(|error| failed(&error))?;
    let connected = connect.then(|| {
        vantage::within(namespace, || vantage::connect(address, PATIENCE))
            .map_err(|error| error.to_string())
    });
    let mut document = Document::of(asked, &explanation, status.as_ref().ok(), connected);
    if look(&directory).is_ok_and(|held| outside::of(&held, address).is_some()) {
        document
            .hint("it is the control-plane VIP: --from-outside tells of clients outside the nodes");
    }
    if let Some(behind) = behind {
        document.turn_to(behind);
    }
    match output {
        Output::Json => {
            let document = serde_json::to_value(&document).map_err(io::Error::other)?;
            writeln!(out, "{document:#}")?;
        }
        Output::Table => {
            document.write(out)?;
            if let Err(Failure { line, .. }) = status {
                writeln!(out, "no names and reasons: {line}")?;
            }
        }
    }
    Ok(())
}

fn elsewhere(namespace: Option<&Path>, error: &io::Error) -> String {
    match namespace {
        Some(path) => format!("{}: cannot look from there: {error}", path.display()),
        None => format!("cannot tell this network namespace from the host's: {error}"),
    }
}

fn status(socket: &Path) -> Result<Status, Failure> {
    let body = ask(socket, Question::get(STATUS_PATH))?;
    serde_json::from_slice(&body).map_err(|error| Failure::new(Exit::Unreachable, &error))
}

/// What is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    address: SocketAddr,
    /// tcp or udp.
    protocol: &'static str,
    /// host or other.
    scope: &'static str,
    /// The guest that asks.
    guest: Option<Behind>,
    /// unmatched, translated, panic, kept or nobody; not-served for a guest that is left to others.
    fate: &'static str,
    text: String,
    frontend: Option<String>,
    policy: Option<&'static str>,
    lease_valid: Option<bool>,
    backends: Vec<Row>,
    connect: Option<Connect>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    address: SocketAddr,
    /// From 0 to 1, rounded to a hundredth.
    share: f64,
    /// `None` for one that the frontend leaves out.
    state: Option<&'static str>,
    band: Option<u8>,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connect {
    peer: Option<SocketAddr>,
    took_us: Option<u64>,
    error: Option<String>,
}

impl Document {
    fn of(
        asked: Asked,
        explanation: &Explanation,
        status: Option<&Status>,
        connected: Option<Result<Connected, String>>,
    ) -> Self {
        let Asked { address, protocol, scope, guest: _, now_ns: _ } = asked;
        let mut document = Self {
            address,
            protocol: protocol.label(),
            scope: if scope == Scope::Host { "host" } else { "other" },
            guest: None,
            fate: "unmatched",
            text: String::new(),
            frontend: None,
            policy: None,
            lease_valid: None,
            backends: Vec::new(),
            connect: connected.map(Connect::from),
        };
        match explanation {
            Explanation::Unmatched { on_the_other_side } => {
                let and = match (on_the_other_side, scope) {
                    (false, _) => "",
                    (true, Scope::Host) => "; from other network namespaces it is one",
                    (true, Scope::Other) => "; from the host it is one, see its scope",
                };
                document.text =
                    format!("no frontend has this address, so it goes where it is aimed{and}");
            }
            Explanation::Matched(matched) => document.fill(matched, status),
        }
        document
    }

    /// Says something more of an address that is no frontend's.
    fn hint(&mut self, hint: &str) {
        if self.frontend.is_none() {
            self.text = format!("{}; {hint}", self.text);
        }
    }

    /// It is this guest that asks.
    fn turn_to(&mut self, behind: Behind) {
        if let Some(text) = &behind.text {
            (self.fate, self.text) = ("not-served", text.clone());
            self.backends.clear();
        } else if self.frontend.is_some() {
            let open = "one that is open stays with its backend, and is reset when that is dead";
            self.text = format!("{}; {open}", self.text);
        }
        self.guest = Some(behind);
    }

    fn fill(&mut self, matched: &Matched, status: Option<&Status>) {
        let Matched { frontend, policy, lease_valid, fate, backends } = matched;
        let known = status.and_then(|status| named(status, *frontend));
        self.frontend = Some(known.map_or(format!("#{frontend}"), |known| known.name.clone()));
        self.policy = Some(policy.label());
        self.lease_valid = Some(*lease_valid);
        (self.fate, self.text) = match fate {
            Fate::Translated => ("translated", goes_to(*policy, backends)),
            Fate::Panic => {
                ("panic", format!("none may get connections, so the least bad does: {}", goes_to(*policy, backends)))
            }
            Fate::Kept => ("kept", "it is left alone: this is a backend's own address, and no other is to take its place".to_owned()),
            Fate::Nobody => ("nobody", "there is no backend that such a socket can reach; see onEmpty".to_owned()),
        };
        self.backends = backends.iter().map(|backend| Row::of(backend, status)).collect();
        for left_out in known.iter().flat_map(|known| &known.backends) {
            if !backends.iter().any(|backend| backend.address == left_out.address) {
                let reason = left_out.reason.clone().unwrap_or_default();
                let address = left_out.address;
                self.backends.push(Row { address, share: 0.0, state: None, band: None, reason });
            }
        }
    }

    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let Self {
            address,
            protocol,
            scope,
            frontend,
            policy,
            lease_valid,
            text,
            backends,
            connect,
            guest,
            fate: _,
        } = self;
        let from = match (guest, *scope) {
            (Some(Behind { interface, translated, .. }), _) => {
                format!("the guest behind {interface} ({translated} flows so far)")
            }
            (None, "host") => "the host".to_owned(),
            (None, _) => "another network namespace".to_owned(),
        };
        let over = if *protocol == "tcp" { "" } else { " over UDP" };
        write!(out, "{address}{over} from {from}")?;
        if let (Some(frontend), Some(policy)) = (frontend, policy) {
            write!(out, ": frontend {frontend}, policy {policy}")?;
        }
        writeln!(out)?;
        if *lease_valid == Some(false) {
            writeln!(
                out,
                "the lease has lapsed: verdicts do not count, the kernel goes by evidence"
            )?;
        }
        if !backends.is_empty() {
            writeln!(out, "\n{:<24}{:>6}  {:<10}{:>4}  WHY", "BACKEND", "SHARE", "STATE", "BAND")?;
        }
        for Row { address, share, state, band, reason } in backends {
            let share =
                if *share > 0.0 { format!("{:.0} %", share * 100.0) } else { "-".to_owned() };
            let band = band.map_or("-".to_owned(), |band| band.to_string());
            let state = state.unwrap_or("left out");
            let line = format!("{address:<24}{share:>6}  {state:<10}{band:>4}  {reason}");
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out, "{}{text}", if backends.is_empty() { "" } else { "\n" })?;
        match connect {
            Some(Connect { peer: Some(peer), took_us, .. }) => {
                let took = Duration::from_micros(took_us.unwrap_or_default());
                writeln!(out, "connected to {peer} after {took:?}")
            }
            Some(Connect { error: Some(error), .. }) => {
                writeln!(out, "the connect failed: {error}")
            }
            _ => Ok(()),
        }
    }
}

/// The frontend with this id.
fn named(status: &Status, id: u16) -> Option<&Frontend> {
    status.frontends.iter().find(|frontend| frontend.id == u32::from(id))
}

/// Who gets it.
fn goes_to(policy: Policy, backends: &[Candidate]) -> String {
    let drawn: Vec<String> = backends
        .iter()
        .filter(|backend| backend.share > 0.0)
        .map(|backend| backend.address.to_string())
        .collect();
    let how = match (drawn.len(), policy) {
        (1, _) => "",
        (_, Policy::Random) => ", by chance",
        (_, Policy::RoundRobin) => ", whichever has waited longest",
        (_, Policy::LeastConnections) => ", more likely one with fewer connections",
        (_, Policy::Maglev) => ", always the same one for the same process",
        (_, Policy::Affinity) => ", the one that the process had last",
    };
    format!("it goes to {}{how}", drawn.join(" or "))
}

impl Row {
    fn of(backend: &Candidate, status: Option<&Status>) -> Self {
        let Candidate { id, address, state, doubted, suspect, band, share, home } = backend;
        let known = status
            .and_then(|status| status.backends().find(|(_, known)| known.id == *id))
            .map(|(_, known)| known);
        let reason = known.filter(|known| known.state != "healthy").map(|known| &known.reason);
        let doubt = known.and_then(|known| known.doubt.clone());
        let notes = [
            reason.cloned(),
            doubted
                .then(|| doubt.map_or("in doubt".to_owned(), |doubt| format!("in doubt: {doubt}"))),
            suspect.then(|| "suspect: a connect just went wrong".to_owned()),
            home.then(|| "what is dialled is its own address".to_owned()),
        ];
        Self {
            address: *address,
            share: (share * 100.0).round() / 100.0,
            state: Some(state.label()),
            band: Some(*band),
            reason: notes.into_iter().flatten().collect::<Vec<_>>().join("; "),
        }
    }
}

impl From<Result<Connected, String>> for Connect {
    fn from(connected: Result<Connected, String>) -> Self {
        match connected {
            Ok(Connected { peer, took }) => {
                Self { peer: Some(peer), took_us: Some(micros(took)), error: None }
            }
            Err(error) => Self { peer: None, took_us: None, error: Some(error) },
        }
    }
}
