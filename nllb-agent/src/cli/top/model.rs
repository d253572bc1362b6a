//! What is known at the moment: the last document, what changed since the one before, and the transitions
//! that were seen or that the first document tells of.

use crate::status::{Backend, History, Status};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// More transitions than any screen shows.
const TRANSITIONS: usize = 100;

/// What the agent answered.
pub(super) struct News {
    /// When it was asked.
    pub(super) at: Instant,
    /// The document, or why there is none.
    pub(super) status: Result<Status, String>,
    /// The round trips of the last hour, when it was time for them.
    pub(super) history: Option<History>,
}

/// Everything that is drawn.
#[derive(Default)]
pub(super) struct Model {
    last: Option<Last>,
    history: History,
    /// The newest first.
    transitions: VecDeque<Transition>,
    selected: usize,
    /// When it was asked last, and why nobody answered then.
    asked: Option<Instant>,
    absence: Option<String>,
}

/// The last document.
struct Last {
    at: Instant,
    status: Status,
    rates: Option<Rates>,
}

/// Per second, since the document before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    counters: BTreeMap<String, f64>,
    /// Connections established, by id and epoch of the backend.
    established: BTreeMap<(u32, u32), f64>,
}

/// A backend got another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) at: Instant,
    pub(super) address: SocketAddr,
    /// `None` for one from before the first document.
    pub(super) from: Option<String>,
    pub(super) to: String,
    pub(super) reason: String,
}

impl Model {
    /// Takes an answer, or that there was none.
    pub(super) fn hear(&mut self, News { at, status, history }: News) {
        self.asked = Some(at);
        if let Some(history) = history {
            self.history = history;
        }
        match status {
            Ok(status) => {
                self.absence = None;
                self.note_transitions(&status, at);
                let rates =
                    self.last.as_ref().and_then(|before| Rates::between(before, &status, at));
                self.last = Some(Last { at, status, rates });
                self.select(0);
            }
            Err(reason) => self.absence = Some(reason),
        }
    }

    /// Goes up or down among the backends.
    pub(super) fn select(&mut self, by: isize) {
        let most = self.status().map_or(0, |status| status.backends().count().saturating_sub(1));
        self.selected = self.selected.saturating_add_signed(by).min(most);
    }

    /// The last document.
    pub(super) fn status(&self) -> Option<&Status> {
        self.last.as_ref().map(|last| &last.status)
    }

    /// The backends of all pools.
    pub(super) fn backends(&self) -> Vec<(&str, &Backend)> {
        self.status().map(|status| status.backends().collect()).unwrap_or_default()
    }

    /// Which of them is selected.
    pub(super) const fn selected(&self) -> usize {
        self.selected
    }

    /// Why nobody answered when asked last, and how old the last document is.
    pub(super) fn absence(&self) -> Option<(&str, Option<Duration>)> {
        let reason = self.absence.as_deref()?;
        Some((reason, self.last.as_ref().and_then(|last| self.age(last.at))))
    }

    /// How long ago a moment is.
    pub(super) fn age(&self, at: Instant) -> Option<Duration> {
        Some(self.asked?.saturating_duration_since(at))
    }

    /// The transitions, the newest first.
    pub(super) const fn transitions(&self) -> &VecDeque<Transition> {
        &self.transitions
    }

    /// Per second and all together, of these counters; `None` while it is not known.
    pub(super) fn rate(&self, labels: &[&str]) -> Option<f64> {
        let rates = self.last.as_ref()?.rates.as_ref()?;
        let counted = labels.iter().filter_map(|label| rates.counters.get(*label));
        // The sum of nothing is a negative zero.
        Some(counted.fold(0.0, |sum, rate| sum + rate))
    }

    /// Connections established with a backend per second.
    pub(super) fn established(&self, backend: &Backend) -> Option<f64> {
        let rates = self.last.as_ref()?.rates.as_ref()?;
        rates.established.get(&(backend.id, backend.epoch)).copied()
    }

    /// The last `count` smoothed round trips in microseconds, a slot each, and at the end the one of the
    /// last document; `None` where there was none.
    pub(super) fn round_trips(
        &self,
        pool: &str,
        backend: &Backend,
        count: usize,
    ) -> Vec<Option<u64>> {
        let known = self.history.backends.iter();
        let mut known =
            known.filter(|known| known.pool == pool && known.address == backend.address);
        let slots = known.next().map(|known| known.smoothed_us.as_slice()).unwrap_or_default();
        let room = count.saturating_sub(1);
        let slots = &slots[slots.len().saturating_sub(room)..];
        let live = backend.rtt_us.filter(|_| backend.state != "unhealthy");
        slots.iter().map(|slot| slot.map(u64::from)).chain([live]).collect()
    }

    fn note_transitions(&mut self, status: &Status, at: Instant) {
        let mut found: Vec<Transition> = status
            .backends()
            .filter(|(_, backend)| backend.transitions > 0)
            .filter_map(|(pool, backend)| self.transition(pool, backend, at))
            .collect();
        found.sort_by_key(|transition| transition.at);
        for transition in found {
            self.transitions.push_front(transition);
        }
        self.transitions.truncate(TRANSITIONS);
    }

    /// The last transition of a backend, where it is news.
    fn transition(&self, pool: &str, backend: &Backend, at: Instant) -> Option<Transition> {
        let mut known = self.backends().into_iter();
        let before = known.find(|(of, old)| *of == pool && old.address == backend.address);
        let before = before.map(|(_, old)| old);
        // One who counts less is a new agent, and what it finds anew is none.
        let is_news = before
            .is_none_or(|old| backend.transitions > old.transitions || backend.state != old.state);
        is_news.then(|| Transition {
            at: at.checked_sub(Duration::from_millis(backend.state_age_ms)).unwrap_or(at),
            address: backend.address,
            from: before.map(|old| old.state.clone()).filter(|from| *from != backend.state),
            to: backend.state.clone(),
            reason: backend.reason.clone(),
        })
    }
}

impl Rates {
    /// `None` between documents of two agents, whose counts have nothing to do with each other.
    fn between(before: &Last, now: &Status, at: Instant) -> Option<Self> {
        let Last { at: since, status: before, rates: _ } = before;
        let seconds = at.saturating_duration_since(*since).as_secs_f64();
        if before.agent.pid != now.agent.pid || seconds <= 0.0 {
            return None;
        }
        let per_second = |now: u64, before: u64| {
            let count = u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
            f64::from(count) / seconds
        };
        let counters = now.counters.iter().map(|(label, count)| {
            let before = before.counters.get(label).copied().unwrap_or_default();
            (label.clone(), per_second(*count, before))
        });
        let established = |status: &Status| -> BTreeMap<(u32, u32), u64> {
            let count = |(_, backend): (&str, &Backend)| {
                Some(((backend.id, backend.epoch), backend.evidence.as_ref()?.established))
            };
            status.backends().filter_map(count).collect()
        };
        let old = established(before);
        let established = established(now)
            .into_iter()
            .map(|(who, count)| (who, per_second(count, old.get(&who).copied().unwrap_or(count))));
        Some(Self { counters: counters.collect(), established: established.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example;

    fn heard(model: &mut Model, status: &Status, at: Instant) {
        model.hear(News { at, status: Ok(status.clone()), history: None });
    }

    #[test]
    fn rates_are_of_one_agent_and_of_the_time_between() {
        let (mut model, start) = (Model::default(), Instant::now());
        let mut status = example::status();
        heard(&mut model, &status, start);
        assert_eq!(model.rate(&["translated"]), None);
        *status.counters.get_mut("translated").expect("counted") += 30;
        status.pools[0].backends[0].evidence.as_mut().expect("evidence").established += 10;
        heard(&mut model, &status, start + Duration::from_secs(2));
        assert_eq!(model.rate(&["translated", "panic", "unheard_of"]), Some(15.0));
        let rates = model.backends().iter().map(|(_, b)| model.established(b)).collect::<Vec<_>>();
        assert_eq!(rates, [Some(5.0), Some(0.0)]);
        status.agent.pid += 1;
        heard(&mut model, &status, start + Duration::from_secs(4));
        assert_eq!(model.rate(&["translated"]), None);
    }

    #[test]
    fn transitions_are_told_once_and_the_newest_first() {
        let (mut model, start) = (Model::default(), Instant::now());
        let start = start + Duration::from_secs(3600);
        let mut status = example::status();
        heard(&mut model, &status, start);
        heard(&mut model, &status, start + Duration::from_secs(1));
        let told: Vec<_> = model.transitions().iter().map(|t| (t.from.clone(), &*t.to)).collect();
        assert_eq!(told, [(None, "unhealthy"), (None, "healthy")]);
        let back = &mut status.pools[0].backends[1];
        back.state = "healthy".to_owned();
        back.reason = "ready".to_owned();
        back.transitions += 1;
        back.state_age_ms = 500;
        heard(&mut model, &status, start + Duration::from_secs(2));
        let newest = model.transitions()[0].clone();
        assert_eq!((newest.from.as_deref(), &*newest.to), (Some("unhealthy"), "healthy"));
        assert_eq!(model.age(newest.at), Some(Duration::from_millis(500)));
        assert_eq!(model.transitions().len(), 3);
    }

    #[test]
    fn an_agent_that_goes_away_leaves_what_it_told_and_its_age() {
        let (mut model, start) = (Model::default(), Instant::now());
        heard(&mut model, &example::status(), start);
        let at = start + Duration::from_secs(12);
        model.hear(News { at, status: Err("nobody answers".to_owned()), history: None });
        assert_eq!(model.absence(), Some(("nobody answers", Some(Duration::from_secs(12)))));
        assert!(model.status().is_some());
        heard(&mut model, &example::status(), start + Duration::from_secs(13));
        assert_eq!(model.absence(), None);
    }

    #[test]
    fn the_selection_stays_among_the_backends() {
        let mut model = Model::default();
        model.select(1);
        assert_eq!(model.selected(), 0);
        let mut status = example::status();
        heard(&mut model, &status, Instant::now());
        model.select(-1);
        assert_eq!(model.selected(), 0);
        model.select(5);
        assert_eq!(model.selected(), 1);
        status.pools[0].backends.truncate(1);
        heard(&mut model, &status, Instant::now());
        assert_eq!(model.selected(), 0);
    }

    #[test]
    fn round_trips_end_with_the_one_of_the_moment_and_a_dead_backend_has_none() {
        let (mut model, at) = (Model::default(), Instant::now());
        let history = Some(example::history());
        model.hear(News { at, status: Ok(example::status()), history });
        let of = |index: usize, count| {
            let (pool, backend) = model.backends()[index];
            model.round_trips(pool, backend, count)
        };
        assert_eq!(of(0, 3), [None, Some(420), Some(415)]);
        assert_eq!(of(0, 1), [Some(415)]);
        assert_eq!(of(1, 2), [None, None]);
    }
}
