//! Who answers for the control-plane VIP: carries out what the core's machine wants.
//!
//! | task | owns | when it is cancelled |
//! |---|---|---|
//! | one request to the cluster at a time | the connection | it closes, and the lease is read again |
//! | the watch of the Lease | its connection | it closes |
//!
//! Without a VIP, or when routers decide (`ownership: ecmp`), none of them is there.

mod election;

use std::collections::BTreeSet;
use std::future;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nllb_common::maps::State;
use nllb_core::ownership::{Answer, Command, Loss, Notice, Ownership, Rules, Unfit};
use nllb_core::vip::VipPlan;
use nllb_core::{BackendView, View};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use self::election::{Done, Election};
use super::{Driver, members, reached};
use crate::config::Config;
use crate::datapath::monotonic_ns;
use crate::datapath::packet::PacketSocket;
use crate::discovery::kubernetes::{LeaseClient, Sight};
use crate::journal::{VipChange, What};
use crate::network::vicinity::Interface;
use crate::status;
use crate::takeover;
use crate::units::millis;

/// How long an ending agent waits for another to take the VIP.
const FAREWELL: Duration = Duration::from_millis(1500);

/// The VIP, where there is one.
#[derive(Default)]
pub(super) struct Owning(Option<Box<Active>>);

struct Active {
    plan: VipPlan,
    unfit: Option<Unfit>,
    others: bool,
    /// This node's own addresses.
    own: BTreeSet<IpAddr>,
    election: Option<Election>,
    announcer: Option<PacketSocket>,
    /// When the next announcements are due.
    announce_at: Vec<Instant>,
    counts: Counts,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    taken: u64,
    lost: u64,
    released: u64,
    renewals: u64,
    failures: u64,
}

/// Something that [`Driver::own`] is to take.
pub(super) enum Happened {
    Done(Option<(Box<LeaseClient>, Done)>),
    Sight(Sight),
    Due,
}

impl Owning {
    /// Takes part as the configuration says. Needs a runtime.
    pub(super) fn start(
        config: &Config,
        announcer: Option<PacketSocket>,
        own: BTreeSet<IpAddr>,
        seed: u32,
    ) -> Self {
        let Some(plan) = config.vip.clone() else { return Self(None) };
        let kubernetes = config.control_plane.as_ref().and_then(|plane| plane.kubernetes.as_ref());
        let election = plan.lease().zip(kubernetes).map(|(lease, kubernetes)| {
            Election::start(lease.clone(), members::settings_of(kubernetes, seed))
        });
        Self(Some(Box::new(Active {
            plan,
            unfit: Some(Unfit::DataPath),
            others: false,
            own,
            election,
            announcer,
            announce_at: Vec::new(),
            counts: Counts::default(),
        })))
    }

    /// These are this node's addresses.
    pub(super) fn set_own(&mut self, own: &BTreeSet<IpAddr>) {
        if let Some(active) = &mut self.0 {
            active.own.clone_from(own);
        }
    }

    /// The next that happens; never anything without a VIP. Safe to cancel.
    pub(super) async fn next(&mut self) -> Happened {
        let Some(active) = &mut self.0 else { return future::pending().await };
        let announce = active.announce_at.first().copied();
        let Some(election) = &mut active.election else { return future::pending().await };
        let machine = election.machine.as_ref().and_then(|(_, machine)| machine.poll_timeout());
        let due = machine.into_iter().chain(announce).min();
        tokio::select! {
            Some(done) = election.requests.join_next() => {
                Happened::Done(done.ok())
            }
            Some(sight) = election.sights.recv() => Happened::Sight(sight),
            () = reached(due) => Happened::Due,
        }
    }

    /// What the status document says of it. `failure` is that of the data path.
    pub(super) fn status(
        &self,
        failure: Option<&str>,
        now: Instant,
    ) -> Option<status::VipOwnership> {
        let active = self.0.as_ref()?;
        let Active { plan, unfit, election, announcer, counts, .. } = active.as_ref();
        let lease = election.as_ref().map(|election| {
            let view = election.machine.as_ref().map(|(_, machine)| machine.view());
            let left = |at: Instant| millis(at.saturating_duration_since(now));
            let since = view.as_ref().and_then(|view| view.since);
            status::VipLease {
                name: format!("{}/{}", election.lease.namespace, election.lease.name),
                duration_ms: millis(election.lease.duration),
                holder: view.as_ref().and_then(|view| view.holder.clone()),
                owned_ms: since.map(|since| millis(now.saturating_duration_since(since))),
                remaining_ms: view.as_ref().and_then(|view| view.until).map(left),
                announces: announcer.is_some(),
                taken: counts.taken,
                lost: counts.lost,
                released: counts.released,
                renewals: counts.renewals,
                failures: counts.failures,
                problem: election.problem.clone(),
            }
        });
        let unfit = unfit.map(|unfit| {
            let why = failure.filter(|_| unfit == Unfit::DataPath);
            why.unwrap_or(unfit.sentence()).to_owned()
        });
        let (by, fit) = (plan.ownership.label().to_owned(), unfit.is_none());
        Some(status::VipOwnership { by, fit, unfit, lease })
    }
}

impl Driver {
    /// Takes what has happened to the VIP.
    pub(super) fn own(&mut self, happened: Happened) {
        let now = Instant::now();
        let Some(active) = &mut self.owning.0 else { return };
        if let Some(election) = &mut active.election {
            match happened {
                Happened::Done(done) => {
                    let (through, failed) = election.conclude(done, now);
                    active.counts.renewals += u64::from(through);
                    active.counts.failures += u64::from(failed);
                }
                Happened::Sight((version, record)) => {
                    if let Some((_, machine)) = &mut election.machine {
                        machine.handle_watched(&version, record, now);
                    }
                }
                Happened::Due => {
                    if let Some((_, machine)) = &mut election.machine {
                        machine.handle_timeout(now);
                    }
                }
            }
        }
        self.perform_ownership(now);
    }

    /// Where no Lease decides nobody answers, whatever an agent with another configuration left behind.
    pub(super) fn begin_ownership(&mut self) {
        if self.config.vip.as_ref().is_some_and(|plan| plan.lease().is_none())
            && let Err(error) = self.vip.answer_until(0)
        {
            warn!(%error, "the kernel is not told that nobody here answers for the VIP");
        }
        self.assess_ownership();
    }

    /// Looks whether this node may own the VIP, after anything has happened.
    pub(super) fn assess_ownership(&mut self) {
        let Some(active) = &mut self.owning.0 else { return };
        let now = Instant::now();
        let failed = self.vip.failure().is_some() || self.vip.interface().is_none();
        let view = self.machine.view();
        let machine = active.election.as_ref().and_then(|election| election.machine.as_ref());
        let known_as = machine.map(|(me, _)| me.as_str());
        let Assessed { me, unfit, others } =
            assess(&view, &active.plan, &active.own, known_as, failed);
        if let (Some(election), Some(me)) = (&mut active.election, me) {
            if election.machine.as_ref().is_none_or(|(name, _)| *name != me) {
                let rules = Rules { me: me.clone(), duration: election.lease.duration };
                election.machine = Some((me, Ownership::new(rules, now)));
                // Whose answer was awaited is not there any more.
                election.requests.abort_all();
                election.requests = JoinSet::new();
            } else if (unfit, others) == (active.unfit, active.others) {
                return;
            }
        }
        (active.unfit, active.others) = (unfit, others);
        if let Some((_, machine)) = active.election.as_mut().and_then(|one| one.machine.as_mut()) {
            machine.handle_fitness(unfit, others, now);
        }
        self.perform_ownership(now);
    }

    fn perform_ownership(&mut self, now: Instant) {
        let mut told = Vec::new();
        let Some(active) = &mut self.owning.0 else { return };
        let Active { plan, election, announcer, announce_at, counts, .. } = active.as_mut();
        let Some(election) = election else { return };
        while let Some(command) =
            election.machine.as_mut().and_then(|(_, machine)| machine.next_command())
        {
            match command {
                Command::Read { patience } => election.read(patience),
                Command::Write(write) => election.write(write),
                Command::Answer(answer) => {
                    if answer == Answer::No {
                        announce_at.clear();
                    }
                    let until_ns = deadline(answer);
                    if let Err(error) = self.vip.answer_until(until_ns) {
                        warn!(%error, "the kernel is not told who answers for the VIP");
                    }
                }
                Command::Tell(notice) => {
                    match notice {
                        Notice::Took { .. } => {
                            counts.taken += 1;
                            *announce_at = takeover::AGAIN.map(|after| now + after).to_vec();
                        }
                        Notice::Lost(_) => counts.lost += 1,
                        Notice::Released { .. } => counts.released += 1,
                    }
                    told.push(notice);
                }
            }
        }
        let due = announce_at.iter().filter(|at| **at <= now).count();
        if due > 0 {
            announce_at.drain(..due);
            announce(plan, announcer.as_ref(), self.vip.interface());
        }
        let vip = plan.addresses().map(|ip| ip.to_string()).collect::<Vec<_>>().join(", ");
        for notice in told {
            let (change, reason) = words(notice);
            info!(vip, change = change.label(), reason, "the VIP");
            self.record([What::Vip { vip: vip.clone(), change, reason }]);
        }
    }

    /// Gives the VIP away before the agent ends, if another member can have it.
    pub(super) async fn leave_ownership(&mut self) {
        let leave = async {
            loop {
                let now = Instant::now();
                let Some(active) = &mut self.owning.0 else { return };
                let Some((_, machine)) =
                    active.election.as_mut().and_then(|one| one.machine.as_mut())
                else {
                    return;
                };
                machine.handle_leave(now);
                let left = machine.has_left();
                self.perform_ownership(now);
                if left {
                    return;
                }
                let happened = self.owning.next().await;
                self.own(happened);
            }
        };
        if timeout(FAREWELL, leave).await.is_err() {
            debug!("nobody was seen to take the VIP");
        }
    }
}

/// In nanoseconds of the kernel's clock, which is that of `Instant`.
fn deadline(answer: Answer) -> u64 {
    match answer {
        Answer::No => 0,
        Answer::Until(at) => {
            // In this order: whatever comes between the two readings makes it earlier.
            let kernel_ns = monotonic_ns();
            let left = at.saturating_duration_since(Instant::now()).as_nanos();
            kernel_ns.saturating_add(u64::try_from(left).unwrap_or(0))
        }
        Answer::Always => u64::MAX,
    }
}

fn announce(plan: &VipPlan, socket: Option<&PacketSocket>, interface: Option<&Interface>) {
    let interface = interface.and_then(|one| Some((one.index, one.mac?)));
    let Some((socket, (interface, mac))) = socket.zip(interface) else { return };
    for frame in plan.addresses().flat_map(|vip| takeover::frames(vip, mac)) {
        if let Err(error) = socket.send(interface, &frame) {
            warn!(%error, "a takeover of the VIP is not announced");
        }
    }
}

fn words(notice: Notice) -> (VipChange, String) {
    match notice {
        Notice::Took { from: Some(from) } => (VipChange::Taken, format!("it was {from}'s")),
        Notice::Took { from: None } => (VipChange::Taken, "it was free".to_owned()),
        Notice::Lost(Loss::Expired) => {
            (VipChange::Lost, "the lease could not be renewed in time".to_owned())
        }
        Notice::Lost(Loss::Taken(by)) if by.is_empty() => {
            (VipChange::Lost, "somebody took the holder out of the lease".to_owned())
        }
        Notice::Lost(Loss::Taken(by)) => (VipChange::Lost, format!("{by} holds the lease")),
        Notice::Released { why } => (VipChange::Released, why.sentence().to_owned()),
    }
}

struct Assessed {
    me: Option<String>,
    unfit: Option<Unfit>,
    others: bool,
}

/// Whether this node may own the VIP, and whether another member may. `known_as`: its name so far, which it keeps while it
/// has that address, since another name is another holder of the lease.
fn assess(
    view: &View,
    plan: &VipPlan,
    own: &BTreeSet<IpAddr>,
    known_as: Option<&str>,
    failed: bool,
) -> Assessed {
    let pool = view.pools.iter().find(|one| one.name == plan.pool);
    let backends = pool.into_iter().flat_map(|pool| &pool.backends);
    let members = backends.filter(|backend| plan.is_served_by(backend.addr));
    let is_own = |backend: &&BackendView| own.contains(&backend.addr.ip().to_canonical());
    let (mine, theirs): (Vec<_>, Vec<_>) = members.partition(is_own);
    let serves = |backend: &BackendView| matches!(backend.state, State::Healthy | State::Degraded);
    let name = |backend: &BackendView| backend.addr.ip().to_canonical().to_string();
    let named = mine.iter().find(|backend| known_as == Some(name(backend).as_str()));
    let me = named.or_else(|| mine.iter().min_by_key(|backend| backend.addr.ip().to_canonical()));
    let unfit = match me {
        None => Some(Unfit::NotMember),
        Some(_) if failed => Some(Unfit::DataPath),
        Some(backend) => match backend.state {
            State::Healthy | State::Degraded => None,
            State::Draining => Some(Unfit::Drained),
            State::Unknown | State::Unhealthy => Some(Unfit::ApiServer),
        },
    };
    let me = me.map(|backend| name(backend));
    Assessed { me, unfit, others: theirs.into_iter().any(serves) }
}
