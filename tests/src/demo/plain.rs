//! The demonstration in lines, for logs and pipes.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::ledger::Ledger;

/// Time between two lines when nothing else is to be said.
const PULSE: Duration = Duration::from_secs(1);

/// What has been printed.
pub(super) struct Plain {
    told: usize,
    pulse: Option<Instant>,
}

impl Plain {
    /// Prints nothing that is in the ledger already when `told` says so.
    pub(super) const fn new(told: usize) -> Self {
        Self { told, pulse: None }
    }

    /// Prints what is new, and now and then how things are.
    pub(super) fn draw(&mut self, ledger: &Ledger, now: Instant) {
        self.news(ledger);
        if self.pulse.is_none_or(|last| now - last >= PULSE) {
            self.pulse = Some(now);
            print(&line(now - ledger.started, &state(ledger)));
        }
    }

    /// Prints what is new.
    pub(super) fn news(&mut self, ledger: &Ledger) {
        for (at, news) in &ledger.news[self.told..] {
            print(&line(*at, &format!("* {news}")));
        }
        self.told = ledger.news.len();
    }
}

/// Prints a line. Nobody reads it when standard output is closed; the cleaning up goes on.
pub(super) fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn line(at: Duration, text: &str) -> String {
    format!("{:7.2} s  {text}", at.as_secs_f64())
}

/// How things are, in one line.
pub(super) fn state(ledger: &Ledger) -> String {
    let mut text = format!("{:>6} connects/s, {} failed", ledger.per_second(), ledger.failed);
    for backend in &ledger.backends {
        text += &format!("  {} {}", backend.name, backend.state);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Health;
    use super::*;

    #[test]
    fn a_line_has_the_time_the_pace_and_every_backend() {
        let start = Instant::now();
        let mut ledger = Ledger::new(start);
        let health = |name: &str, state: &str| Health {
            name: name.to_owned(),
            address: String::new(),
            state: state.to_owned(),
            since: start,
            reason: String::new(),
        };
        ledger.failed = 2;
        ledger.look(start, vec![health("cp0", "unhealthy"), health("cp1", "healthy")]);
        assert_eq!(
            line(Duration::from_millis(3250), &state(&ledger)),
            "   3.25 s       0 connects/s, 2 failed  cp0 unhealthy  cp1 healthy"
        );
    }

    #[test]
    fn news_are_told_once() {
        let mut ledger = Ledger::new(Instant::now());
        ledger.tell(Instant::now(), "something".to_owned());
        let mut plain = Plain::new(0);
        plain.news(&ledger);
        assert_eq!(plain.told, 1);
        plain.news(&ledger);
        assert_eq!(plain.told, 1);
    }
}
