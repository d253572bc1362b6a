//! When the frontends of a new data path begin to lead somewhere.
//!
//! An agent that starts without maps knows nobody's health, and among unknown backends the kernel draws. A
//! connect that is led to a dead host then costs its client more than a second: no round trip is known yet, so
//! its SYN has the usual first timeout. The first answer to a probe is there after some milliseconds. So each
//! frontend waits for a backend in service, but not for long: when nobody answers, that may be the probe's fault.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use nllb_common::maps::Frontend;

use crate::table::Table;

/// How long frontends wait: a probe's round trips on a far network. What comes on top of it before anybody is
/// served should stay below a second.
const PATIENCE: Duration = Duration::from_millis(500);

/// Holds frontends back at first.
#[derive(Clone, Copy, Debug)]
pub struct Onset {
    /// Until when; `None` from when on all of them lead somewhere, or may lead nowhere.
    until: Option<Instant>,
}

impl Onset {
    /// Of maps that hold this: when they have frontends, an earlier agent knew the backends.
    #[must_use]
    pub fn new(maps: &Table, now: Instant) -> Self {
        Self { until: maps.frontends.is_empty().then(|| now + PATIENCE) }
    }

    /// When to look again at the latest; `None` when nothing is held back any more.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.until
    }

    /// What the maps should hold now. A frontend that they hold stays.
    pub fn limit<'a>(&mut self, desired: &'a Table, maps: &Table, now: Instant) -> Cow<'a, Table> {
        if self.until.is_none_or(|until| now >= until) {
            self.until = None;
            return Cow::Borrowed(desired);
        }
        let mut limited = desired.clone();
        limited.frontends.retain(|key, frontend| {
            maps.frontends.contains_key(key) || desired.is_served(*frontend)
        });
        if limited.frontends.len() == desired.frontends.len() && !desired.frontends.is_empty() {
            self.until = None;
        }
        Cow::Owned(limited)
    }
}

impl Table {
    /// Whether a backend in service is behind a frontend.
    fn is_served(&self, frontend: Frontend) -> bool {
        let slots =
            self.pools.get(&u32::from(frontend.pool)).into_iter().flat_map(|set| set.iter());
        let mut verdicts = slots.filter_map(|slot| self.verdicts.get(&slot.backend));
        verdicts.any(|verdict| verdict.state().is_eligible())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nllb_common::addr::split;
    use nllb_common::maps::{FrontendKey, NO_HOME, PoolSet, Scope, Slot, State, Verdict};

    const MS: Duration = Duration::from_millis(1);

    /// A table with a frontend for each of these states, whose only backend has it.
    fn table(states: &[State]) -> Table {
        let mut table = Table::default();
        for (id, state) in (1u16..).zip(states) {
            let (addr, port) = split(([10, 0, 0, 1], id).into());
            let frontend = Frontend { id, pool: id, home: NO_HOME, flags: 0 };
            table.frontends.insert(FrontendKey::tcp(addr, port, Scope::Host), frontend);
            let slot = Slot::new(addr, port, id.into(), 7);
            table.pools.insert(id.into(), PoolSet::new(&[slot]).expect("room"));
            table.verdicts.insert(id.into(), Verdict::new(*state, 0, 1, 7));
        }
        table
    }

    #[test]
    fn a_frontend_waits_for_a_backend_in_service() {
        for (state, served) in
            State::ALL.map(|state| (state, matches!(state.label(), "healthy" | "degraded")))
        {
            let start = Instant::now();
            let mut onset = Onset::new(&Table::default(), start);
            let desired = table(&[state]);
            let limited = onset.limit(&desired, &Table::default(), start).into_owned();
            assert_eq!(limited.frontends.len(), usize::from(served), "{state:?}");
            assert_eq!((limited.pools, limited.verdicts), (desired.pools, desired.verdicts));
            assert_eq!(onset.due().is_none(), served);
        }
    }

    #[test]
    fn it_does_not_wait_for_others_and_what_serves_once_stays() {
        let start = Instant::now();
        let mut onset = Onset::new(&Table::default(), start);
        let first = table(&[State::Healthy, State::Unknown]);
        let maps = onset.limit(&first, &Table::default(), start).into_owned();
        assert_eq!(maps.frontends.len(), 1);
        let second = table(&[State::Unhealthy, State::Unknown]);
        let maps = onset.limit(&second, &maps, start + MS).into_owned();
        assert_eq!(maps.frontends.len(), 1);
        assert_eq!(onset.due(), Some(start + PATIENCE));
    }

    #[test]
    fn nobody_waits_for_long_nor_a_second_time() {
        let start = Instant::now();
        let mut onset = Onset::new(&Table::default(), start);
        let desired = table(&[State::Unknown, State::Unhealthy]);
        let late = onset.limit(&desired, &Table::default(), start + PATIENCE);
        assert_eq!(*late, desired);
        assert_eq!(onset.due(), None);
        assert_eq!(*onset.limit(&desired, &Table::default(), start), desired);
    }

    #[test]
    fn frontends_that_sources_still_have_to_tell_are_waited_for() {
        let start = Instant::now();
        let mut onset = Onset::new(&Table::default(), start);
        onset.limit(&Table::default(), &Table::default(), start);
        assert_eq!(onset.due(), Some(start + PATIENCE));
    }

    #[test]
    fn maps_of_an_earlier_agent_go_on() {
        let start = Instant::now();
        let desired = table(&[State::Unknown]);
        let mut onset = Onset::new(&desired, start);
        assert_eq!(onset.due(), None);
        assert_eq!(*onset.limit(&desired, &Table::default(), start), desired);
    }
}
