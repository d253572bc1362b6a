//! One node's part in the election: its machine, and the requests and sights of the Lease that it goes by.

use std::time::{Duration, Instant, SystemTime};

use nllb_core::ownership::{Ownership, Record, Write, Written};
use nllb_core::vip::LeasePlan;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use crate::discovery::kubernetes::{
    LeaseClient, LeaseName, Pace, Reason, Settings, Sight, watch_lease,
};

/// Sights that wait: each is taken within microseconds.
const DEPTH: usize = 16;
/// The shortest silence after which a watch is given up.
const LEAST_SILENCE: Duration = Duration::from_secs(5);

/// The Lease, where one decides.
pub(super) struct Election {
    pub(super) lease: LeasePlan,
    settings: Settings,
    /// With the name under which it takes part; `None` until this node's backend is known.
    pub(super) machine: Option<(String, Ownership)>,
    /// Not here while a request is under way.
    client: Option<Box<LeaseClient>>,
    /// At most one.
    pub(super) requests: JoinSet<(Box<LeaseClient>, Done)>,
    pub(super) sights: mpsc::Receiver<Sight>,
    _watch: JoinSet<()>,
    /// Why the last request came to nothing.
    pub(super) problem: Option<Reason>,
}

/// What a request gave.
pub(in crate::driver) enum Done {
    Read(Result<Option<Record>, Reason>),
    Wrote(Written, Option<Reason>),
}

impl Election {
    pub(super) fn start(lease: LeasePlan, settings: Settings) -> Self {
        let pace = Pace {
            answer: lease.duration / 2,
            silence: (lease.duration * 3).max(LEAST_SILENCE),
            ..settings.pace.clone()
        };
        let settings = Settings { pace, ..settings };
        let whose = LeaseName { namespace: lease.namespace.clone(), name: lease.name.clone() };
        let (news, sights) = mpsc::channel(DEPTH);
        let mut watch = JoinSet::new();
        let pause = lease.duration / 4;
        watch.spawn_local(watch_lease(settings.clone(), whose.clone(), pause, news));
        Self {
            client: Some(Box::new(LeaseClient::new(settings.clone(), whose))),
            lease,
            settings,
            machine: None,
            requests: JoinSet::new(),
            sights,
            _watch: watch,
            problem: None,
        }
    }

    fn client(&mut self) -> Box<LeaseClient> {
        let LeasePlan { name, namespace, duration: _ } = self.lease.clone();
        let new = || LeaseClient::new(self.settings.clone(), LeaseName { namespace, name });
        self.client.take().unwrap_or_else(|| Box::new(new()))
    }

    pub(super) fn read(&mut self, patience: Duration) {
        let mut client = self.client();
        self.requests.spawn_local(async move {
            let read = client.read(patience).await;
            (client, Done::Read(read))
        });
    }

    pub(super) fn write(&mut self, write: Write) {
        let (mut client, duration) = (self.client(), self.lease.duration);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.requests.spawn_local(async move {
            let (written, reason) = client.write(&write, duration, micros).await;
            (client, Done::Wrote(written, reason))
        });
    }

    /// Tells the machine; says whether a write went through, and whether something failed.
    pub(super) fn conclude(
        &mut self,
        done: Option<(Box<LeaseClient>, Done)>,
        now: Instant,
    ) -> (bool, bool) {
        // A request that died was answered by nobody.
        let lost = "the request ended without an answer".to_owned();
        let done = done.map(|(client, done)| {
            self.client = Some(client);
            done
        });
        let Some((_, machine)) = &mut self.machine else { return (false, false) };
        let reason = match done {
            Some(Done::Read(Ok(record))) => {
                machine.handle_read(Ok(record), now);
                None
            }
            Some(Done::Read(Err(reason))) => {
                machine.handle_read(Err(()), now);
                Some(reason)
            }
            Some(Done::Wrote(written, reason)) => {
                let through = matches!(written, Written::Done(_));
                machine.handle_written(written, now);
                if through {
                    self.problem = None;
                    return (true, false);
                }
                reason
            }
            None => {
                machine.handle_written(Written::Failed, now);
                Some(lost)
            }
        };
        let failed = reason.is_some();
        if reason.is_some() && reason != self.problem {
            // Once, not with every try.
            warn!("the Lease of the VIP: {}", reason.as_deref().unwrap_or_default());
        }
        self.problem = reason;
        (false, failed)
    }
}
