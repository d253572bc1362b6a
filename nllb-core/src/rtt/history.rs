//! Round trips of the last hour, for a reader who wants to see how it was.
//!
//! A ring of slots of ten seconds: fine enough to show a failover, long enough to show what came before it,
//! and 12 bytes each, so that an hour takes at most 6 KiB per backend. It grows as it fills, so that a
//! young agent pays for what it has. Nothing ticks: a sample says when it was taken, and gaps are found by
//! whoever reads.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Length of a slot.
pub const RTT_SLOT: Duration = Duration::from_secs(10);
/// How many slots are kept.
pub const RTT_SLOTS: usize = 360;

/// Round trips of ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttSlot {
    /// The shortest, in microseconds: what the network takes.
    pub best_us: u32,
    /// The smoothed one after the last of them, in microseconds: what is usual.
    pub smoothed_us: u32,
}

/// The slots of a backend.
#[derive(Clone, Debug, Default)]
pub struct RttHistory {
    /// When the first slot of all began.
    origin: Option<Instant>,
    /// Slots with samples and their numbers since then, in order.
    slots: VecDeque<(u32, RttSlot)>,
}

impl RttHistory {
    /// Takes one round trip, and what is usual after it.
    pub(crate) fn observe(&mut self, sample: Duration, smoothed: Duration, now: Instant) {
        let number = number(*self.origin.get_or_insert(now), now);
        let (sample, smoothed_us) = (micros(sample), micros(smoothed));
        match self.slots.back_mut() {
            // A sample from before the newest slot, if a clock ever gave one, belongs to it as well.
            Some((newest, slot)) if *newest >= number => {
                slot.best_us = slot.best_us.min(sample);
                slot.smoothed_us = smoothed_us;
            }
            Some(_) | None => {
                if self.slots.len() == RTT_SLOTS {
                    self.slots.pop_front();
                }
                self.slots.push_back((number, RttSlot { best_us: sample, smoothed_us }));
            }
        }
    }

    /// The slots up to now, the oldest first and at most [`RTT_SLOTS`]; `None` where there was no round
    /// trip. The last one is not over yet.
    #[must_use]
    pub fn until(&self, now: Instant) -> Vec<Option<RttSlot>> {
        let Some(origin) = self.origin else { return Vec::new() };
        let last = number(origin, now);
        let kept = u32::try_from(RTT_SLOTS).unwrap_or(u32::MAX);
        let first = (last + 1).saturating_sub(kept);
        let mut slots = self.slots.iter().skip_while(|(number, _)| *number < first).peekable();
        (first..=last)
            .map(|number| slots.next_if(|(held, _)| *held == number).map(|(_, slot)| *slot))
            .collect()
    }
}

/// Which slot since `origin` a moment is in.
fn number(origin: Instant, at: Instant) -> u32 {
    let age = at.saturating_duration_since(origin).as_secs() / RTT_SLOT.as_secs();
    u32::try_from(age).unwrap_or(u32::MAX - 1)
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: fn(u64) -> Duration = Duration::from_micros;

    fn slot(best_us: u32, smoothed_us: u32) -> Option<RttSlot> {
        Some(RttSlot { best_us, smoothed_us })
    }

    #[test]
    fn nothing_is_shown_before_the_first_round_trip() {
        assert_eq!(RttHistory::default().until(Instant::now()), []);
    }

    #[test]
    fn a_slot_holds_the_shortest_and_what_is_usual_in_the_end() {
        let (mut history, start) = (RttHistory::default(), Instant::now());
        history.observe(US(500), US(500), start);
        history.observe(US(400), US(490), start + RTT_SLOT / 2);
        history.observe(US(900), US(540), start + RTT_SLOT - US(1));
        history.observe(US(700), US(560), start + RTT_SLOT);
        assert_eq!(history.until(start + RTT_SLOT), [slot(400, 540), slot(700, 560)]);
    }

    #[test]
    fn silence_is_a_gap_and_not_a_number() {
        let (mut history, start) = (RttHistory::default(), Instant::now());
        history.observe(US(500), US(500), start);
        history.observe(US(600), US(510), start + 3 * RTT_SLOT);
        let shown = history.until(start + 4 * RTT_SLOT);
        assert_eq!(shown, [slot(500, 500), None, None, slot(600, 510), None]);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (mut history, start) = (RttHistory::default(), Instant::now());
        let at = |slot: u32| start + RTT_SLOT * slot;
        let slots = u32::try_from(RTT_SLOTS).expect("a small number");
        for number in 0..2 * slots {
            history.observe(US(u64::from(number)), US(7), at(number));
        }
        let shown = history.until(at(2 * slots - 1));
        assert_eq!(shown.len(), RTT_SLOTS);
        assert_eq!((shown[0], shown[RTT_SLOTS - 1]), (slot(slots, 7), slot(2 * slots - 1, 7)));
        let later = history.until(at(2 * slots + 9));
        assert_eq!((later[0], &later[RTT_SLOTS - 10..]), (slot(slots + 10, 7), &[None; 10][..]));
        assert_eq!(history.until(at(10 * slots)), vec![None; RTT_SLOTS]);
        let bytes = history.slots.capacity() * size_of::<(u32, RttSlot)>();
        assert!(bytes <= 6 << 10, "{bytes}");
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_loses_nothing() {
        let (mut history, start) = (RttHistory::default(), Instant::now());
        history.observe(US(500), US(500), start + RTT_SLOT);
        history.observe(US(300), US(480), start);
        assert_eq!(history.until(start), [slot(300, 480)]);
    }
}
