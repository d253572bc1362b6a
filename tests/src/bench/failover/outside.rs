//! What clients feel that no hook for connects sees when servers, hosts and owners of the VIP fail: guests of a node with
//! a kernel of their own, and clients of the control-plane VIP.
//!
//! In each run, in a lab of its own, a client connects in two loops, one of which never waits for a connect before, and
//! keeps connections on which it asks once, after the fault.
//!
//! | figure | from | until |
//! |---|---|---|
//! | `new_left` | the fault | the last start of a connect that failed, or whose client had to wait for its kernel's second try |
//! | `new_blackout` | as for connects that are translated | it has the client's own kernel in it, whose second try comes after a second |
//! | `flows` | | kept connections with servers that live on: all, and those that still carry |
//!
//! The loops go on until what they began while nobody was there has had its next tries.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use nllb_agent::status::Status;
use serde_json::{Value, json};

use super::report::spread_text;
use super::rig::calm;
use super::row::Spread;
use crate::agent::{Agent, Configuration};
use crate::apiserver::TLS_PORT;
use crate::client::protocol::{Attempt, ConnectLoop, LoopReport, Traffic, TrafficReport};
use crate::clock::now_ns;
use crate::lab::{Lab, VIP_V4};
use crate::place::Place;
use crate::process::Process;
use crate::vip_stage::{self, Stage};
use crate::{Ask, Client, Connect, ecmp};

/// The time between two connects of a loop.
const PACE: Duration = Duration::from_millis(5);
/// Who takes longer has waited for its kernel's second try, which comes after a second, or for an answer in vain.
const HELD_UP_NS: u64 = 200_000_000;
/// Connections that are kept.
const FLOWS: usize = 30;
/// How long one of them may take to carry something.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it may fail to set a run up: a routing session that ends once rests for a minute, which is not waited for.
const ATTEMPTS: u32 = 3;
/// With the shortest lease that there may be.
const BY_LEASE: &str = "{ addresses: [10.86.0.100], interface: eth0, lease: { duration: 2s } }";

/// What happens, and to whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Fault {
    /// A server's process is killed, to which guests connect.
    GuestCrash,
    /// A host vanishes, to which guests connect.
    GuestPowerOff,
    /// Behind the VIP, a server's process is killed that is not on the owner.
    VipBackendCrash,
    /// Behind the VIP, a host vanishes that is not the owner.
    VipBackendPowerOff,
    /// The owner's agent is killed.
    VipOwnerAgentKilled,
    /// The API server of the owner's host is killed.
    VipOwnerCrash,
    /// The owner's host vanishes.
    VipOwnerPowerOff,
    /// Where routers find the members, a server's process is killed.
    VipEcmpCrash,
    /// Where routers find the members, a host vanishes.
    VipEcmpPowerOff,
}

/// How a client's packets get to whom they are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// Over an interface whose packets an agent serves.
    Guest,
    /// To the owner of the VIP, who has a Lease.
    Lease,
    /// To whichever member the client's router takes.
    Ecmp,
}

/// What the clients felt of a run.
struct Sample {
    left_ns: u64,
    blackout_ns: Vec<u64>,
    calm_gap_ns: Vec<u64>,
    flows: usize,
    alive: usize,
}

/// A fault, in all runs.
pub(super) struct Row {
    fault: Fault,
    runs: usize,
    left_ms: Option<Spread>,
    blackout_ms: Option<Spread>,
    calm_gap_ms: Option<Spread>,
    flows: usize,
    alive: usize,
}

/// Lets each fault strike so often.
pub(super) fn measure(faults: &[Fault], runs: u64) -> Result<Vec<Row>> {
    let row = |fault: &Fault| {
        let run = |number| {
            eprintln!("nllb-lab: {fault}, {} of {runs}", number + 1);
            once(*fault, number).with_context(|| format!("{fault}, run {}", number + 1))
        };
        Ok(Row::of(*fault, &(0..runs).map(run).collect::<Result<Vec<_>>>()?))
    };
    faults.iter().map(row).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("none is hidden").get_name())
    }
}

impl Fault {
    pub(super) const ALL: [Self; 9] = [
        Self::GuestCrash,
        Self::GuestPowerOff,
        Self::VipBackendCrash,
        Self::VipBackendPowerOff,
        Self::VipOwnerAgentKilled,
        Self::VipOwnerCrash,
        Self::VipOwnerPowerOff,
        Self::VipEcmpCrash,
        Self::VipEcmpPowerOff,
    ];

    /// Until new connects have left whoever is gone, in milliseconds.
    const fn goal_ms(self) -> f64 {
        match self {
            Self::GuestCrash
            | Self::GuestPowerOff
            | Self::VipBackendCrash
            | Self::VipBackendPowerOff
            | Self::VipOwnerAgentKilled
            | Self::VipOwnerCrash
            | Self::VipEcmpCrash => 500.0,
            Self::VipEcmpPowerOff => 1_000.0,
            Self::VipOwnerPowerOff => 3_000.0,
        }
    }

    /// How long to look on: beyond the goal, and until what was begun then has had its next try.
    const fn window(self) -> Duration {
        Duration::from_secs(match self {
            Self::GuestCrash
            | Self::GuestPowerOff
            | Self::VipBackendCrash
            | Self::VipBackendPowerOff
            | Self::VipOwnerAgentKilled
            | Self::VipOwnerCrash
            | Self::VipEcmpCrash
            | Self::VipEcmpPowerOff => 5,
            Self::VipOwnerPowerOff => 9,
        })
    }

    const fn way(self) -> Way {
        match self {
            Self::GuestCrash | Self::GuestPowerOff => Way::Guest,
            Self::VipBackendCrash
            | Self::VipBackendPowerOff
            | Self::VipOwnerAgentKilled
            | Self::VipOwnerCrash
            | Self::VipOwnerPowerOff => Way::Lease,
            Self::VipEcmpCrash | Self::VipEcmpPowerOff => Way::Ecmp,
        }
    }

    /// The host that it strikes.
    fn victim(self, stage: &Stage, number: u64) -> usize {
        let number = usize::try_from(number).unwrap_or(0);
        let hosts = stage.lab.control_planes().len();
        match self {
            Self::GuestCrash | Self::GuestPowerOff | Self::VipEcmpCrash | Self::VipEcmpPowerOff => {
                number % hosts
            }
            Self::VipBackendCrash | Self::VipBackendPowerOff => {
                (stage.await_owner(&[]) + 1 + number % (hosts - 1)) % hosts
            }
            Self::VipOwnerAgentKilled | Self::VipOwnerCrash | Self::VipOwnerPowerOff => {
                stage.await_owner(&[])
            }
        }
    }

    /// Lets it happen; gives when it began.
    fn strike(self, stage: &mut Stage, victim: usize) -> Result<u64> {
        let begun_ns = now_ns();
        let host = stage.lab.control_plane(victim);
        match self {
            Self::GuestCrash | Self::VipBackendCrash | Self::VipOwnerCrash | Self::VipEcmpCrash => {
                host.crash()?;
            }
            Self::VipOwnerAgentKilled => stage.agents[victim].kill()?,
            Self::GuestPowerOff
            | Self::VipBackendPowerOff
            | Self::VipOwnerPowerOff
            | Self::VipEcmpPowerOff => {
                // The cable first: emptying a host takes longer.
                host.unplug()?;
                host.power_off()?;
                if self.way() != Way::Guest {
                    stage.agents[victim].kill()?;
                }
            }
        }
        Ok(begun_ns)
    }

    /// Whether connections with the victim's server live on.
    const fn spares_server(self) -> bool {
        matches!(self, Self::VipOwnerAgentKilled)
    }
}

fn once(fault: Fault, number: u64) -> Result<Sample> {
    let (mut stage, frontend, _daemons) = fault.way().set_again()?;
    for agent in &mut stage.agents {
        agent.await_status("all to be well", is_well)?;
    }
    let victim = fault.victim(&stage, number);
    let flows = flows(&stage.client, frontend)?;
    let loops = [ConnectLoop::in_turn(), ConnectLoop::on_time()];
    let loops = loops.map(|plan| ConnectLoop { interval: PACE, ..plan }).to_vec();
    let traffic = stage.client.traffic(&Traffic { frontend, loops, ..stage.lab.traffic() })?;
    calm(number);
    let calm = stage.client.traffic_mark(traffic)?;
    let begun_ns = fault.strike(&mut stage, victim)?;
    // reason: what shall be seen is also that nothing more happens.
    sleep(fault.window());
    let after = stage.client.traffic_mark(traffic)?;
    stage.client.traffic_stop(traffic)?;
    let gone = stage.lab.control_plane(victim).name();
    let mut sample = Sample::of(begun_ns, &calm, &after);
    for (flow, server) in flows {
        if fault.spares_server() || server != gone {
            sample.flows += 1;
            sample.alive += usize::from(stage.client.echo(flow, PATIENCE)?);
        }
    }
    Ok(sample)
}

impl Way {
    /// As [`Self::set`], and once more if that fails.
    fn set_again(self) -> Result<(Stage, SocketAddr, Vec<Process>)> {
        let mut attempt = 1;
        loop {
            match self.set() {
                Err(error) if attempt < ATTEMPTS => eprintln!("nllb-lab: once more: {error:#}"),
                done => return done,
            }
            attempt += 1;
        }
    }

    /// Whoever takes part, what the client dials, and what else runs.
    fn set(self) -> Result<(Stage, SocketAddr, Vec<Process>)> {
        match self {
            Self::Guest => Ok((guests()?, (VIP_V4, 443).into(), Vec::new())),
            Self::Lease => {
                let stage = Stage::of(Lab::builder().build()?, BY_LEASE)?;
                Ok((stage, vip_stage::vip(), Vec::new()))
            }
            Self::Ecmp => {
                let bird = ecmp::Bird::find().context("no BIRD here; set-up unpacks it")?;
                let stage = Stage::of(Lab::builder().build()?, ecmp::BY_ROUTERS)?;
                let daemons =
                    ecmp::announce(&stage, &bird, |lab, member| bird.run_member(lab, member))?;
                let vip: IpAddr = ecmp::ROUTED.parse()?;
                Ok((stage, (vip, TLS_PORT).into(), daemons))
            }
        }
    }
}

/// A node whose agent serves guests, and a client that is one: in none of the node's cgroups.
fn guests() -> Result<Stage> {
    let lab = Lab::builder().pods(1).build()?;
    let rest = vec!["sandboxes: { interfaces: [\"pod*\"] }".to_owned()];
    let configuration = Configuration { rest, ..Configuration::of(&lab).by_default() };
    let agent = Agent::start(&lab, &configuration)?;
    let client = Client::start(&Place::in_netns(lab.node(0).pods()[0].netns()))?;
    Ok(Stage { agents: vec![agent], client, lab })
}

/// Whether every server is healthy, and whoever is to be served is.
fn is_well(status: &Status) -> bool {
    let mut interfaces = status.sandboxes.iter().flat_map(|it| &it.interfaces);
    status.obstacles().is_empty()
        && status.backends().all(|(_, it)| it.state == "healthy" && it.sentinel.state == "up")
        && status.sandboxes.is_some() == interfaces.any(|it| it.attached_by.is_some())
        && status.vip.as_ref().is_none_or(|vip| {
            let known = |way: Option<&str>| way != Some("unknown");
            vip.mode.is_some() && vip.members.iter().all(|it| it.own || known(it.way.as_deref()))
        })
}

/// Connections that are kept, each with the name of its server.
fn flows(client: &Client, frontend: SocketAddr) -> Result<Vec<(u64, String)>> {
    let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to(frontend) };
    let open = |_| {
        let outcome = client.connect(&connect)?;
        ensure!(outcome.ok, "no connection: {outcome:?}");
        outcome.handle.zip(outcome.server).context("a connection without a server")
    };
    (0..FLOWS).map(open).collect()
}

impl Sample {
    fn of(begun_ns: u64, calm: &TrafficReport, after: &TrafficReport) -> Self {
        let attempts = after.loops.iter().flat_map(|l| &l.bad);
        let held_up = attempts.filter(|attempt| attempt.started_ns >= begun_ns && is_bad(attempt));
        let last = held_up.map(|attempt| attempt.started_ns).max();
        // The one that waits for each of its connects.
        let in_turn = |report: &TrafficReport, of: fn(&LoopReport) -> u64| {
            report.loops.first().map(of).into_iter().collect()
        };
        Self {
            left_ns: last.map_or(0, |last| last - begun_ns),
            blackout_ns: in_turn(after, |l| l.blackout_ns),
            calm_gap_ns: in_turn(calm, |l| l.longest_gap_ns),
            flows: 0,
            alive: 0,
        }
    }
}

fn is_bad(attempt: &Attempt) -> bool {
    attempt.error.is_some() || attempt.ended_ns.saturating_sub(attempt.started_ns) > HELD_UP_NS
}

impl Row {
    fn of(fault: Fault, samples: &[Sample]) -> Self {
        let lists = |of: fn(&Sample) -> &Vec<u64>| Spread::ms(samples.iter().flat_map(of).copied());
        Self {
            fault,
            runs: samples.len(),
            left_ms: Spread::ms(samples.iter().map(|sample| sample.left_ns)),
            blackout_ms: lists(|sample| &sample.blackout_ns),
            calm_gap_ms: lists(|sample| &sample.calm_gap_ns),
            flows: samples.iter().map(|sample| sample.flows).sum(),
            alive: samples.iter().map(|sample| sample.alive).sum(),
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Self { fault, runs, left_ms, blackout_ms, calm_gap_ms, flows, alive } = self;
        let spread = |spread: &Option<Spread>| spread.map_or(Value::Null, Spread::json);
        json!({
            "fault": fault.to_string(),
            "runs": runs,
            "new_left_ms": spread(left_ms),
            "goal_left_ms": fault.goal_ms(),
            "new_blackout_ms": spread(blackout_ms),
            "calm_gap_ms": spread(calm_gap_ms),
            "flows_with_living_servers": flows,
            "flows_that_carry": alive,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Self { fault, runs, left_ms, blackout_ms, calm_gap_ms, flows, alive } = self;
        let mut text = format!("{fault}, {runs} runs\n");
        for (name, spread, goal) in [
            ("new connects: have left", left_ms, Some(fault.goal_ms())),
            ("  blackout", blackout_ms, None),
            ("  before the fault", calm_gap_ms, None),
        ] {
            text.extend(spread.map(|spread| spread_text(name, spread, goal)));
        }
        let missed = if alive < flows { " *" } else { "" };
        text + &format!("  {:<24} {alive:>9} of {flows} carry{missed}\n", "flows with the living")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn connects_have_left_when_the_last_one_began_that_failed_or_was_held_up() {
        let attempt = |started, ended, error: Option<&str>| Attempt {
            started_ns: started * MS,
            connected_ns: None,
            ended_ns: ended * MS,
            server: None,
            error: error.map(str::to_owned),
        };
        let bad = vec![
            attempt(50, 1_050, None),
            attempt(130, 131, Some("ECONNREFUSED")),
            attempt(180, 1_200, None),
            attempt(400, 460, None),
        ];
        let report = |loops| TrafficReport { from_ns: 0, until_ns: 0, loops, held: Vec::new() };
        let after = report(vec![LoopReport { bad, ..LoopReport::default() }]);
        let mut sample = Sample::of(100 * MS, &report(Vec::new()), &after);
        assert_eq!(sample.left_ns, 80 * MS);
        (sample.flows, sample.alive) = (20, 19);
        let row = Row::of(Fault::GuestPowerOff, &[sample]);
        assert_eq!(row.json()["new_left_ms"]["max"], 80.0);
        assert!(row.text().ends_with("19 of 20 carry *\n"), "{}", row.text());
    }
}
