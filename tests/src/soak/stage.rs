//! The lab on which the steps of an epoch happen: three servers, a node with two pods and the agent, and clients
//! that never stop.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nllb_agent::admin::{DRAIN_PATH, UNDRAIN_PATH};
use nllb_agent::status::Status;

use super::books::{Books, open_by_server};
use super::judge::{Evidence, Span, Struck};
use super::plan::{Fault, Step, What};
use crate::agent::{Agent, Configuration, backend};
use crate::client::Client;
use crate::client::protocol::{ConnectLoop, Traffic, TrafficReport};
use crate::clock::now_ns;
use crate::lab::{ControlPlane, Lab};
use crate::usage::{allocated_mib, descriptors};
use crate::verdicts::Watcher;
use crate::wait::wait_until;

/// The time between two connects of a loop: enough to meet every moment, and little enough for hours.
const CONNECTS: Duration = Duration::from_millis(20);
/// The time between two requests on a held connection.
const REQUESTS: Duration = Duration::from_millis(100);
/// Only a connection that nobody serves runs out of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often clients are asked.
const MARK: Duration = Duration::from_millis(200);
/// After its start the agent needs two probes to know who died while it was away.
const KNOWS_AGAIN: Duration = Duration::from_secs(3);
/// What is well and not held back is back within this time.
const READMISSION: Duration = Duration::from_secs(15);
/// The longest time that a server which was lost often is held back.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

pub(super) struct Stage {
    // In the order in which they must go.
    clients: Vec<Running>,
    direct: (Client, Vec<u64>),
    pub(super) agent: Agent,
    lab: Lab,
}

/// A process of clients of the frontend.
struct Running {
    client: Client,
    /// Its loops of connects.
    loops: u64,
    /// What it holds.
    held: u64,
}

/// What an epoch was like.
pub(super) struct Seen {
    pub(super) evidence: Evidence,
    /// Steps that the agent refused, rightly.
    pub(super) refused: u64,
}

impl Stage {
    pub(super) fn build() -> Result<Self> {
        let lab = Lab::builder().pods(2).build().context("cannot build the lab")?;
        let mut agent = Agent::prepare(&lab, 0)?;
        agent.run_shipped()?;
        agent.configure(&Configuration::of(&lab))?;
        agent.restart().context("cannot start the agent")?;
        await_well(&mut agent)?;
        let clients = [lab.client(0)?, lab.pod_client(0, 0)?, lab.pod_client(0, 1)?];
        let clients = clients.into_iter().map(|client| Running::start(client, &lab));
        let clients = clients.collect::<Result<_>>()?;
        let direct = lab.client(0)?;
        let held = lab.control_planes().iter().map(|server| {
            let plan = Traffic {
                frontend: server.tls(),
                server_name: server.v4().to_string(),
                request_interval: REQUESTS,
                ..lab.traffic()
            };
            let traffic = direct.traffic(&plan)?;
            direct.traffic_hold(traffic, &[server.name().to_owned()])?;
            Ok(traffic)
        });
        let held = held.collect::<Result<_>>()?;
        Ok(Self { clients, direct: (direct, held), agent, lab })
    }

    /// Lets the steps happen at their times.
    pub(super) fn play(&mut self, steps: &[Step]) -> Result<Seen> {
        let Self { clients, direct, agent, lab } = self;
        let servers = lab.control_planes();
        let ids = ids(&agent.status()?, servers)?;
        let watcher = Watcher::start(agent, &ids)?;
        let begun = Instant::now();
        let over = AtomicBool::new(false);
        let is_of_a_server = |step: &&Step| matches!(step.what, What::Server(..));
        let (of_servers, of_the_node): (Vec<&Step>, Vec<&Step>) =
            steps.iter().partition(is_of_a_server);
        let played = thread::scope(|scope| {
            let marks = scope.spawn(|| marks(clients, direct, &over));
            let faults = scope.spawn(|| play_faults(servers, &of_servers, begun));
            let node = play_node(agent, lab, &of_the_node, begun);
            let faults = faults.join();
            over.store(true, Ordering::Relaxed);
            let marks = marks.join();
            Ok::<_, anyhow::Error>((joined(marks)?, joined(faults)?, node?))
        });
        let ((clients, direct), struck, (absent, refused)) = played?;
        let names = servers.iter().map(|server| server.name().to_owned()).collect();
        let looks = watcher.stop()?;
        let evidence = Evidence { servers: names, struck, absent, looks, clients, direct };
        Ok(Seen { evidence, refused })
    }

    /// After the faults: waits until all is well again, and looks into the books. What is not as it has to be is a
    /// sentence.
    pub(super) fn settle(&mut self) -> Result<(Books, Vec<String>)> {
        let mut broken = Vec::new();
        if let Err(error) = await_well(&mut self.agent) {
            broken.push(format!("not everybody was readmitted: {error:#}"));
        }
        if let Err(error) = self.await_resumed() {
            broken.push(format!("a held connection was not opened again: {error:#}"));
        }
        for running in &self.clients {
            running.client.traffic_stop(running.loops)?;
        }
        if let Err(error) = self.await_reconciled() {
            broken.push(format!("{error:#}"));
        }
        let id = self.agent.id().context("the agent does not run")?;
        let books = Books { allocated_mib: allocated_mib(id)?, descriptors: descriptors(id)? };
        for running in &mut self.clients {
            running.loops = start_loops(&running.client, &self.lab)?;
        }
        Ok((books, broken))
    }

    /// Keeps what the agent has logged.
    pub(super) fn save_log(&self, file: &Path) -> Result<()> {
        std::fs::write(file, self.agent.log()).with_context(|| file.display().to_string())
    }

    /// Waits until every held connection that ended has a successor.
    fn await_resumed(&self) -> Result<()> {
        let mut waiting = 0;
        let resumed = || {
            let held = self.clients.iter().map(|running| running.client.traffic_mark(running.held));
            let held = held.collect::<Result<Vec<_>>>()?;
            let gone = |report: &TrafficReport| {
                report
                    .held
                    .iter()
                    .filter(|one| one.end.is_some() && one.resumed_ns.is_none())
                    .count()
            };
            waiting = held.iter().map(gone).sum();
            Ok((waiting == 0).then_some(()))
        };
        wait_until("held connections", resumed).map_err(|error| anyhow!("{waiting}: {error:#}"))
    }

    /// Waits until the counts of the agent are those of the kernel.
    fn await_reconciled(&self) -> Result<()> {
        let ids: Vec<u32> = self.clients.iter().map(|running| running.client.id()).collect();
        let node = self.lab.node(0);
        let netns: Vec<&str> = [node.netns()]
            .into_iter()
            .chain(node.pods().iter().map(crate::lab::Pod::netns))
            .collect();
        let mut last = (Vec::new(), Vec::new());
        let same = || {
            let status = self.agent.status()?;
            let open = open_by_server(&netns, &ids)?;
            let servers = self.lab.control_planes().iter().map(ControlPlane::tls);
            let counted = |server| {
                let evidence =
                    backend(&status, server).and_then(|backend| backend.evidence.as_ref());
                evidence.map_or(0, |evidence| evidence.active)
            };
            last = servers.map(|s| (counted(s), open.get(&s).copied().unwrap_or(0))).unzip();
            Ok((last.0 == last.1).then_some(()))
        };
        wait_until("the counts", same).map_err(|_| {
            anyhow!("active connections are counted {:?}, and are {:?}", last.0, last.1)
        })
    }
}

impl Running {
    fn start(client: Client, lab: &Lab) -> Result<Self> {
        let loops = start_loops(&client, lab)?;
        let held = client.traffic(&Traffic { request_interval: REQUESTS, ..lab.traffic() })?;
        let servers: Vec<_> = lab.control_planes().iter().map(|s| s.name().to_owned()).collect();
        client.traffic_hold(held, &servers)?;
        Ok(Self { client, loops, held })
    }
}

fn start_loops(client: &Client, lab: &Lab) -> Result<u64> {
    let a_loop = ConnectLoop { interval: CONNECTS, patience: PATIENCE, ..ConnectLoop::in_turn() };
    client.traffic(&Traffic { loops: vec![a_loop], ..lab.traffic() })
}

fn ids(status: &Status, servers: &[ControlPlane]) -> Result<Vec<u32>> {
    let id = |server: &ControlPlane| {
        let found = backend(status, server.tls()).map(|backend| backend.id);
        found.with_context(|| format!("status has no {}", server.name()))
    };
    servers.iter().map(id).collect()
}

/// Waits until everybody is in service: soon, unless a server is held back because it was lost often.
fn await_well(agent: &mut Agent) -> Result<()> {
    let begun = Instant::now();
    let mut missing = String::new();
    let well = || {
        let status = agent.status()?;
        let out: Vec<_> = status.backends().filter(|(_, one)| one.state != "healthy").collect();
        let held = out.iter().all(|(_, one)| one.held_ms.is_some());
        let most = if held { READMISSION + LONGEST_HOLD } else { READMISSION };
        let tell = |one: &nllb_agent::status::Backend| {
            format!("{} {} ({})", one.address, one.state, one.reason)
        };
        missing = out.iter().map(|(_, one)| tell(one)).collect::<Vec<_>>().join(", ");
        ensure!(out.is_empty() || begun.elapsed() < most, "after {} s", begun.elapsed().as_secs());
        Ok(out.is_empty().then_some(()))
    };
    wait_until("servers in service", well).map_err(|error| anyhow!("{missing}: {error:#}"))
}

/// Asks all clients again and again until it is over.
fn marks(
    clients: &[Running],
    direct: &(Client, Vec<u64>),
    over: &AtomicBool,
) -> Result<(Vec<TrafficReport>, Vec<TrafficReport>)> {
    let (mut translated, mut directly) = (Vec::new(), Vec::new());
    loop {
        let last = over.load(Ordering::Relaxed);
        for Running { client, loops, held } in clients {
            translated.push(client.traffic_mark(*loops)?);
            translated.push(client.traffic_mark(*held)?);
        }
        for traffic in &direct.1 {
            directly.push(direct.0.traffic_mark(*traffic)?);
        }
        if last {
            return Ok((translated, directly));
        }
        // reason: clients are asked, they do not tell.
        sleep(MARK);
    }
}

/// Lets servers have their faults; gives when each was.
fn play_faults(servers: &[ControlPlane], steps: &[&Step], begun: Instant) -> Result<Vec<Struck>> {
    let mut moments: Vec<(Duration, bool, usize)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        moments.push((step.at, false, number));
        moments.push((step.at + step.lasts, true, number));
    }
    moments.sort_unstable();
    let mut begun_ns = vec![0; steps.len()];
    let mut struck = Vec::new();
    for (at, is_end, number) in moments {
        wait_for(begun, at);
        let What::Server(server, fault) = steps[number].what else { continue };
        let told = || format!("{} at {at:?}", steps[number].what);
        if is_end {
            let healing_ns = now_ns();
            heal(&servers[server], fault).with_context(told)?;
            let span = Span { from_ns: begun_ns[number], until_ns: now_ns() };
            struck.push(Struck { server, fault, span, healing_ns });
        } else {
            begun_ns[number] = now_ns();
            strike(&servers[server], fault).with_context(told)?;
        }
    }
    Ok(struck)
}

/// Lets happen what happens to the agent; gives when it was away, and how many orders it refused.
fn play_node(
    agent: &mut Agent,
    lab: &Lab,
    steps: &[&Step],
    begun: Instant,
) -> Result<(Vec<Span>, u64)> {
    let (mut absent, mut refused) = (Vec::new(), 0);
    for step in steps {
        wait_for(begun, step.at);
        let from_ns = now_ns();
        match step.what {
            What::AgentKilled | What::AgentRestarted => {
                if step.what == What::AgentKilled {
                    agent.kill()?;
                } else {
                    let status = agent.terminate()?;
                    ensure!(status.success(), "the agent ended with {status}");
                }
                wait_for(begun, step.at + step.lasts);
                agent.restart().context("cannot start the agent")?;
                let knows_ns = u64::try_from(KNOWS_AGAIN.as_nanos()).unwrap_or(u64::MAX);
                absent.push(Span { from_ns, until_ns: now_ns() + knows_ns });
            }
            What::Reload(policy) => {
                // What is in force already is not taken for new.
                let status = agent.status()?;
                let vip = status.frontends.iter().find(|frontend| frontend.kind == "vip");
                if vip.is_none_or(|vip| vip.policy != policy) {
                    agent.reload(&Configuration { policy, ..Configuration::of(lab) })?;
                }
            }
            What::Drained(server) => {
                let order =
                    serde_json::json!({ "backend": lab.control_plane(server).tls() }).to_string();
                match agent.order(DRAIN_PATH, &order)? {
                    (200, _) => {}
                    // Nobody else is in service.
                    (409, _) => refused += 1,
                    (status, text) => return Err(anyhow!("drain: {status} {text}")),
                }
                wait_for(begun, step.at + step.lasts);
                let (status, text) = agent.order(UNDRAIN_PATH, &order)?;
                ensure!(status == 200, "undrain: {status} {text}");
            }
            What::Server(..) => {}
        }
    }
    Ok((absent, refused))
}

fn wait_for(begun: Instant, at: Duration) {
    // reason: the plan says when.
    sleep((begun + at).saturating_duration_since(Instant::now()));
}

fn strike(server: &ControlPlane, fault: Fault) -> Result<()> {
    match fault {
        Fault::Crash => server.crash(),
        Fault::PowerOff => server.power_off(),
        Fault::Unplugged => server.unplug(),
        Fault::DropTo => server.drop_to(true),
        Fault::DropFrom => server.drop_from(true),
        Fault::Frozen => server.freeze(),
        Fault::Readyz(status) => server.readyz(Some(status)),
        Fault::ReadyzSlow => server.set_modes(|modes| {
            (modes.slow_readyz, modes.readyz) = (Duration::from_secs(4), Some(500));
        }),
        Fault::ReadyzHangs => server.hang_readyz(true),
        Fault::Drain(ms) => server.drain(Duration::from_millis(ms)),
        Fault::Slow(ms) => server.slow(Duration::from_millis(ms)),
        Fault::Delay(ms) => server.delay(Duration::from_millis(ms)),
        Fault::Loss(per_mille) => server.weaken(Duration::ZERO, per_mille),
    }
}

fn heal(server: &ControlPlane, fault: Fault) -> Result<()> {
    match fault {
        Fault::Crash => server.restart(),
        Fault::PowerOff => server.power_on(),
        Fault::Unplugged => server.plug(),
        Fault::DropTo => server.drop_to(false),
        Fault::DropFrom => server.drop_from(false),
        Fault::Frozen => server.thaw(),
        Fault::Readyz(_) => server.readyz(None),
        Fault::ReadyzSlow => server.set_modes(|modes| {
            (modes.slow_readyz, modes.readyz) = (Duration::ZERO, None);
        }),
        Fault::ReadyzHangs => server.hang_readyz(false),
        Fault::Drain(_) => server.crash().and_then(|()| server.restart()),
        Fault::Slow(_) => server.slow(Duration::ZERO),
        Fault::Delay(_) | Fault::Loss(_) => {
            server.clear_delay();
            Ok(())
        }
    }
}

fn joined<T>(thread: thread::Result<Result<T>>) -> Result<T> {
    thread.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
