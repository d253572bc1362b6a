//! What is known at the moment: the last document, what changed since the one before, and the newest entries of
//! the journal.

use crate::cli::events::Told;
use crate::status::{Backend, History, Status};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// More entries of the journal than most screens show.
pub(super) const ENTRIES: u64 = 100;

/// What the agent answered.
pub(super) struct News {
    /// When it was asked.
    pub(super) at: Instant,
    /// The same in unix milliseconds, as the journal has times.
    pub(super) unix_ms: i64,
    /// The document, or why there is none.
    pub(super) status: Result<Status, String>,
    /// The round trips of the last hour, when it was time for them.
    pub(super) history: Option<History>,
    /// What happened since the last time, the oldest first.
    pub(super) entries: Vec<Told>,
}

/// Everything that is drawn.
#[derive(Default)]
pub(super) struct Model {
    last: Option<Last>,
    history: History,
    /// The newest first.
    entries: VecDeque<Told>,
    selected: usize,
    /// When it was asked last, by both clocks, and why nobody answered then.
    asked: Option<(Instant, i64)>,
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
    /// Packets for the control-plane VIP, by what became of them.
    packets: BTreeMap<String, f64>,
    /// Flows of guests that were translated, of all interfaces.
    guest_flows: f64,
    /// Connections established, by id and epoch of the backend.
    established: BTreeMap<(u32, u32), f64>,
}

impl Model {
    /// Takes an answer, or that there was none.
    pub(super) fn hear(&mut self, News { at, unix_ms, status, history, entries }: News) {
        self.asked = Some((at, unix_ms));
        for entry in entries {
            self.entries.push_front(entry);
        }
        self.entries.truncate(usize::try_from(ENTRIES).unwrap_or(usize::MAX));
        if let Some(history) = history {
            self.history = history;
        }
        match status {
            Ok(status) => {
                self.absence = None;
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
        let last = self.last.as_ref().zip(self.asked);
        Some((reason, last.map(|(last, (now, _))| now.saturating_duration_since(last.at))))
    }

    /// What happened, the newest first, and how long ago.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Duration, &Told)> {
        let now = self.asked.map_or(0, |(_, unix_ms)| unix_ms);
        self.entries.iter().map(move |told| {
            // A clock that was set back makes it the future.
            let ms = u64::try_from(now.saturating_sub(told.time_ms)).unwrap_or_default();
            (Duration::from_millis(ms), told)
        })
    }

    /// Per second and all together, of these counters; `None` while it is not known.
    pub(super) fn rate(&self, labels: &[&str]) -> Option<f64> {
        let rates = self.last.as_ref()?.rates.as_ref()?;
        let counted = labels.iter().filter_map(|label| rates.counters.get(*label));
        // The sum of nothing is a negative zero.
        Some(counted.fold(0.0, |sum, rate| sum + rate))
    }

    /// The same of packets for the control-plane VIP.
    pub(super) fn packets(&self, labels: &[&str]) -> Option<f64> {
        let rates = self.last.as_ref()?.rates.as_ref()?;
        let counted = labels.iter().filter_map(|label| rates.packets.get(*label));
        Some(counted.fold(0.0, |sum, rate| sum + rate))
    }

    /// Flows of guests that were translated per second.
    pub(super) fn guest_flows(&self) -> Option<f64> {
        Some(self.last.as_ref()?.rates.as_ref()?.guest_flows)
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
        let all = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let rate = |(label, count): (&String, &u64)| {
                let before = before.get(label).copied().unwrap_or_default();
                (label.clone(), per_second(*count, before))
            };
            now.iter().map(rate).collect::<BTreeMap<_, _>>()
        };
        let none = BTreeMap::new();
        let packets = |status: &'_ Status| status.vip.as_ref().map(|vip| vip.counters.clone());
        let [packets_now, packets_before] = [now, before].map(packets);
        let flows = |status: &Status| -> BTreeMap<u32, u64> {
            let interfaces = status.sandboxes.iter().flat_map(|it| &it.interfaces);
            interfaces.map(|it| (it.index, it.translated)).collect()
        };
        let old_flows = flows(before);
        let guest_flows = flows(now).into_iter().map(|(index, count)| {
            per_second(count, old_flows.get(&index).copied().unwrap_or_default())
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
        Some(Self {
            counters: all(&now.counters, &before.counters),
            packets: all(
                packets_now.as_ref().unwrap_or(&none),
                packets_before.as_ref().unwrap_or(&none),
            ),
            guest_flows: guest_flows.sum(),
            established: established.collect(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::status::example;

    /// A document, and nothing else.
    pub(in crate::cli::top) fn news(at: Instant, status: &Status) -> News {
        News { at, unix_ms: 0, status: Ok(status.clone()), history: None, entries: Vec::new() }
    }

    fn heard(model: &mut Model, status: &Status, at: Instant) {
        model.hear(news(at, status));
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
    fn entries_have_the_newest_first_and_an_age_by_the_wall_clock_and_are_bounded() {
        let mut model = Model::default();
        let entry = |seq| serde_json::json!({"seq": seq, "timeMs": 1_800_000_000_000_i64 + seq, "what": "eclipse"});
        let entries: Vec<_> = (1..=i64::try_from(ENTRIES).expect("few") + 1)
            .map(|seq| Told::of(&entry(seq)))
            .collect();
        let newest = entries[entries.len() - 1].clone();
        let news = || news(Instant::now(), &example::status());
        model.hear(News { unix_ms: newest.time_ms + 500, entries, ..news() });
        model.hear(News { unix_ms: newest.time_ms - 60_000, ..news() });
        let told: Vec<_> = model.entries().collect();
        assert_eq!(told[0], (Duration::ZERO, &newest), "the clock was set back");
        assert_eq!(told.len() as u64, ENTRIES);
        assert_eq!(told[told.len() - 1].1.seq, 2);
        drop(told);
        model.hear(News { unix_ms: newest.time_ms + 1500, ..news() });
        assert_eq!(model.entries().next(), Some((Duration::from_millis(1500), &newest)));
    }

    #[test]
    fn an_agent_that_goes_away_leaves_what_it_told_and_its_age() {
        let (mut model, start) = (Model::default(), Instant::now());
        heard(&mut model, &example::status(), start);
        let at = start + Duration::from_secs(12);
        model.hear(News {
            status: Err("nobody answers".to_owned()),
            ..news(at, &example::status())
        });
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
        model.hear(News { history, ..news(at, &example::status()) });
        let of = |index: usize, count| {
            let (pool, backend) = model.backends()[index];
            model.round_trips(pool, backend, count)
        };
        assert_eq!(of(0, 3), [None, Some(420), Some(415)]);
        assert_eq!(of(0, 1), [Some(415)]);
        assert_eq!(of(1, 2), [None, None]);
    }
}
