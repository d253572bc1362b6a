//! The sentinels: at most one per backend, opened when the machine says so, and what is heard of them.
//!
//! Opening and asking are tasks of their own; what an open sentinel has to tell is taken from it directly.
//! Each order to open is answered exactly once, even when its task dies.

use std::collections::HashMap;
use std::future;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nllb_core::{
    Answer, BackendId, Outcome, ProbeReport, Question, SentinelFact, TcpState, retry_wait,
};
use tokio::task::{self, AbortHandle, JoinSet};
use tracing::{debug, error};

use super::probes::Who;
use crate::datapath::maps::Sockets;
use crate::probe::{OpenError, Opened, Prober, Sentinel};

/// What is heard of sentinels.
#[derive(Debug)]
pub(super) enum News {
    /// A fact.
    Fact(SentinelFact),
    /// The answer to a question.
    Answer(Answer),
}

/// A backend's sentinel, and what it takes to open another.
#[derive(Debug)]
struct Held {
    sentinel: Sentinel,
    addr: SocketAddr,
    pool: usize,
    /// It is not opened anew before.
    not_before: Instant,
    /// Attempts in a row to open it anew that failed.
    failures: u32,
}

impl Held {
    fn renewal_failed(&mut self, who: Who, now: Instant) {
        let (BackendId(id), epoch) = who;
        let wait = retry_wait(self.failures);
        self.failures = self.failures.saturating_add(1);
        // Up to half more, since all nodes may have got the same credentials at the same time.
        let draw =
            nllb_common::mix(std::process::id() ^ id.rotate_left(16) ^ epoch ^ self.failures);
        self.not_before = now + wait.mul_f64(1.0 + f64::from(draw) / f64::from(u32::MAX) / 2.0);
    }
}

/// What a task found.
enum Found {
    Opened(Box<Result<(Held, Opened), OpenError>>),
    Answer(Option<Answer>),
}

/// The sentinels.
#[derive(Debug)]
pub(super) struct Sentinels {
    sockets: Rc<Sockets>,
    node_name: String,
    held: HashMap<Who, Held>,
    tasks: JoinSet<Found>,
    who: HashMap<task::Id, Who>,
    /// The task that opens the sentinel of each backend.
    opening: HashMap<Who, AbortHandle>,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Opened(opened) => write!(f, "Opened({})", opened.is_ok()),
            Self::Answer(answer) => f.debug_tuple("Answer").field(answer).finish(),
        }
    }
}

impl Sentinels {
    pub(super) fn new(sockets: Rc<Sockets>) -> Self {
        Self {
            sockets,
            node_name: String::new(),
            held: HashMap::new(),
            tasks: JoinSet::new(),
            who: HashMap::new(),
            opening: HashMap::new(),
        }
    }

    /// The name under which the API knows this node.
    pub(super) fn set_node_name(&mut self, name: String) {
        self.node_name = name;
    }

    /// Opens a sentinel; one that is there is given up.
    pub(super) fn open(
        &mut self,
        who: Who,
        addr: SocketAddr,
        (pool, prober): (usize, Option<Rc<Prober>>),
        connect_timeout: Option<Duration>,
    ) {
        self.held.remove(&who);
        self.begin(who, addr, (pool, prober), connect_timeout);
    }

    fn begin(
        &mut self,
        who: Who,
        addr: SocketAddr,
        (pool, prober): (usize, Option<Rc<Prober>>),
        connect_timeout: Option<Duration>,
    ) {
        let (BackendId(id), epoch) = who;
        let sockets = Rc::clone(&self.sockets);
        let task = self.tasks.spawn_local(async move {
            let opened = match prober {
                Some(prober) => {
                    let exempt = |socket: BorrowedFd<'_>| Ok(sockets.bypass(&socket, id, epoch)?);
                    prober.open(addr, connect_timeout, exempt).await
                }
                None => Err(gone()),
            };
            let held = |(sentinel, opened)| {
                let not_before = Instant::now();
                (Held { sentinel, addr, pool, not_before, failures: 0 }, opened)
            };
            Found::Opened(Box::new(opened.map(held)))
        });
        self.who.insert(task.id(), who);
        if let Some(before) = self.opening.insert(who, task) {
            self.abandon(&before);
        }
    }

    fn abandon(&mut self, task: &AbortHandle) {
        self.who.remove(&task.id());
        task.abort();
    }

    /// Opens those anew that would be opened otherwise now: new settings, or other certificates in the
    /// files. Until that is done the old ones go on.
    pub(super) fn renew(&mut self, prober: impl Fn(usize) -> Option<Rc<Prober>>) {
        let now = Instant::now();
        let outdated = self.held.iter().filter_map(|(who, held)| {
            let Held { sentinel, addr, pool, not_before, failures: _ } = held;
            let prober = prober(*pool).filter(|_| *not_before <= now)?;
            let outdated = !sentinel.is_current(&prober) && !self.opening.contains_key(who);
            outdated.then_some((*who, *addr, *pool, prober))
        });
        for (who, addr, pool, prober) in outdated.collect::<Vec<_>>() {
            debug!(backend = %addr, "credentials changed, the sentinel is opened anew");
            self.begin(who, addr, (pool, Some(prober)), None);
        }
    }

    /// Sends a ping.
    pub(super) fn ping(&self, who: Who) {
        if let Some(held) = self.held.get(&who) {
            held.sentinel.ping();
        }
    }

    /// What TCP says; silent when there is no connection any more.
    pub(super) fn tcp(&self, who: Who) -> TcpState {
        self.held.get(&who).map_or(TcpState::Silent, |held| held.sentinel.tcp())
    }

    /// A probe over the sentinel, if there is one.
    pub(super) fn probe(&self, who: Who) -> Option<impl Future<Output = ProbeReport> + use<>> {
        self.held.get(&who).map(|held| held.sentinel.probe())
    }

    /// Asks something.
    pub(super) fn ask(&mut self, who: Who, question: Question) {
        let Some(held) = self.held.get(&who) else {
            return;
        };
        let answer = held.sentinel.ask(question, &self.node_name);
        let task = self.tasks.spawn_local(async move { Found::Answer(answer.await) });
        self.who.insert(task.id(), who);
    }

    /// What is heard next; waits for ever while there is nothing to hear. Safe to cancel.
    pub(super) async fn next(&mut self) -> (Who, News) {
        future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Who, News)> {
        if let Some(heard) = self.poll_facts(cx) {
            return Poll::Ready(heard);
        }
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next_with_id(cx) {
            let (id, found) = match ended {
                Ok((id, found)) => (id, Some(found)),
                Err(error) if error.is_cancelled() => continue,
                Err(error) => {
                    error!(%error, "a task of a sentinel died");
                    (error.id(), None)
                }
            };
            if let Some(who) = self.who.remove(&id) {
                if let Some(news) = self.take(who, id, found) {
                    return Poll::Ready((who, news));
                }
            }
        }
        Poll::Pending
    }

    fn poll_facts(&mut self, cx: &mut Context<'_>) -> Option<(Who, News)> {
        let facts =
            self.held.iter_mut().find_map(|(who, held)| match held.sentinel.poll_next(cx) {
                Poll::Ready(fact) => Some((*who, fact)),
                Poll::Pending => None,
            });
        let (who, fact) = facts?;
        if !matches!(fact, SentinelFact::Pong { .. }) {
            // Whatever else it tells is its end.
            self.held.remove(&who);
        }
        Some((who, News::Fact(fact)))
    }

    /// Takes what a task found.
    fn take(&mut self, who: Who, task: task::Id, found: Option<Found>) -> Option<News> {
        let opening = self.opening.get(&who).is_some_and(|opening| opening.id() == task);
        if opening {
            self.opening.remove(&who);
        }
        let fact = match found {
            Some(Found::Answer(answer)) => return answer.map(News::Answer),
            Some(Found::Opened(opened)) => match *opened {
                Ok((held, Opened { rtt, certificate, unix_time })) => {
                    self.held.insert(who, held);
                    SentinelFact::Up { rtt, certificate, unix_time }
                }
                Err(error) => {
                    if let Some(held) = self.held.get_mut(&who) {
                        // One that could not be renewed goes on as it is.
                        debug!(backend = %held.addr, %error, "the sentinel cannot be opened anew");
                        held.renewal_failed(who, Instant::now());
                        return None;
                    }
                    match error {
                        OpenError::NoHttp2 => SentinelFact::NoHttp2,
                        OpenError::Failed(outcome) => SentinelFact::Failed { outcome },
                    }
                }
            },
            None if opening => {
                let reason = "its task died".to_owned();
                SentinelFact::Failed { outcome: Outcome::Local { reason } }
            }
            None => return None,
        };
        Some(News::Fact(fact))
    }

    /// Drops those of backends that are not named, or should have none. `wanted` tells the index of each
    /// one's pool, which may be another now.
    pub(super) fn retain(&mut self, wanted: &HashMap<Who, usize>) {
        self.held.retain(|who, held| match wanted.get(who) {
            Some(pool) => {
                held.pool = *pool;
                true
            }
            None => false,
        });
        let opening: Vec<Who> = self.opening.keys().copied().collect();
        for who in opening.into_iter().filter(|who| !wanted.contains_key(who)) {
            if let Some(task) = self.opening.remove(&who) {
                self.abandon(&task);
            }
        }
    }
}

fn gone() -> OpenError {
    let reason = "its pool is no longer configured".to_owned();
    OpenError::Failed(Outcome::Local { reason })
}
