//! The servers of a story, and what of their answers is still on its way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nllb_core::{
    Answer, BackendId, CertificateFacts, Outcome, ProbeReport, Question, SentinelFact, TcpState,
    Via,
};

use crate::script::{Line, Server};

/// A backend with the epoch of its id.
pub(crate) type Who = (BackendId, u32);

/// Round trip of everything in a story.
const RTT: Duration = Duration::from_millis(1);

/// Something that the machine will be told.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Probe(ProbeReport),
    Sentinel(SentinelFact),
    Answer(Answer),
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    servers: BTreeMap<SocketAddr, Server>,
    certificates: BTreeMap<SocketAddr, Arc<CertificateFacts>>,
    /// By the time of arrival and a number.
    under_way: BTreeMap<(Instant, usize), (Who, News)>,
    number: usize,
    /// Sentinels that are open.
    open: BTreeMap<SocketAddr, Who>,
    /// Pings without an answer.
    pings: BTreeMap<SocketAddr, (Who, Instant)>,
}

/// What a server does with what comes over an open sentinel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answers,
    /// Its kernel acknowledges.
    Frozen,
    Silent,
}

fn manner(server: &Server) -> Manner {
    let silent = matches!(server.outcome, Outcome::Silent | Outcome::Unreachable);
    if server.pongs {
        Manner::Answers
    } else if server.outcome == Outcome::Hung {
        Manner::Frozen
    } else if silent {
        Manner::Silent
    } else {
        Manner::Answers
    }
}

/// What comes of a probe over an open sentinel.
fn kept(server: &Server) -> (Outcome, Duration) {
    match (manner(server), &server.outcome) {
        (Manner::Frozen | Manner::Silent, _) => (Outcome::Slow, Duration::from_secs(2)),
        (Manner::Answers, outcome) if outcome.is_answer() || *outcome == Outcome::Slow => {
            (outcome.clone(), server.takes)
        }
        (Manner::Answers, Outcome::Local { .. }) => (server.outcome.clone(), server.takes),
        // A server that ends says so over the connections it has.
        (Manner::Answers, Outcome::Refused) => (Outcome::NotReady { status: 500 }, RTT),
        (Manner::Answers, _) => (Outcome::Ready, RTT),
    }
}

impl Network {
    pub(crate) fn set(&mut self, addr: SocketAddr, server: &Server, now: Instant) {
        if let Some(names) = server.names.clone() {
            let facts = CertificateFacts {
                names,
                not_before: 0,
                not_after: server.expires,
                chain_not_after: None,
                issuer: String::from("kubernetes"),
                subject: String::from("kube-apiserver"),
            };
            self.certificates.insert(addr, Arc::new(facts));
        }
        let before = self.servers.insert(addr, server.clone());
        let over = server.outcome == Outcome::Refused && !server.pongs;
        if let Some(who) = over.then(|| self.open.remove(&addr)).flatten() {
            // The process has ended, and its kernel closed what it left.
            self.pings.remove(&addr);
            self.arrive(now + RTT, who, News::Sentinel(SentinelFact::Closed));
        }
        let answers = manner(server) == Manner::Answers;
        if let Some((who, sent)) = self.pings.remove(&addr).filter(|_| answers) {
            // TCP sends again what was not acknowledged, and waits longer each time.
            let silent = before.is_some_and(|before| manner(&before) == Manner::Silent);
            let wait = if silent { server.retransmit } else { RTT };
            let fact = SentinelFact::Pong { rtt: now.duration_since(sent) + wait };
            self.arrive(now + wait, who, News::Sentinel(fact));
        }
    }

    /// A new agent knows nothing of what the last one asked.
    pub(crate) fn forget(&mut self) {
        self.under_way.clear();
        self.pings.clear();
        self.open.clear();
    }

    /// The sentinel of a server has ended.
    pub(crate) fn ended(&mut self, addr: SocketAddr) {
        self.open.remove(&addr);
        self.pings.remove(&addr);
    }

    /// When the next thing arrives.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// What has arrived.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Who, News)> {
        let entry = self.under_way.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    /// Starts a probe, in place of one that is under way.
    pub(crate) fn probe(
        &mut self,
        who: Who,
        addr: SocketAddr,
        (via, connect_timeout): (Via, Option<Duration>),
        (start, now): (Instant, Instant),
    ) {
        self.under_way.retain(|_, (of, news)| *of != who || !matches!(news, News::Probe(_)));
        let server = self.server(addr);
        let (outcome, takes) = match via {
            Via::Fresh if server.outcome == Outcome::Silent => {
                (server.outcome, connect_timeout.map_or(server.takes, |at| at.min(server.takes)))
            }
            Via::Fresh => (server.outcome, server.takes),
            Via::Sentinel => kept(&server),
        };
        let ends = now + takes;
        let connected = outcome.is_answer() || outcome == Outcome::Slow;
        let shown = connected && via == Via::Fresh;
        let report = ProbeReport {
            outcome,
            rtt: shown.then_some(RTT),
            latency: takes,
            certificate: self.certificates.get(&addr).filter(|_| shown).cloned(),
            unix_time: i64::try_from(ends.duration_since(start).as_secs()).expect("short"),
        };
        self.arrive(ends, who, News::Probe(report));
    }

    pub(crate) fn open(&mut self, who: Who, addr: SocketAddr, start: Instant, now: Instant) {
        let server = self.server(addr);
        let (after, fact) = if server.http1 {
            (RTT, SentinelFact::NoHttp2)
        } else if server.outcome.is_answer() || server.outcome == Outcome::Slow || server.pongs {
            let certificate = self.certificates.get(&addr).cloned();
            let unix_time = i64::try_from(now.duration_since(start).as_secs()).expect("short");
            self.open.insert(addr, who);
            (RTT, SentinelFact::Up { rtt: RTT, certificate, unix_time })
        } else {
            (server.takes, SentinelFact::Failed { outcome: server.outcome })
        };
        self.arrive(now + after, who, News::Sentinel(fact));
    }

    pub(crate) fn ping(&mut self, who: Who, addr: SocketAddr, now: Instant) {
        if manner(&self.server(addr)) == Manner::Answers {
            self.arrive(now + RTT, who, News::Sentinel(SentinelFact::Pong { rtt: RTT }));
        } else {
            self.pings.insert(addr, (who, now));
        }
    }

    pub(crate) fn inspect(&mut self, who: Who, addr: SocketAddr, now: Instant) -> TcpState {
        let state = match manner(&self.server(addr)) {
            Manner::Answers | Manner::Frozen => TcpState::Acknowledged,
            Manner::Silent => TcpState::Silent,
        };
        self.arrive(now, who, News::Sentinel(SentinelFact::Tcp(state)));
        state
    }

    pub(crate) fn ask(&mut self, who: Who, addr: SocketAddr, question: Question, now: Instant) {
        let server = self.server(addr);
        let answer = match question {
            Question::Version => server.version.map(Answer::Version),
            Question::Nodes => server.nodes.map(Answer::Nodes),
            Question::Kubelet => None,
        };
        if let Some(answer) = answer {
            self.arrive(now + RTT, who, News::Answer(answer));
        }
    }

    fn server(&self, addr: SocketAddr) -> Server {
        self.servers.get(&addr).expect("a server at the address").clone()
    }

    fn arrive(&mut self, at: Instant, who: Who, news: News) {
        self.number += 1;
        self.under_way.insert((at, self.number), (who, news));
    }
}

/// The way in which a sentinel ends.
pub(crate) fn ending(line: &Line<'_>) -> SentinelFact {
    match line.words[2] {
        "goaway" => SentinelFact::GoAway,
        "closed" => SentinelFact::Closed,
        "reset" => SentinelFact::Reset,
        "lost" => SentinelFact::Lost,
        other => panic!("no end of a sentinel: {other}"),
    }
}
