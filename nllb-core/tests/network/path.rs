//! The way to one server and the server at its end, in virtual time: what is lost and what is late is
//! drawn from a seed.

use std::time::{Duration, Instant};

/// Draws (S. Vigna's `SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether something happens that happens so many times in ten thousand.
    fn happens(&mut self, per_ten_thousand: u64) -> bool {
        self.next() % 10_000 < per_ten_thousand
    }

    fn part_of(&mut self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).expect("short");
        Duration::from_micros(if micros == 0 { 0 } else { self.next() % micros })
    }
}

/// A stretch of time.
pub(crate) type Span = (Instant, Instant);

/// The way to a server, and its fate.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) rtt: Duration,
    /// What a packet may take longer, at random.
    pub(crate) jitter: Duration,
    /// Packets lost in ten thousand.
    pub(crate) loss: u64,
    /// When no packet gets through.
    pub(crate) silent: Vec<Span>,
    /// When the process does not run. Its kernel does.
    pub(crate) frozen: Vec<Span>,
    /// When nobody listens: the process is gone.
    pub(crate) gone: Vec<Span>,
}

impl Path {
    pub(crate) const fn new(rtt: Duration) -> Self {
        Self {
            rtt,
            jitter: Duration::ZERO,
            loss: 0,
            silent: Vec::new(),
            frozen: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// When a packet sent at `at` arrives at the other end.
    pub(crate) fn deliver(&self, at: Instant, dice: &mut Dice) -> Option<Instant> {
        let lost = dice.happens(self.loss);
        let arrives = at + self.rtt / 2 + dice.part_of(self.jitter);
        (!lost && !within(&self.silent, at) && !within(&self.silent, arrives)).then_some(arrives)
    }

    /// When the process gets to work that came at `at`.
    pub(crate) fn served(&self, at: Instant) -> Instant {
        let frozen = self.frozen.iter().find(|(from, to)| (*from..*to).contains(&at));
        frozen.map_or(at, |(_, to)| *to)
    }

    pub(crate) fn is_gone(&self, at: Instant) -> bool {
        within(&self.gone, at)
    }
}

fn within(spans: &[Span], at: Instant) -> bool {
    spans.iter().any(|(from, to)| (*from..*to).contains(&at))
}
