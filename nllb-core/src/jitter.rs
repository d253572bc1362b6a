//! The spread of waits.
//!
//! Nodes that saw the same thing happen would ask after it in step for ever. The spread is drawn from a
//! seed, so a test sees the same times in every run.

use std::time::Duration;

use nllb_common::mix;

/// A sequence of draws.
#[derive(Clone, Copy, Debug)]
pub struct Jitter {
    seed: u32,
    draws: u32,
}

impl Jitter {
    /// The draws that follow from `seed`.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        Self { seed, draws: 0 }
    }

    /// `wait`, at most half the share `width` shorter or longer.
    pub fn around(&mut self, wait: Duration, width: f64) -> Duration {
        let width = if width.is_finite() { width.clamp(0.0, 1.0) } else { 0.0 };
        wait.mul_f64(1.0 + width * (self.draw() - 0.5))
    }

    /// Some part of `wait`.
    pub fn within(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(self.draw())
    }

    /// From 0 to 1.
    fn draw(&mut self) -> f64 {
        // The golden ratio's fraction keeps the draws of neighbouring seeds apart (Knuth, TAOCP 6.4).
        let draw = mix(self.seed.wrapping_add(self.draws.wrapping_mul(0x9e37_79b9)));
        self.draws = self.draws.wrapping_add(1);
        f64::from(draw) / f64::from(u32::MAX)
    }
}
