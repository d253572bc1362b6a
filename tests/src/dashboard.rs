//! The dashboard of `deploy/monitoring`, drawn from a run in the lab: an agent, servers that fail and come
//! back, clients, and a real Prometheus that scrapes the agent and answers the dashboard's queries.
//!
//! It is a picture of the queries and their data. How Grafana would draw them is Grafana's.

mod draw;
pub mod model;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use nllb_agent::exit::Exit;

use crate::agent::{Agent, Configuration};
use crate::client::protocol::ConnectLoop;
use crate::demo::preflight;
use crate::lab::{ControlPlane, Lab};
use crate::prometheus::{self, Prometheus, Series, When};
use model::{Dashboard, Panel, Target, Variables};

/// How long every part of the story lasts.
const PART: Duration = Duration::from_secs(25);
/// How many values a line of the picture has.
const STEPS: f64 = 110.0;
/// The time over which the picture's rates are taken: several scrapes.
const RATE_INTERVAL: &str = "10s";

/// What is drawn.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// File for the picture, SVG.
    #[arg(long)]
    svg: PathBuf,
    /// The dashboard, with rules.yaml beside it.
    #[arg(long, default_value = "deploy/monitoring/dashboard.json")]
    dashboard: PathBuf,
}

/// A panel with what its queries gave, and how each series is named.
struct Filled {
    panel: Panel,
    lines: Vec<(String, Series)>,
}

/// Lets servers fail, asks what the dashboard asks, and draws it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Err(reason) = preflight::check() {
        eprintln!("nllb-lab: the dashboard {reason:#}");
        return Ok(Exit::Datapath.into());
    }
    let Options { svg, dashboard } = options;
    let rules = dashboard.with_file_name("rules.yaml");
    let dashboard = Dashboard::read(dashboard)?;
    let program = prometheus::program();
    let program = program.context("no prometheus here; `cargo xtask setup` unpacks it")?;
    let lab = Lab::builder().pods(1).build().context("cannot build the lab")?;
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).by_default())?;
    let prometheus = Prometheus::start(&program, &lab, &rules)?;
    let start = unix_time();
    tell_story(&lab, &mut agent)?;
    let range = (start, unix_time());
    let panels = dashboard.panels.into_iter().map(|panel| fill(panel, &prometheus, range));
    draw::draw(&panels.collect::<Result<Vec<_>>>()?, range, svg)?;
    println!("{}", svg.display());
    Ok(ExitCode::SUCCESS)
}

/// A crash, a power-off, an operator's drain, and at last a crash that lasts.
fn tell_story(lab: &Lab, agent: &mut Agent) -> Result<()> {
    let begun = Instant::now();
    let say = |what: &str| println!("{:>4} s  {what}", begun.elapsed().as_secs());
    let host = lab.client(0)?;
    let pod = lab.pod_client(0, 0)?;
    let patience = Duration::from_secs(2);
    let a_loop = ConnectLoop { interval: Duration::from_millis(20), at_once: 4, patience };
    let request_interval = Duration::from_millis(100);
    let names: Vec<String> = lab.control_planes().iter().map(|it| it.name().to_owned()).collect();
    for client in [&host, &pod] {
        let traffic = crate::Traffic { loops: vec![a_loop], request_interval, ..lab.traffic() };
        let traffic = client.traffic(&traffic)?;
        client.traffic_hold(traffic, &names)?;
    }
    let [one, two, three] = [0, 1, 2].map(|index| lab.control_plane(index));
    say("calm");
    pass(PART);
    say("a server crashes");
    two.crash()?;
    pass(PART);
    say("and returns");
    two.restart()?;
    agent.await_state(two.tls(), "healthy")?;
    pass(PART);
    say("another loses its power");
    three.power_off()?;
    pass(PART);
    say("and returns");
    three.power_on()?;
    agent.await_state(three.tls(), "healthy")?;
    pass(PART);
    say("an operator drains the third");
    order(agent, "drain", one)?;
    pass(PART);
    order(agent, "undrain", one)?;
    pass(PART);
    say("a crash");
    two.crash()?;
    agent.await_state(two.tls(), "unhealthy")?;
    pass(PART / 2);
    Ok(())
}

fn order(agent: &Agent, order: &str, server: &ControlPlane) -> Result<()> {
    let server = server.tls().to_string();
    let args = [order.into(), server.into(), "--socket".into(), agent.socket().into()];
    let output = agent.nllb(&args)?;
    ensure!(output.status.success(), "{order}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn pass(time: Duration) {
    // reason: what is drawn is how things go over time.
    thread::sleep(time);
}

fn fill(panel: Panel, prometheus: &Prometheus, (start, end): (f64, f64)) -> Result<Filled> {
    let range = format!("{:.0}s", end - start);
    let variables = Variables { rate_interval: RATE_INTERVAL, range: &range };
    let mut lines = Vec::new();
    for target in &panel.targets {
        let Target { instant, .. } = target;
        let step = (end - start) / STEPS;
        let when = if *instant { When::Now } else { When::Range(start, end, step) };
        let answer = prometheus.query(&target.query(variables), when);
        let answer = answer.with_context(|| panel.title.clone())?;
        lines.extend(answer.into_iter().map(|series| (target.legend(&series.labels), series)));
    }
    Ok(Filled { panel, lines })
}

/// Now, in seconds, as Prometheus counts them.
fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A file of `deploy/monitoring`.
#[must_use]
pub fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").join(file)
}
