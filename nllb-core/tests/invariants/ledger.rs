//! What every backend answered and when, kept apart from the machine, to judge what it closes.
//!
//! It looks back over all that happened and shares no code and no counters with the machine. A backend
//! is witness for as long as it is in the pool, and what it said then stays true when it has left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nllb_core::{BackendId, Outcome, SentinelFact, Via};

pub(crate) type Who = (BackendId, u32);

/// All that is known of one backend.
#[derive(Debug, Default)]
struct Page {
    /// Name of its pool, which it keeps for life.
    pool: String,
    /// When something was answered over HTTP or by a ping, while it was in its pool.
    answers: Vec<Instant>,
    /// Connects in a row that nobody answered, since anything showed life.
    silences: Vec<(Instant, Instant)>,
    /// When the ping that is unanswered was sent.
    ping: Option<Instant>,
    /// Closed as dead since it last answered.
    dead: bool,
    /// The last probe over a connection of its own.
    last: Option<(Instant, Outcome)>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pages: BTreeMap<Who, Page>,
    /// Who is in a pool now.
    present: BTreeSet<Who>,
}

impl Ledger {
    /// The backends there are now.
    pub(crate) fn arrange(&mut self, places: impl Iterator<Item = (Who, String)>) {
        self.present.clear();
        for (who, pool) in places {
            self.present.insert(who);
            self.page(who).pool = pool;
        }
    }

    fn page(&mut self, who: Who) -> &mut Page {
        self.pages.entry(who).or_default()
    }

    fn answered(&mut self, who: Who, now: Instant) {
        if self.present.contains(&who) {
            self.page(who).answers.push(now);
        }
    }

    pub(crate) fn probed(
        &mut self,
        who: Who,
        (start, via): (Instant, Via),
        outcome: &Outcome,
        now: Instant,
    ) {
        if matches!(
            outcome,
            Outcome::Ready
                | Outcome::Unauthorized
                | Outcome::NotReady { .. }
                | Outcome::NotServing { .. }
        ) {
            self.answered(who, now);
        }
        let page = self.page(who);
        let silent = matches!(outcome, Outcome::Silent | Outcome::Unreachable);
        let neutral = matches!(outcome, Outcome::Local { .. } | Outcome::Hung);
        if via == Via::Fresh {
            page.last = Some((start, outcome.clone()));
            if silent {
                page.silences.push((start, now));
            } else if !neutral {
                page.silences.clear();
                page.dead = false;
            }
        }
    }

    pub(crate) fn pinged(&mut self, who: Who, now: Instant) {
        let page = self.page(who);
        assert_eq!(page.ping, None, "two pings of {who:?}");
        page.ping = Some(now);
    }

    pub(crate) fn owes_pong(&self, who: Who) -> bool {
        self.pages.get(&who).is_some_and(|page| page.ping.is_some())
    }

    pub(crate) fn opened(&mut self, who: Who) {
        self.page(who).ping = None;
    }

    /// A fact was handed in. `up` says whether the sentinel was open, or being opened.
    pub(crate) fn heard(
        &mut self,
        who: Who,
        fact: &SentinelFact,
        (opening, up): (bool, bool),
        now: Instant,
    ) {
        let page = self.page(who);
        let lives = match fact {
            SentinelFact::Up { .. } => opening || up,
            SentinelFact::Pong { .. } => page.ping.is_some() && up,
            SentinelFact::Failed { .. } | SentinelFact::NoHttp2 | SentinelFact::Tcp(_) => false,
            SentinelFact::GoAway
            | SentinelFact::Closed
            | SentinelFact::Reset
            | SentinelFact::Lost => {
                page.ping = None;
                false
            }
        };
        if lives {
            page.ping = None;
            page.silences.clear();
            page.dead = false;
            self.answered(who, now);
        }
    }

    /// Connections to a backend were closed because it is dead.
    pub(crate) fn buried(&mut self, who: Who, now: Instant) {
        let page = &self.pages[&who];
        let witnessed = |from: Instant, to: Instant| {
            let others = self.pages.iter().filter(|(other, _)| **other != who);
            let others = others.filter(|(_, other)| other.pool == page.pool);
            let mut answers = others.flat_map(|(_, other)| &other.answers);
            answers.any(|at| *at >= from && *at <= to)
        };
        let tail = page.silences.iter().rev().take(3);
        let all_seen = tail.clone().all(|(start, end)| witnessed(*start, *end));
        let first = tail.clone().next_back().map(|(start, _)| *start);
        let long = first.is_some_and(|first| {
            let all = page.silences.first().expect("some").0;
            now.duration_since(first.min(all)) >= Duration::from_millis(500)
        });
        let silent = tail.count() == 3 && all_seen && long;
        let frozen = page.ping.is_some_and(|sent| {
            let unanswered = page.answers.iter().all(|at| *at <= sent);
            let waited = now.duration_since(sent) >= Duration::from_secs(1);
            unanswered && waited && witnessed(sent, now)
        });
        let still =
            page.dead && page.last.as_ref().is_some_and(|(start, _)| witnessed(*start, now));
        assert!(silent || frozen || still, "closed without a death: {who:?} {page:?}");
        self.page(who).dead = true;
    }
}
