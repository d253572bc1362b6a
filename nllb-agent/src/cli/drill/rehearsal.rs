//! One backend goes through it: before, out of service, back.

use super::Terms;
use super::agent::{Agent, LEASE};
use super::beyond::Beyond;
use super::dial::{hold, keep_dialling, now, reopen};
use super::ledger::{Held, Ledger, own};
use super::plan::{Subject, Way};
use super::report::{Backend, Clients, Verdict};
use crate::cli::Failure;
use crate::cli::ask::AskError;
use crate::exit::Exit;
use crate::shutdown::Stop;
use crate::status::{self, Status};
use crate::units::millis;
use indicatif::ProgressBar;
use nllb_core::Drill;
use std::cell::RefCell;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// For how long connects are watched before the order, to know what is usual.
pub(super) const BEFORE: Duration = Duration::from_secs(1);
/// The same after it, when the backend is back.
const AFTER: Duration = Duration::from_millis(500);
/// How long a backend may take to come back. Probes went on all the time, so it needs none of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time between two looks at the agent's document.
const LOOK: Duration = Duration::from_millis(100);
/// The time between two renewals of the lease.
const RENEWAL: Duration = Duration::from_secs(1);
/// What is said of an end that the journal does not tell of.
const OVER: &str = "it is in no drill any more";
/// Of one that is not taken over.
const IN_ANOTHER: &str = "it is in a drill already";

/// One backend's turn.
pub(super) struct Rehearsal<'a> {
    pub(super) agent: &'a Agent<'a>,
    pub(super) pool: &'a str,
    pub(super) subject: &'a Subject,
    pub(super) terms: Terms,
    pub(super) progress: &'a ProgressBar,
}

/// How that ended. Whatever it was, the backend is in no drill any more, or its lease ends.
pub(super) enum Ended {
    Done(Box<Backend>),
    /// It was out of service, and not for as long as it should have been, or it did not come back.
    Aborted {
        backend: Box<Backend>,
        failure: Failure,
    },
}

/// The drill's own connections to the backend, when its order comes.
struct Opened {
    way: Way,
    patience: Duration,
    streams: Vec<TcpStream>,
}

/// What was learnt of the connections of others.
struct Seen {
    first: Status,
    ordered: Duration,
    /// The fewest connections that were open to the pool in the time before, the drill's own included.
    least: u64,
    clients: Clients,
    beyond: Beyond,
    note: Option<String>,
}

impl Rehearsal<'_> {
    /// All of it. A signal ends it early. A failure: nothing was changed.
    pub(super) async fn run(&self, stop: &mut Stop) -> Result<Ended, Failure> {
        let Subject { backend, ref ways } = *self.subject;
        let nowhere = || Failure::new(Exit::Unexpected, &"there is nothing to dial");
        let way = ways.first().copied().ok_or_else(nowhere)?;
        // As long as a client waits at least, or a longer blackout could not be told from failures.
        let patience = self.terms.sla.clamp(Duration::from_secs(1), Duration::from_secs(10));
        let streams = match self.terms.mode {
            Drill::Blackhole => until(stop, hold(way.address, backend, patience)).await?,
            Drill::Simulate => Vec::new(),
        };
        let first = self.agent.status().await?;
        let ledger = RefCell::new(Ledger::new(backend, now()));
        tokio::select! {
            ended = self.turn(Opened { way, patience, streams }, first, &ledger, stop) => ended,
            never = keep_dialling(way.address, patience, &ledger) => match never {},
        }
    }

    /// Out of service and back, while others dial.
    async fn turn(
        &self,
        opened: Opened,
        first: Status,
        ledger: &RefCell<Ledger>,
        stop: &mut Stop,
    ) -> Result<Ended, Failure> {
        let Opened { way, patience, streams } = opened;
        let open = u64::try_from(streams.len()).unwrap_or_default();
        let least = until(stop, self.calm(&first)).await?;
        let (news, mut heard) = mpsc::unbounded_channel();
        let mut keepers = JoinSet::new();
        for stream in streams {
            keepers.spawn(reopen(stream, way.address, patience, news.clone()));
        }
        let ordered = now();
        ledger.borrow_mut().out(ordered);
        let note = self.take_out().await?;
        let on_it = find(&first, self.pool, self.subject).map_or(0, open_to);
        let (on_it, before) = (on_it.saturating_sub(open), least.saturating_sub(open));
        let clients = Clients { on_it, before, ..Clients::default() };
        let beyond = Beyond::new(&first);
        let mut seen = Seen { first, ordered, least, clients, beyond, note };
        let stayed = self.stay(&mut seen, stop).await;
        ledger.borrow_mut().back(now());
        let out = now().saturating_sub(ordered);
        let restored = self.take_back().await;
        let back = match (&stayed, restored) {
            (Err(_), Ok(())) => Ok(None),
            (Err(Failure { exit, line }), Err(over)) => {
                Err(Failure { exit: *exit, line: format!("{line}; {}", over.line) })
            }
            (Ok(()), Err(failure)) => Err(failure),
            (Ok(()), Ok(())) => self.see_back(&mut seen, stop).await.map(Some),
        };
        let held: Vec<_> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
        let back_ms = back.as_ref().ok().copied().flatten().map(millis);
        let backend = self.result(ledger, way, (open, &held), &seen, out, back_ms);
        // What was said when it was taken back says why it had to be as well.
        Ok(match back.map(|_| ()).and(stayed) {
            Ok(()) => Ended::Done(Box::new(backend)),
            Err(failure) => {
                let backend = Box::new(Backend { verdict: Verdict::Aborted, ..backend });
                Ended::Aborted { backend, failure }
            }
        })
    }

    /// Gives the order; what else the agent says of it. A failure: the backend is in no drill of this one's.
    async fn take_out(&self) -> Result<Option<String>, Failure> {
        match self.agent.order(self.subject.backend, self.terms.mode).await {
            Ok(done) if done.changed => Ok(done.note),
            Ok(_) => Err(Failure::new(Exit::Refused, &IN_ANOTHER)),
            Err(error) => {
                let refused = Failure::from(error);
                if refused.exit == Exit::Refused {
                    return Err(refused);
                }
                // An agent whose answer was lost may have obeyed.
                Err(self.take_back().await.err().unwrap_or(refused))
            }
        }
    }

    /// The time before; the fewest connections that were open to the pool, since short ones come and go.
    async fn calm(&self, first: &Status) -> u64 {
        let mut least = active(first, self.pool);
        let from = now();
        while now().saturating_sub(from) < BEFORE {
            sleep(LOOK).await;
            if let Ok(status) = self.agent.status().await {
                least = least.min(active(&status, self.pool));
            }
        }
        least
    }

    /// Keeps the backend out of service for as long as it should be, and looks on.
    async fn stay(&self, seen: &mut Seen, stop: &mut Stop) -> Result<(), Failure> {
        let Terms { mode, stay, sla: _ } = self.terms;
        let backend = self.subject.backend;
        let (mut renewed, start) = (seen.ordered, self.progress.position());
        loop {
            until(stop, sleep(LOOK)).await?;
            let at = now();
            let gone = at.saturating_sub(seen.ordered);
            self.progress.set_position(start + millis(gone.min(stay)));
            if gone >= stay {
                self.progress.set_position(start + millis(BEFORE + stay));
                return Ok(());
            }
            let status = match until(stop, self.agent.status()).await? {
                Ok(status) => status,
                Err(error) if at.saturating_sub(renewed) > LEASE => return Err(error.into()),
                Err(_) => continue,
            };
            if find(&status, self.pool, self.subject).is_none_or(|one| one.drill.is_none()) {
                return Err(self.ended_by_itself(seen, &status, OVER).await);
            }
            seen.look(&status, self.pool, self.subject, now());
            if at.saturating_sub(renewed) < RENEWAL {
                continue;
            }
            match until(stop, self.agent.order(backend, mode)).await? {
                Ok(done) if !done.changed => renewed = at,
                // It had ended in between, and was not to begin anew.
                Ok(_) => return Err(self.ended_by_itself(seen, &status, OVER).await),
                Err(error @ AskError::Refused { .. }) => {
                    let said = Failure::from(error).line;
                    return Err(self.ended_by_itself(seen, &status, &said).await);
                }
                Err(error) if at.saturating_sub(renewed) > LEASE => return Err(error.into()),
                Err(_) => {}
            }
        }
    }

    /// Why the agent has ended the drill, or will not go on with it.
    async fn ended_by_itself(&self, seen: &Seen, status: &Status, said: &str) -> Failure {
        let newest = seen.first.journal.newest;
        let why = if status.agent.pid == seen.first.agent.pid {
            let told = self.agent.why_over(newest, self.subject.backend).await;
            told.unwrap_or_else(|| said.to_owned())
        } else {
            "another agent was started".to_owned()
        };
        Failure { exit: Exit::Refused, line: format!("the agent ended the drill: {why}") }
    }

    /// Takes the order back. When nobody hears that, the lease does the same.
    async fn take_back(&self) -> Result<(), Failure> {
        let taken = self.agent.end(self.subject.backend).await;
        taken.map(|_| ()).map_err(|error| {
            let Failure { exit, line } = error.into();
            let lease = LEASE.as_secs();
            let line =
                format!("{line}; unless it has ended already, the drill ends within {lease} s");
            Failure { exit, line }
        })
    }

    /// Waits until the backend is in service again, and a little longer.
    async fn see_back(&self, seen: &mut Seen, stop: &mut Stop) -> Result<Duration, Failure> {
        let from = now();
        loop {
            let status = until(stop, self.agent.status()).await?.map_err(Failure::from)?;
            seen.look(&status, self.pool, self.subject, now());
            let gone = now().saturating_sub(from);
            let backend = find(&status, self.pool, self.subject);
            if backend.is_some_and(|one| one.drill.is_none() && one.is_eligible()) {
                until(stop, sleep(AFTER)).await?;
                return Ok(gone);
            }
            if gone > PATIENCE {
                let how = backend.map_or("the pool has it no longer".to_owned(), |backend| {
                    format!("{}: {}", backend.state, backend.reason)
                });
                let waited = PATIENCE.as_secs();
                let line = format!("{waited} s after the drill it is not in service again ({how})");
                return Err(Failure { exit: Exit::Refused, line });
            }
            until(stop, sleep(LOOK)).await?;
        }
    }

    fn result(
        &self,
        ledger: &RefCell<Ledger>,
        way: Way,
        (open, held): (u64, &[Held]),
        seen: &Seen,
        out: Duration,
        back_ms: Option<u64>,
    ) -> Backend {
        let own = (self.terms.mode == Drill::Blackhole).then(|| own(open, held, seen.ordered));
        let mut clients = seen.clients.clone();
        let ended = own.as_ref().map_or(0, |own| own.ended);
        clients.closed = clients.closed.saturating_sub(ended);
        if clients.closed == 0 {
            clients.reopened_ms = None;
        }
        Backend {
            backend: self.subject.backend,
            verdict: Verdict::Passed,
            through: way.address,
            out_ms: millis(out),
            connects: ledger.borrow().connects(now()),
            own,
            clients: Clients { after: clients.after.saturating_sub(open), ..clients },
            beyond: seen.beyond.clone(),
            back_ms,
            note: seen.note.clone(),
        }
    }
}

impl Seen {
    /// Takes in what the agent tells of open connections.
    fn look(&mut self, status: &Status, pool: &str, subject: &Subject, at: Duration) {
        self.beyond.look(&self.first, status);
        let closed_before = find(&self.first, pool, subject).map_or(0, closed);
        let closed = find(status, pool, subject).map_or(0, closed);
        let after = active(status, pool);
        self.clients.closed = closed.saturating_sub(closed_before);
        self.clients.after = after;
        if self.clients.closed > 0 && after >= self.least && self.clients.reopened_ms.is_none() {
            self.clients.reopened_ms = Some(millis(at.saturating_sub(self.ordered)));
        }
    }
}

fn find<'a>(status: &'a Status, pool: &str, subject: &Subject) -> Option<&'a status::Backend> {
    let mut backends = status.backends();
    let found = backends.find(|(of, one)| *of == pool && one.address == subject.backend);
    found.map(|(_, backend)| backend)
}

fn open_to(backend: &status::Backend) -> u64 {
    backend.evidence.as_ref().map_or(0, |evidence| evidence.active)
}

fn closed(backend: &status::Backend) -> u64 {
    backend.closed.values().sum()
}

/// Open connections to a pool.
fn active(status: &Status, pool: &str) -> u64 {
    status.backends().filter(|(of, _)| *of == pool).map(|(_, backend)| open_to(backend)).sum()
}

/// Waits for something, unless a signal comes first.
async fn until<T>(stop: &mut Stop, wanted: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        signal = stop.requested() => {
            Err(Failure { exit: Exit::Refused, line: format!("ended by {signal}") })
        }
        done = wanted => Ok(done),
    }
}
